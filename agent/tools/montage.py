"""The gallery of a slide's cells, by the probability of a blast, out of what ``replay`` reported."""

import codecs
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import cv2
import numpy as np
from pydantic import ValidationError

from agent.drawn_mark import marked
from agent.sources.names import picture_file
from agent.sources.place import recording_at
from common.durable import PRIVATE, write_whole
from common.errors import UsageError
from common.terminal import printable
from common.words import counted
from contract.amendments import amendment_of
from contract.labels import Label, spoken
from contract.messages import CellReport, FrameReport
from contract.sightings import Sightings
from contract.types import Frame, Image
from contract.views import Said, said_by, together
from rendering.captions import words_of
from rendering.gallery import TILE, Gallery, GalleryCell, cell_picture, page, sheet

log = logging.getLogger(__name__)
MAX_JPEG = 65500
"""Rows of a JPEG at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell of a slide.

    Attributes:
        report: the frame of its best view: of the whole ones that which is most like all of them together.
        cell: that view.
        probability: of a blast, by all whole views together; None if there is none.
        label: what that probability is called.
        views: how many views there are, those included that are not judged.
    """

    report: FrameReport
    cell: CellReport
    probability: float | None
    label: Label
    views: int

    @property
    def whole(self) -> CellReport:
        """The best view, with the word of all of them."""
        if self.probability is None:
            return self.cell
        return self.cell.model_copy(update={"probability": self.probability, "label": self.label})


