"""Reviewed cells as a folder of layout ``folders``, which ``train-classifier --layout folders`` takes.

``<patient>/blast/*.png``, ``<patient>/normal/*.png``, ``<patient>/other/*.png`` and ``index.csv``. The slide's
pseudonym stands for the patient unless whoever exports names one. Slides of one pseudonym count as one patient,
whatever microscope saw them, so that no patient is divided among the splits of a training.
"""

import csv
import hashlib
import io
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2

from collector.export import csv_cell
from common.durable import PRIVATE, sync_folder, write_whole
from common.errors import UsageError
from contract.pictures import UnfitPictureError, decode_picture
from contract.pixels import continued
from contract.types import Image
from dashboard.records import SlideCell, SlideKey, SlideRecord
from dashboard.reviews.events import SlideLog
from dashboard.reviews.likeness import StoredPicture
from dashboard.reviews.readings import Readings
from dashboard.reviews.standing import FinalLabel, final_labels

Pictures: TypeAlias = Callable[[str], StoredPicture | None]
"""A cell's picture by its ``cell_id``; None where none is kept."""
TRAINED = "normal", "blast"
OTHER = "other"
"""What the layout calls cells that are no cell to judge."""
COLUMNS = (
    "file", "cell", "object_id", "slide", "site", "device", "patient", "label", "source", "reviewers", "model_label",
    "probability", "model", "um_per_pixel", "sha256",
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,80}")
_SAME_SCALE = 1e-6


class NothingLeftError(UsageError):
    """No cell is left to export."""


