"""Offline: one FrameReport per line, in order, for every frame of a folder, a video or one image."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
from tqdm import tqdm

from agent.engines import open_engine
from agent.pipeline import Finding, Station, crops_of, examine, report_of
from agent.site import open_site
from agent.sources.directory import DirectorySource, image_files
from agent.sources.names import printable
from agent.sources.opencv import VideoSource
from agent.sources.place import VIDEOS, recording_at
from agent.tools.annotate import annotate
from agent.vision.watch import ScaleWatch
from contract.arguments import default_state_dir
from contract.bundle import open_bundle
from contract.errors import UsageError
from contract.messages import FrameReport, SlideSummary
from contract.pictures import SUFFIXES
from contract.sightings import Sightings
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Frame, Image

EPOCH = "replay"
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
        summary: file for the slide's summary in JSON, or None.
        site_file: what was measured of the microscope, or None.
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
    summary: Path | None = None
    site_file: Path | None = None


@dataclass(slots=True)
class Summary:
    """What came of it: counts, and milliseconds by step.

    ``planned`` is how many frames there are, where that is known; ``stopped`` is true if the rest was left.
    ``scale`` is the red cells' apparent size over their true one, 0 while unknown, at ``um_per_pixel``.
    """

    planned: int | None = None
    stopped: bool = False
    frames: int = 0
    frames_refused: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    sightings: Sightings = field(default_factory=Sightings)
    spent_ms: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slide: SlideSummary | None = None
    scale: float = 0.0
    um_per_pixel: float = 0.0
    written: tuple[Path, ...] = ()

    def add(self, report: FrameReport) -> None:
        """Count one report."""
        self.frames += 1
        self.frames_refused += not report.quality.accepted
        self.refused.update(report.quality.reasons)
        self.sightings.add(report)
        if report.quality.scale:
            self.scale, self.um_per_pixel = report.quality.scale, report.frame.um_per_pixel
        self.spent_ms.update(report.timing_ms.model_dump())

    def __str__(self) -> str:
        refused = ", ".join(f"{n} {reason}" for reason, n in self.refused.most_common()) or "none"
        seen = self.sightings.kinds
        kinds = ", ".join(f"{seen[name]} {name}" for name in ("normal", "blast", "uncertain", "cut"))
        back = f"; {self.sightings.taken_back} taken back" if self.sightings.taken_back else ""
        rate = self.frames / self.seconds if self.seconds else 0.0
        of = f" of {self.planned}" if self.planned else ""
        stopped = f"stopped after {self.frames}{of} frames; the rest was not examined\n" if self.stopped else ""
        return (
            f"{stopped}{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} a second), refused: {refused}\n"
            f"{seen.total()} white cells in all frames: {kinds}{back}"
            f"{_told(self.slide, self.frames_refused) if self.slide else ''}"
            f"{self._doubt()}\nwritten: {', '.join(map(str, self.written))}"
        )

    def _doubt(self) -> str:
        """What is odd about the scale though the frames were judged at it."""
        low, high = LIKELY_SCALE
        if not self.scale or low <= self.scale <= high:
            return ""
        size = f"red cells look {self.scale:.2f} times their size"
        return f"\n{size}: is {self.um_per_pixel:g} um per pixel right? see `microscope-agent calibrate scale`"


def replay(job: Job, stop: threading.Event, *, progress: bool) -> Summary:
    """Examine every frame of a source and write the reports.

    Raises:
        UsageError: the source is none, or a file can not be written where it was asked for.
        MicroscopeError: the model can not be used.
    """
    source, files = _source(job)
    bundle, site = open_bundle(job.bundle, job.trust), open_site(job.site_file)
    summary, started = Summary(planned=None if isinstance(source, VideoSource) else len(files)), time.perf_counter()
    with ExitStack() as house:
        engine = house.enter_context(closing(open_engine(bundle, job.engine, state_dir=default_state_dir())))
        frames = site.level(house.enter_context(source.open(EPOCH, stop)))
        out = house.enter_context(_reports(job.out, files))
        station = Station(
            "offline",
            EPOCH,
            bundle,
            engine,
            colour=site.normaliser(bundle.manifest.reference),
            limits=site.file.limits,
            watch=ScaleWatch(),
        )
        slides = station.slides(EPOCH)
        slides.start(job.slide or _slide(job.source))
        shown = tqdm(frames, total=summary.planned, unit="frame", disable=not progress)
        for seq, frame in enumerate(shown, start=1):
            finding = examine(frame, station)
            sighting = slides.see(frame, finding.quality, finding.predictions)
            report = report_of(frame, finding, sighting, station, epoch=EPOCH, seq=seq)
            out.write(report.model_dump_json() + "\n")
            summary.add(report)
            for path, image in _pictures(job, frame, finding, report, station):
                _save(path, image)
        summary.slide = slides.stop()
    _summarise(job.summary, summary.slide)
    summary.seconds = time.perf_counter() - started
    summary.written = tuple(p for p in (job.out, job.crops, job.annotated, job.summary) if p and p.exists())
    summary.stopped = stop.is_set() and summary.frames != summary.planned
    return summary


def _told(slide: SlideSummary, refused_at_once: int) -> str:
    """The slide in words, each cell counted once; and how many frames it refuses after all."""
    share, interval = slide.blast_fraction, slide.blast_interval
    of = "; none was judged"
    if share is not None and interval:
        judged = f"of the {slide.normal + slide.blasts} called normal or blast"
        low, high = _percent(interval.low), _percent(interval.high)
        of = f"; blasts {_percent(share)} {judged} ({100 * interval.level:.0f} % interval {low} to {high})"
    jumps = f"{slide.jumps} jump{'' if slide.jumps == 1 else 's'}"
    late = slide.refused - refused_at_once
    back = (
        f"; judged before the wrong scale showed, and not counted: {late} frame{'' if late == 1 else 's'}"
        if late
        else ""
    )
    return (
        f"\nslide {slide.slide_id}, each cell counted once: {slide.cells} cells: {slide.normal} normal, "
        f"{slide.blasts} blast, {slide.uncertain} uncertain, {slide.edge_only} seen only in part{of}; {jumps}{back}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _summarise(path: Path | None, slide: SlideSummary | None) -> None:
    if path and slide:
        with _written(path, option="--summary"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(slide.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _source(job: Job) -> tuple[DirectorySource | VideoSource, list[Path]]:
    """The source, and the files that it reads."""
    if job.source.absolute() in {folder.absolute() for folder in (job.crops, job.annotated) if folder}:
        raise UsageError(f"{job.source} is the source; name another folder for what --crops or --annotate write")
    source = recording_at(job.source, job.um_per_pixel)
    return source, [job.source] if isinstance(source, VideoSource) else image_files(job.source)


def _slide(source: Path) -> str:
    """The source's name without its suffix, that of the folder itself for `.`."""
    return printable(source.stem.strip(".") or source.resolve().stem) or EPOCH


@contextmanager
def _reports(path: Path, files: list[Path]) -> Iterator[IO[str]]:
    """The file of reports, each line written out at once; never one that the source reads."""
    with _written(path, option="--out"):
        if path.suffix.lower() in SUFFIXES | VIDEOS or (path.exists() and any(path.samefile(f) for f in files)):
            raise UsageError(f"--out {path} is a picture or a video; name a file for the reports, such as r.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", buffering=1) as out:
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
    job: Job, frame: Frame, finding: Finding, report: FrameReport, station: Station
) -> Iterator[tuple[Path, Image]]:
    """Every picture that was asked for, with the file it belongs into: the frame's whole name and `.png`."""
    name = report.frame.source
    if job.crops:
        cells = [p.cell for p in finding.predictions]
        for cell, crop in zip(report.cells, crops_of(frame, cells, station), strict=True):
            yield job.crops / cell.label / f"{name}-{cell.cell_id.rpartition('-')[2]}.png", crop
    if job.annotated and frame.image.size:
        yield (
            job.annotated / f"{name}.png",
            annotate(frame.image, report, [p.cell.outline for p in finding.predictions]),
        )


def _save(path: Path, image: Image) -> None:
    with _written(path, option="--crops or --annotate"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
