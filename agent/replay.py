"""Offline: one FrameReport per line, in order, for every frame of a folder, a video or one image."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
from tqdm import tqdm

from agent.annotate import annotate
from agent.engines import open_engine
from agent.pipeline import Finding, Station, crops_of, examine, report_of
from agent.settings import default_state_dir
from agent.sources.directory import DirectorySource, image_files
from agent.sources.opencv import VideoSource
from contract.bundle import open_bundle
from contract.errors import UsageError
from contract.messages import FrameReport
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Frame, Image

VIDEOS = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})
EPOCH = "replay"


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
    """

    source: Path
    um_per_pixel: float
    out: Path
    bundle: Path
    trust: Trust = SHIPPED_ONLY
    engine: str = "auto"
    crops: Path | None = None
    annotated: Path | None = None


@dataclass(slots=True)
class Summary:
    """What came of it: counts, and milliseconds by step."""

    frames: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    spent_ms: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, report: FrameReport) -> None:
        """Count one report."""
        self.frames += 1
        self.refused.update(report.quality.reasons)
        self.labels.update(cell.label for cell in report.cells)
        self.spent_ms.update(report.timing_ms.model_dump())

    def __str__(self) -> str:
        refused = ", ".join(f"{n} {reason}" for reason, n in self.refused.most_common()) or "none"
        labels = ", ".join(f"{self.labels[name]} {name}" for name in ("normal", "blast", "uncertain"))
        rate = self.frames / self.seconds if self.seconds else 0.0
        return (
            f"{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} a second), refused: {refused}\n"
            f"{self.labels.total()} white cells: {labels}"
        )


def replay(job: Job, stop: threading.Event, *, progress: bool) -> Summary:
    """Examine every frame of a source and write the reports.

    Raises:
        UsageError: the source is none, or a file can not be written where it was asked for.
        MicroscopeError: the model can not be used.
    """
    source, total = _source(job)
    bundle = open_bundle(job.bundle, job.trust)
    summary, started = Summary(), time.perf_counter()
    with ExitStack() as house:
        engine = house.enter_context(closing(open_engine(bundle, job.engine, state_dir=default_state_dir())))
        frames = house.enter_context(source.open(EPOCH, stop))
        out = house.enter_context(_writable(job.out))
        station = Station("offline", EPOCH, job.source.stem, bundle, engine)
        shown = tqdm(frames, total=total, unit="frame", disable=not progress)
        for seq, frame in enumerate(shown, start=1):
            finding = examine(frame, station)
            report = report_of(frame, finding, station, epoch=EPOCH, seq=seq)
            out.write(report.model_dump_json() + "\n")
            summary.add(report)
            for path, image in _pictures(job, frame, finding, report, station):
                _save(path, image)
    summary.seconds = time.perf_counter() - started
    return summary


def _source(job: Job) -> tuple[DirectorySource | VideoSource, int | None]:
    if job.source.suffix.lower() in VIDEOS:
        return VideoSource(uri=job.source, um_per_pixel=job.um_per_pixel), None
    return DirectorySource(uri=job.source, um_per_pixel=job.um_per_pixel), len(image_files(job.source))


def _writable(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as cause:
        raise UsageError(
            f"the reports can not be written to {path} ({cause.strerror}); choose another --out"
        ) from cause


def _pictures(
    job: Job, frame: Frame, finding: Finding, report: FrameReport, station: Station
) -> Iterator[tuple[Path, Image]]:
    """Every picture that was asked for, with the file it belongs into."""
    if job.crops:
        cells = [p.cell for p in finding.predictions]
        for cell, crop in zip(report.cells, crops_of(frame, cells, station.bundle), strict=True):
            yield job.crops / cell.label / f"{_stem(report)}-{cell.cell_id.rpartition('-')[2]}.png", crop
    if job.annotated and frame.image.size:
        yield job.annotated / f"{_stem(report)}.png", annotate(frame.image, report)


def _stem(report: FrameReport) -> str:
    """A file name for a frame: its own without the suffix, folders and frame numbers kept apart."""
    path = Path(report.frame.source)
    return path.with_suffix("").as_posix().replace("/", "__") if "#" not in path.name else path.name


def _save(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise UsageError(f"the picture {path} can not be written; is the disk full?")
