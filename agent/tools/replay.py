"""Offline: one FrameReport per line, in order, for every frame of a folder, a video or one image."""

import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import cv2

from agent.ahead import helpers, inspected
from agent.drawn_mark import marked
from agent.pipeline import Examiner, Finding, crops_of, examine, numbered, report_of
from agent.site import open_site
from agent.sources.directory import DirectorySource, listed
from agent.sources.names import picture_file, printable
from agent.sources.opencv import VideoSource
from agent.sources.place import VIDEOS, recording_at
from agent.tools.progress import with_bar
from agent.vision.inspection import inspect
from agent.vision.watch import ScaleWatch
from common import terminal
from common.arguments import state_dir_if_any
from common.durable import PRIVATE, growing, write_whole
from common.errors import UsageError
from common.words import counted
from contract.bundle import open_bundle
from contract.labels import LABELS, spoken
from contract.listing import Listing
from contract.messages import FrameReport, SlideSummary
from contract.pictures import SUFFIXES
from contract.shares import corrected_words, percent
from contract.sightings import Sightings
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Frame, Image
from engines.choice import open_engine
from rendering.annotate import annotate

log = logging.getLogger(__name__)
Item = TypeVar("Item")
SAID_EVERY_S = 30.0
"""Seconds between two lines that say how far it is, where no bar is drawn."""
LIKELY_SCALE = 0.87, 1.15
"""Red cells' apparent size over their true one: what lies beyond may be a person's, and is rather a wrong scale."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for.

    Attributes:
        source: a folder of images, a video, or one image.
        um_per_pixel: its scale.
        out: the file of reports, one JSON object per line.
        bundle: folder of the model.
        trust: whose signature the bundle must bear.
        engine: name of the engine.
        crops: folder for what the network sees of each cell, or None.
        annotated: folder for the frames with their cells drawn in, or None.
        slide: pseudonym of the slide; "" for the source's name.
        slide_per_folder: count the frames of each folder apart, as a slide of the folder's name.
        summary: file for the slide's summary in JSON, or None.
        site_file: what was measured of the microscope, or None.
        processes: that inspect frames beside this one; None: as many as help.
    """

    source: Path
    um_per_pixel: float
    out: Path
    bundle: Path
    trust: Trust = SHIPPED_ONLY
    engine: str = "auto"
    crops: Path | None = None
    annotated: Path | None = None
    slide: str = ""
    slide_per_folder: bool = False
    summary: Path | None = None
    site_file: Path | None = None
    processes: int | None = None


@dataclass(slots=True)
class Summary:
    """What came of it: counts, and milliseconds by step.

    ``planned`` is how many frames there are, where that is known; ``stopped`` is true if the rest was left.
    ``slides`` holds the last word on each slide by its count, and ``refused_at_once`` its frames that were refused when
    they were seen. ``left_out`` says what of the source was not looked at; ``folders`` is how many were counted as one.
    ``scale`` is the red cells' apparent size over their true one, 0 while unknown, at ``um_per_pixel``.
    """

    planned: int | None = None
    stopped: bool = False
    frames: int = 0
    refused_at_once: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    sightings: Sightings = field(default_factory=Sightings)
    spent_ms: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slides: dict[str, SlideSummary] = field(default_factory=dict)
    left_out: str = ""
    folders: int = 1
    scale: float = 0.0
    um_per_pixel: float = 0.0
    written: tuple[Path, ...] = ()

    def add(self, report: FrameReport) -> None:
        """Count one report."""
        self.frames += 1
        self.refused_at_once[report.slide_id] += not report.quality.accepted
        if report.frame.width:
            self.sizes[f"{report.frame.width}x{report.frame.height}"] += 1
        self.refused.update(report.quality.reasons)
        self.sightings.add(report)
        if report.quality.scale:
            self.scale, self.um_per_pixel = report.quality.scale, report.frame.um_per_pixel
        self.spent_ms.update(report.timing_ms.model_dump())

    def count(self, slide: SlideSummary) -> None:
        """Take the latest word on a slide."""
        self.slides[slide.count_id] = slide

    @property
    def slide(self) -> SlideSummary | None:
        """The only slide, or the last."""
        return next(reversed(self.slides.values()), None)

    def __str__(self) -> str:
        refused = ", ".join(f"{n} {reason}" for reason, n in self.refused.most_common()) or "none"
        seen = self.sightings.kinds
        kinds = ", ".join(f"{seen[label]} {spoken(label)}" for label in LABELS)
        back = f"; {self.sightings.taken_back} taken back" if self.sightings.taken_back else ""
        rate = self.frames / self.seconds if self.seconds else 0.0
        done = counted(self.frames, "frame")
        of = f"{self.frames} of {counted(self.planned, 'frame')}" if self.planned else done
        stopped = f"stopped after {of}; the rest was not examined\n" if self.stopped else ""
        return (
            f"{stopped}{done} in {self.seconds:.1f} s ({rate:.1f} a second), refused: {refused}\n"
            f"{counted(seen.total(), 'white cell')} in all frames: {kinds}{back}"
            f"{''.join(_format_slide(slide, self.refused_at_once[slide.slide_id]) for slide in self.slides.values())}"
            f"{''.join(f'{chr(10)}{doubt}' for doubt in self._doubts())}\n"
            f"written: {', '.join(terminal.printable(str(path)) for path in self.written)}"
        )

    def _doubts(self) -> Iterator[str]:
        """What a person should think about before believing the numbers."""
        if self.left_out:
            yield terminal.printable(self.left_out)
        if self.folders > 1:
            yield (
                f"the frames of {self.folders} folders were counted as one slide; if each holds a slide or a patient "
                "of its own, use --slide-per-folder"
            )
        if len(self.sizes) > 1:
            sizes = ", ".join(f"{count} of {size}" for size, count in self.sizes.most_common(4))
            yield f"the frames differ in size ({sizes}); is the scale right for all of them?"
        low, high = LIKELY_SCALE
        if self.scale and not low <= self.scale <= high:
            size = f"red cells look {self.scale:.2f} times their size"
            yield f"{size}: is {self.um_per_pixel:g} um per pixel right? see `microscope-agent calibrate scale`"