def read_reports(path: Path) -> list[FrameReport]:
    """The reports that ``replay`` wrote, up to the first line that is none: the end of an interrupted run is often cut.

    Raises:
        UsageError: the file can not be read, or already its first line is no report.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as cause:
        raise UsageError(f"the reports {path} can not be read ({cause.strerror}); name what replay wrote") from cause
    reports: list[FrameReport] = []
    for number, line in enumerate(lines, start=1):
        try:
            reports += [FrameReport.model_validate_json(line)] if line.strip() else []
        except ValidationError as cause:
            if not reports:
                raise UsageError(f"{path} holds no reports; name the file that replay wrote with --out") from cause
            left = f"; it and the {len(lines) - number} after it are left out" if any(lines[number:]) else ""
            log.warning(
                "%s: line %d is cut or no report; before it stand %s%s",
                path,
                number,
                counted(len(reports), "report"),
                left,
            )
            break
    return reports


def entries_of(reports: Iterable[FrameReport]) -> list[Entry]:
    """Every cell once, the highest probability of a blast first; cells that no frame shows whole come last."""
    views: list[tuple[str, FrameReport, CellReport]] = []
    for report in reports:
        if amendment := amendment_of(report):
            amended = ((amendment.name(name), earlier, cell) for name, earlier, cell in views)
            views = [(name, earlier, cell) for name, earlier, cell in amended if name is not None]
        views += [(cell.object_id or cell.cell_id, report, cell) for cell in report.cells]
    views.sort(key=lambda view: view[0])
    said = said_by([cell for *_, cell in views])
    entries = [_entry([(r, c) for _, r, c in same], said) for _, same in groupby(views, key=lambda view: view[0])]
    return sorted(entries, key=lambda e: (1.0 if e.probability is None else -e.probability, e.cell.cell_id))


def _entry(views: Sequence[tuple[FrameReport, CellReport]], said: Said) -> Entry:
    found = together([cell for _, cell in views], said)
    report = next(report for report, cell in views if cell is found.best)
    return Entry(report, found.best, found.probability, found.label, len(views))


def pictures_of(entries: Sequence[Entry], frames: Iterable[Frame]) -> dict[str, Image]:
    """Cut every entry's picture out of its frame, by the name of its best view; a frame that is gone has none."""
    wanted: dict[str, list[Entry]] = {}
    for entry in entries:
        wanted.setdefault(entry.report.frame.source, []).append(entry)
    return {
        entry.cell.cell_id: cell_picture(frame.image, entry.cell.box, frame.um_per_pixel)
        for frame in frames
        if frame.image.size
        for entry in wanted.get(frame.source, [])
    }


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for: the reports, their frames or else the folder of their crops, the file, and how many cells."""

    reports: Path
    out: Path
    frames: Path | None = None
    crops: Path | None = None
    most: int = 400


def montage(job: Job, stop: threading.Event) -> str:
    """Write the gallery of what ``replay`` reported; a page if the file ends in `.html`, else a picture.

    Returns:
        What it shows, in words.

    Raises:
        UsageError: the reports are none, the pictures can not be read or are others, or the file can not be written.
    """
    reports = read_reports(job.reports)

    def cut(shown: Sequence[Entry]) -> dict[str, Image]:
        pictures = _pictures(job, reports, shown, stop)
        if shown and not pictures and not stop.is_set():
            where = job.frames or job.crops
            raise UsageError(f"{where} holds no picture of these cells; name what replay read or wrote")
        return pictures

    return write_gallery(reports, cut, job.out, most=job.most, to_scale=job.frames is not None)


def write_gallery(
    reports: Sequence[FrameReport],
    cut: Callable[[Sequence[Entry]], Mapping[str, Image]],
    out: Path,
    *,
    most: int,
    to_scale: bool,
) -> str:
    """Write the gallery of reports.

    Args:
        reports: in their order.
        cut: gives (TILE, TILE, 3) uint8 of each entry, by the name of its best view; none where there is none.
        out: a page if it ends in `.html`, else a picture.
        most: cells to show.
        to_scale: all pictures have one scale.

    Returns:
        What it shows, in words.

    Raises:
        UsageError: the file can not be written.
    """
    entries = entries_of(reports)
    shown = entries[:most]
    pictures = cut(shown)
    note = f"{len(shown)} of {counted(len(entries), 'cell')}, the highest probability first."
    title = _title(reports, entries)
    cells = tuple(_gallery_cell(entry, pictures.get(entry.cell.cell_id)) for entry in shown)
    _written(out, Gallery(cells, title, note, _warning(reports), to_scale=to_scale))
    missing = len(shown) - len(pictures)
    lost = f"; {missing} of them without a picture, which was not found" if missing else ""
    return "\n".join(filter(None, (f"{note} {printable(str(out))}{lost}", _warning(reports))))


def _gallery_cell(entry: Entry, picture: Image | None) -> GalleryCell:
    whole = entry.whole
    source = entry.report.frame.source
    return GalleryCell(words_of(whole), whole.label, source, entry.views, entry.cell.area_um2, picture)


def _pictures(
    job: Job, reports: Sequence[FrameReport], shown: Sequence[Entry], stop: threading.Event
) -> dict[str, Image]:
    if job.frames is None or not reports:
        return dict(crops_of(shown, job.crops)) if job.crops else {}
    with recording_at(job.frames, reports[0].frame.um_per_pixel).open(stop) as frames:
        return pictures_of(shown, frames)


def _written(out: Path, gallery: Gallery) -> None:
    kind = out.suffix.lower()
    if kind not in {".html", ".png", ".jpg", ".jpeg"}:
        raise UsageError(f"--out {out}: name a file that ends in .html, .png or .jpg")
    data = page(gallery).encode() if kind == ".html" else _encoded(kind, sheet(gallery))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, data, mode=PRIVATE)
    except OSError as cause:
        raise UsageError(f"{out} can not be written ({cause.strerror}); choose another --out") from cause


def _encoded(kind: str, picture: Image) -> bytes:
    if kind != ".png" and picture.shape[0] > MAX_JPEG:
        raise UsageError(
            f"so many cells make a picture of more than {MAX_JPEG} rows; choose --most, or .html for --out"
        )
    return marked(cv2.imencode(kind, picture)[1].tobytes())


def _title(reports: Sequence[FrameReport], entries: Sequence[Entry]) -> str:
    kinds = Counter(entry.whole.label for entry in entries)
    slides = ", ".join(sorted({report.slide_id for report in reports if report.slide_id})) or "none"
    models = ", ".join(sorted({report.model.id for report in reports}))
    counts = ", ".join(f"{kinds[label]} {spoken(label)}" for label in ("blast", "uncertain", "normal", "not_judged"))
    return f"Slide {slides}: {counts}; model {models}"


def _warning(reports: Sequence[FrameReport]) -> str:
    """How many frames nobody judged, and why; and how many cells were taken back, which stand nowhere either."""
    seen = Sightings()
    for report in reports:
        seen.add(report)
    refused = [report.quality.reasons for report in reports if not report.quality.accepted]
    reasons = ", ".join(name for name, _ in Counter(chain.from_iterable(refused)).most_common())
    why = f" ({reasons})" if reasons else ""
    nothing = ": nothing was judged" if len(refused) == len(reports) else ""
    told = f"{len(refused)} of {counted(len(reports), 'frame')} refused{why}{nothing}" if refused else ""
    left = "" if seen.kinds.total() else ", and none is left"
    views = "1 view of a cell" if seen.taken_back == 1 else f"{seen.taken_back} views of cells"
    back = f"{views} taken back, judged at a wrong scale{left}" if seen.taken_back else ""
    return "; ".join(filter(None, (told, back)))


def crops_of(entries: Sequence[Entry], folder: Path) -> Iterator[tuple[str, Image]]:
    """What the network saw of each entry, from the folder that ``replay --crops`` wrote."""
    for entry in entries:
        number = entry.cell.cell_id.rpartition("-")[2]
        picture = _picture(picture_file(folder / entry.cell.label, entry.report.frame.source, f"-{number}.png"))
        if picture is not None:
            yield entry.cell.cell_id, np.asarray(cv2.resize(picture, (TILE, TILE)), np.uint8)


def _picture(path: Path) -> Image | None:
    """A picture that was written beside the reports; None if there is none. OpenCV does not open every name itself."""
    try:
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if found is None else np.asarray(found, np.uint8)