class Reviewed(NamedTuple):
    """A slide with its whole log."""

    record: SlideRecord
    log: SlideLog


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was exported, and what was not.

    Attributes:
        written: how many pictures of each folder's name: `normal`, `blast`, `other`.
        patients: how many folders of patients.
        um_per_pixel: the scale of every picture, which the training must be told (`--um-per-pixel`); None of none.
        left_out: how many cells were left out, by why: `not_reviewed`, `not_signed`, `disputed`, `no_class` (unsure, or
            a class that is not trained), `no_picture`.
    """

    written: Mapping[str, int]
    patients: int
    um_per_pixel: float | None
    left_out: Mapping[str, int]


class _Chosen(NamedTuple):
    record: SlideRecord
    cell: SlideCell
    final: FinalLabel
    folder: str
    patient: str


def export_training(
    slides: Iterable[Reviewed],
    out: Path,
    pictures: Pictures,
    *,
    patients: Mapping[SlideKey, str] | None = None,
    other: Collection[str] = (),
    signed_only: bool = True,
) -> ExportSummary:
    """Write reviewed cells for a training: each once, under the label that people gave it, as PNG.

    Args:
        slides: with their whole logs.
        out: a folder that does not exist, or is empty; it appears whole or not at all.
        pictures: as stored; what lies beyond a frame is continued by its border, as the agent's network sees it. Where
            their scales differ, all are brought to the coarsest of them, as a training takes
            one scale.
        patients: the patient of each slide, a pseudonym, where two slides are of one; else the slide's own.
        other: classes of the laboratory that are no cell to judge, as smudges and artefacts: they are written as
            `other`. Further classes are left out.
        signed_only: leave out cells that only an unsigned reading speaks of.

    Raises:
        NothingLeftError: no cell is left to write.
        UsageError: the folder holds something or can not be written.
    """
    _check_empty(out)
    left_out = Counter[str]()
    chosen = [
        one for slide in slides for one in _chosen(slide, patients or {}, other, left_out, signed_only=signed_only)
    ]
    scale = _coarsest(chosen, pictures)
    try:
        draft = Path(tempfile.mkdtemp(dir=_made(out.parent), prefix=f".{out.name[:40]}."))
        try:
            rows = list(_written(chosen, draft, pictures, scale, left_out))
            _check_any(rows, out, left_out)
            write_whole(draft / "index.csv", _index(rows), mode=PRIVATE)
            draft.replace(out)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync_folder(out.parent)
    except OSError as cause:
        raise UsageError(f"{out} can not be written ({cause.strerror}); choose another folder") from cause
    written = Counter(Path(row["file"]).parent.name for row in rows)
    return ExportSummary(written, len({row["patient"] for row in rows}), scale, left_out)


def _chosen(
    slide: Reviewed,
    patients: Mapping[SlideKey, str],
    other: Collection[str],
    left_out: Counter[str],
    *,
    signed_only: bool,
) -> Iterator[_Chosen]:
    record, log = slide
    finals, readings = final_labels(record, log), Readings.of(log.acts)
    patient = patients.get(record.key, record.key.slide_id)
    for cell in record.cells:
        final = finals[cell.object_id]
        folder = final.label if final.label in TRAINED else OTHER if final.label in other else ""
        if final.source == "model":
            left_out["not_reviewed"] += 1
        elif final.source == "disputed":
            left_out["disputed"] += 1
        elif signed_only and not all(readings.signed(one.reading) for one in final.by):
            left_out["not_signed"] += 1
        elif not folder:
            left_out["no_class"] += 1
        else:
            yield _Chosen(record, cell, final, folder, patient)


def _coarsest(chosen: Iterable[_Chosen], pictures: Pictures) -> float | None:
    found = (pictures(one.cell.cell_id) for one in chosen)
    return max((picture.um_per_pixel for picture in found if picture), default=None)


def _written(
    chosen: Iterable[_Chosen], draft: Path, pictures: Pictures, scale: float | None, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(chosen, start=1):
        picture = pictures(one.cell.cell_id)
        image = _image(picture, scale)
        if picture is None or image is None:
            left_out["no_picture"] += 1
            continue
        folder = draft / _folder_of(one.patient) / one.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = cv2.imencode(".png", image)[1].tobytes()
        path = folder / f"{number:06d}.png"
        write_whole(path, data, mode=PRIVATE, synced=False)
        yield _row(one, path.relative_to(draft).as_posix(), scale or picture.um_per_pixel, data)


def _image(picture: StoredPicture | None, scale: float | None) -> Image | None:
    """A picture's pixels at a scale, as a network sees them; None if it can not be decoded."""
    if picture is None:
        return None
    try:
        image = continued(decode_picture(bytearray(picture.data)))
    except UnfitPictureError:
        return None
    shrink = picture.um_per_pixel / (scale or picture.um_per_pixel)
    if abs(shrink - 1) < _SAME_SCALE:
        return image
    size = max(round(image.shape[1] * shrink), 1), max(round(image.shape[0] * shrink), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(image.dtype, copy=False)


def _row(one: _Chosen, file: str, um_per_pixel: float, data: bytes) -> dict[str, Any]:
    site, device, slide_id = one.record.key
    values = (
        file, one.cell.cell_id, one.cell.object_id, slide_id, site, device, one.patient, one.final.label,
        one.final.source, tuple(dict.fromkeys(said.reviewer for said in one.final.by)), one.cell.label,
        one.cell.probability, one.cell.model_id, um_per_pixel, hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _index(rows: Iterable[Mapping[str, object]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([csv_cell(value) for value in row.values()] for row in rows)
    return out.getvalue().encode()


def _folder_of(patient: str) -> str:
    """A patient as a folder's name, which is no class and no other patient's."""
    if _PLAIN.fullmatch(patient):
        return f"patient-{patient}"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", patient)[:40]
    return f"patient-{plain}-{hashlib.sha256(patient.encode()).hexdigest()[:8]}"


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _check_empty(out: Path) -> None:
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} holds something already; name a new folder, or one that is empty")
    except OSError as cause:
        raise UsageError(f"{out} can not be read ({cause.strerror}); choose another folder") from cause


def _check_any(rows: Collection[object], out: Path, left_out: Mapping[str, int]) -> None:
    if not rows:
        raise NothingLeftError(f"{out}: no reviewed cell with a picture is left to export; {_told(left_out)}")


def _told(left_out: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{why.replace('_', ' ')}: {count}" for why, count in sorted(left_out.items())) or "no slide is given"
    )