def replay(job: Job, stop: threading.Event, *, progress: bool) -> Summary:
    """Examine every frame of a source and write the reports.

    Args:
        job: what is asked for.
        stop: ends it; what was examined stands in the reports.
        progress: draw a bar on standard error.

    Raises:
        UsageError: the source is none, or a file can not be written where it was asked for.
        MicroscopeError: the model can not be used.
    """
    source, listing = _source(job)
    run = f"replay-{secrets.token_hex(4)}"
    bundle, site = open_bundle(job.bundle, job.trust), open_site(job.site_file)
    summary, started = _begun(job, listing), time.perf_counter()
    with ExitStack() as house:
        engine = house.enter_context(closing(open_engine(bundle, job.engine, state_dir=state_dir_if_any())))
        if listing is None or isinstance(source, VideoSource):
            frames = house.enter_context(source.open(stop))
        else:
            frames = source.frames(stop, listing)
        out = house.enter_context(_reports(job))
        examiner = Examiner(
            "offline",
            "replay",
            bundle,
            engine,
            colour=site.normaliser(bundle.manifest.reference),
            limits=site.file.limits,
            watch=ScaleWatch(),
            colours=site.colours(bundle.manifest.input),
        )
        slides = examiner.slides(run, summary.count)
        if not job.slide_per_folder:
            slides.start(job.slide or _slide(job.source))
        look = partial(inspect, limits=examiner.limits, training=bundle.manifest.reference)
        processes = helpers(summary.planned) if job.processes is None else job.processes
        seen = house.enter_context(closing(inspected(numbered(site.level(frames), run), look, processes)))
        for seq, (frame, shown) in enumerate(watched(seen, summary.planned, bar=progress), start=1):
            finding = examine(frame, examiner, shown)
            if job.slide_per_folder:
                slides.start(_folder(job, frame))
            sighting = slides.see(frame, finding.quality, finding.predictions)
            report = report_of(frame, finding, sighting, examiner, epoch=run, seq=seq)
            out.write(report.model_dump_json() + "\n")
            summary.add(report)
            for path, image in _pictures(job, frame, finding, report, examiner):
                _save(path, image)
        slides.stop()
    summary.stopped = stop.is_set() and summary.frames != summary.planned
    _summarise(job, summary)
    summary.seconds = time.perf_counter() - started
    summary.written = tuple(p for p in (job.out, job.crops, job.annotated, job.summary) if p and p.exists())
    return summary


def watched(frames: Iterator[Item], planned: int | None, *, bar: bool, every_s: float = SAID_EVERY_S) -> Iterator[Item]:
    """Hand frames on and show how far it is: a bar on a terminal, elsewhere a line in the log now and then."""
    if bar:
        yield from with_bar(frames, planned, shown=True)
        return
    said_at = time.monotonic()
    for number, frame in enumerate(frames, start=1):
        yield frame
        if time.monotonic() - said_at >= every_s and number != planned:
            said_at = time.monotonic()
            log.info("%d of %s examined", number, counted(planned, "frame") if planned else "the frames")


