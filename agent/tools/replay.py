"""Offline: one FrameReport per line, in order, for every frame of a folder, a video or one image."""

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import cv2

from agent.ahead import helpers, inspected
from agent.drawn_mark import marked
from agent.pipeline import Examiner, Finding, crops_of, examine, numbered, report_of
from agent.site import Site, open_site
from agent.sources.directory import DirectorySource, listed
from agent.sources.names import picture_file, printable
from agent.sources.opencv import VideoSource
from agent.sources.place import VIDEOS, recording_at
from agent.tools.progress import with_bar
from agent.tools.replay_summary import Summary
from agent.vision.inspection import inspect
from agent.vision.watch import ScaleWatch
from common.arguments import state_dir_if_any
from common.durable import PRIVATE, growing, write_whole
from common.errors import UsageError
from common.words import counted
from contract.bundle import Bundle, open_bundle
from contract.listing import Listing
from contract.messages import FrameReport
from contract.pictures import SUFFIXES
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Frame, Image
from engines.choice import Engine, open_engine
from rendering.annotate import annotate

log = logging.getLogger(__name__)
Item = TypeVar("Item")
SAID_EVERY_S = 30.0
"""Seconds between two lines that say how far it is, where no bar is drawn."""


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
        frames = house.enter_context(_opened(source, listing, stop))
        out = house.enter_context(_reports(job))
        examiner = _examiner(bundle, engine, site)
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


def _opened(
    source: DirectorySource | VideoSource, listing: Listing | None, stop: threading.Event
) -> AbstractContextManager[Iterator[Frame]]:
    """The frames of a source, those of a folder from the files that were listed before."""
    if listing is None or isinstance(source, VideoSource):
        return source.open(stop)
    return nullcontext(source.frames(stop, listing))


def _examiner(bundle: Bundle, engine: Engine, site: Site) -> Examiner:
    """What examines the frames: as in a running agent, by what was measured of the microscope."""
    return Examiner(
        "offline",
        "replay",
        bundle,
        engine,
        colour=site.normaliser(bundle.manifest.reference),
        limits=site.file.limits,
        watch=ScaleWatch(),
        colours=site.colours(bundle.manifest.input),
    )


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