def _format_slide(slide: SlideSummary, refused_at_once: int) -> str:
    """The slide in words, each cell counted once; and how many frames it refuses after all."""
    share, interval = slide.blast_fraction, slide.blast_interval
    of = "; none was judged"
    if share is not None and interval:
        judged = f"of the {slide.normal + slide.blasts} called normal or blast"
        low, high = percent(interval.low), percent(interval.high)
        of = f"; blasts {percent(share)} {judged} ({100 * interval.level:.0f} % interval {low} to {high})"
    if words := corrected_words(slide):
        of += f", {words}"
    jumps = counted(slide.jumps, "jump")
    late = slide.refused - refused_at_once
    back = f"; judged before the wrong scale showed, and not counted: {counted(late, 'frame')}" if late else ""
    return (
        f"\nslide {terminal.printable(slide.slide_id)}, each cell counted once: {counted(slide.cells, 'cell')}: "
        f"{slide.normal} normal, {slide.blasts} blast, {slide.uncertain} uncertain, {slide.not_judged} not "
        f"judged{of}; {jumps}{back}"
    )


def _begun(job: Job, listing: Listing | None) -> Summary:
    """What can be said before the first frame."""
    if listing is None:
        return Summary()
    together = 1 if job.slide_per_folder else len(listing.folders)
    return Summary(planned=len(listing), left_out=listing.words, folders=together)


def _summarise(job: Job, summary: Summary) -> None:
    """The slide's summary, or a list of them if there may be several; each says if the run was interrupted."""
    if job.summary is None or not summary.slides:
        return
    told: dict[str, object] = {"interrupted": True, "frames_planned": summary.planned} if summary.stopped else {}
    slides = [told | slide.model_dump(mode="json") for slide in summary.slides.values()]
    with _written(job.summary, option="--summary"):
        job.summary.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(slides if job.slide_per_folder else slides[0], indent=2)
        write_whole(job.summary, f"{text}\n".encode())


def _source(job: Job) -> tuple[DirectorySource | VideoSource, Listing | None]:
    """The source, and the files that it reads, if it is no video."""
    if job.slide and job.slide_per_folder:
        raise UsageError("--slide names one slide, and --slide-per-folder asks for several; leave one of them out")
    if job.source.absolute() in {folder.absolute() for folder in (job.crops, job.annotated) if folder}:
        raise UsageError(f"{job.source} is the source; name another folder for what --crops or --annotate write")
    source = recording_at(job.source, job.um_per_pixel)
    return source, None if isinstance(source, VideoSource) else listed(job.source)


def _slide(source: Path) -> str:
    """The source's name without its suffix, that of the folder itself for `.`."""
    return printable(source.stem.strip(".") or source.resolve().stem) or "replay"


def _folder(job: Job, frame: Frame) -> str:
    """The name of the folder that a frame lies in, from the source on; a slide's name has at most 255 letters."""
    return frame.source.rpartition("/")[0][-255:] or _slide(job.source)


@contextmanager
def _reports(job: Job) -> Iterator[IO[str]]:
    """The file of reports, each line written out at once, under its own name when all are; never the source's."""
    path = job.out
    with _written(path, option="--out"):
        pictures = {name.suffix.lower() for name in (path, path.resolve())} & {*SUFFIXES, *VIDEOS}
        if pictures or (path.exists() and path.samefile(job.source)):
            raise UsageError(f"--out {path} is a picture or a video; name a file for the reports, such as r.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        with growing(path) as out:
            yield out


@contextmanager
def _written(path: Path, *, option: str) -> Iterator[None]:
    """Say of a file that can not be written which one it is, why, and what to do."""
    try:
        yield
    except OSError as cause:
        raise UsageError(
            f"{path} can not be written ({cause.strerror}); make room, or choose another place with {option}"
        ) from cause


def _pictures(
    job: Job, frame: Frame, finding: Finding, report: FrameReport, examiner: Examiner
) -> Iterator[tuple[Path, Image]]:
    """Every picture that was asked for, with the file it belongs into: the frame's whole name and `.png`."""
    name = report.frame.source
    if job.crops:
        cells = [p.cell for p in finding.predictions]
        for cell, crop in zip(report.cells, crops_of(frame, cells, examiner), strict=True):
            number = cell.cell_id.rpartition("-")[2]
            yield picture_file(job.crops / cell.label, name, f"-{number}.png"), crop
    if job.annotated and frame.image.size:
        yield (
            picture_file(job.annotated, name, ".png"),
            annotate(frame.image, report, [p.cell.outline for p in finding.predictions]),
        )


def _save(path: Path, image: Image) -> None:
    with _written(path, option="--crops or --annotate"):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = marked(cv2.imencode(".png", image)[1].tobytes())
        write_whole(path, content, mode=PRIVATE, synced=False)
