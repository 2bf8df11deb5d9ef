"""What it costs to keep pictures: of the loop, which must not wait for them, and of the thread that makes them."""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from agent.ops.health import Counters
from agent.pictures.cutting import pictures_of
from agent.pictures.keeper import PictureKeeper, PictureTap
from agent.pictures.store import PictureStore
from agent.pipeline import Examiner, numbered, run
from agent.sources.synthetic import SyntheticSource
from bench.results import Figures
from contract.bundle import SHIPPED, open_bundle
from contract.messages import FrameReport
from contract.types import Frame
from engines.choice import open_engine

FRAMES, ROUNDS = 60, 3
SOURCE = SyntheticSource(width=1280, height=960, frames=FRAMES)
FPS = 4.0
"""Of the paced rounds: a microscope whose stage is moved by hand shows fewer fields a second."""


class _ListSink:
    """A sink that keeps reports in memory."""

    epoch = "bench"

    def __init__(self) -> None:
        self.reports: list[FrameReport] = []

    def next_seq(self) -> int:
        return len(self.reports) + 1

    def put(self, report: FrameReport) -> None:
        self.reports.append(report)


class _Round(NamedTuple):
    """Seconds of the loop: on the clock without the waits for a frame, and of its thread; and pictures dropped."""

    clock_s: float
    thread_s: float
    dropped: int = 0


def measure() -> Figures:
    """Loops with and without pictures by turns, so that both share what else the machine does; medians."""
    bundle = open_bundle(SHIPPED)
    with (
        closing(open_engine(bundle)) as engine,
        SOURCE.open(threading.Event()) as source,
        tempfile.TemporaryDirectory(dir=Path.cwd()) as name,
    ):
        frames = list(numbered(source, "bench"))
        examiner = Examiner("bench", "bench", bundle, engine)
        reports = reports_of(frames, examiner)
        rounds = [
            (_plain(frames, examiner, 0), _keeping(frames, examiner, Path(name) / f"{number}.sqlite", 0),
             _plain(frames, examiner, FPS), _keeping(frames, examiner, Path(name) / f"{number}-p.sqlite", FPS))
            for number in range(ROUNDS)
        ]  # fmt: skip
        made = _made(frames, reports, bundle.manifest.input.field_um, Path(name) / "made.sqlite")
    pictures = sum(1 + len(report.cells) for report in reports)
    return {
        "frames": FRAMES,
        "cells": pictures - FRAMES,
        "loop_ms_per_frame": round(statistics.median(one[0].clock_s for one in rounds) / FRAMES * 1e3, 2),
        "loop_thread_of_plain": _ratio([(one[1].thread_s, one[0].thread_s) for one in rounds]),
        "loop_clock_of_plain": _ratio([(one[1].clock_s, one[0].clock_s) for one in rounds]),
        "dropped_share": round(statistics.median(one[1].dropped for one in rounds) / pictures, 3),
        "paced_fps": FPS,
        "paced_loop_thread_of_plain": _ratio([(one[3].thread_s, one[2].thread_s) for one in rounds]),
        "paced_loop_clock_of_plain": _ratio([(one[3].clock_s, one[2].clock_s) for one in rounds]),
        "paced_dropped_share": round(statistics.median(one[3].dropped for one in rounds) / pictures, 3),
        **made,
    }


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return round(statistics.median(one / other for one, other in pairs), 3)


def reports_of(frames: Sequence[Frame], examiner: Examiner) -> list[FrameReport]:
    """What is reported of frames."""
    sink = _ListSink()
    _loop(frames, examiner, sink, 0)
    return sink.reports


def _plain(frames: Sequence[Frame], examiner: Examiner, fps: float) -> _Round:
    return _Round(*_loop(frames, examiner, _ListSink(), fps))


def _keeping(frames: Sequence[Frame], examiner: Examiner, path: Path, fps: float) -> _Round:
    store = PictureStore(path, max_mb=512, days=1, spare_bytes=0)
    keeper, stop = PictureKeeper(store, lambda: examiner.bundle.manifest.input.field_um), threading.Event()
    with keeper.running(stop):
        spent = _loop(frames, examiner, PictureTap(_ListSink(), keeper), fps)
        dropped = keeper.health().dropped
        stop.set()
    return _Round(*spent, dropped)


def _loop(
    frames: Sequence[Frame], examiner: Examiner, sink: "_ListSink | PictureTap", fps: float
) -> tuple[float, float]:
    """Run the pipeline; seconds on the clock, without those that it waits for a frame, and of this thread."""
    waited = 0.0

    def paced() -> Iterator[Frame]:
        nonlocal waited
        begun = time.perf_counter()
        for number, frame in enumerate(frames):
            now = time.perf_counter()
            if fps and (pause := begun + number / fps - now) > 0:
                time.sleep(pause)
                waited += time.perf_counter() - now
            yield frame

    source = sink.through(paced()) if isinstance(sink, PictureTap) else paced()
    clock, thread = time.perf_counter(), time.thread_time()
    slides, counters, stop = examiner.slides("bench"), Counters(), threading.Event()
    run(source, examiner, sink, slides=slides, counters=counters, stop=stop, live=False)
    return time.perf_counter() - clock - waited, time.thread_time() - thread


def _made(frames: Sequence[Frame], reports: Sequence[FrameReport], field_um: float, path: Path) -> Figures:
    """Cut, encoded and stored one frame after the other, by this thread."""
    cut_s = stored_s = 0.0
    sizes: dict[str, list[int]] = {"cell": [], "frame": []}
    with closing(PictureStore(path, max_mb=512, days=1, spare_bytes=0)) as store:
        for frame, report in zip(frames, reports, strict=True):
            begun = time.thread_time()
            pictures = [*pictures_of(frame, report, field_um)]
            encoded = time.thread_time()
            store.put(pictures)
            cut_s, stored_s = cut_s + encoded - begun, stored_s + time.thread_time() - encoded
            for one in pictures:
                sizes[one.kind].append(len(one.data))
    count = sum(map(len, sizes.values()))
    return {
        "make_ms_per_picture": round(cut_s / count * 1e3, 2),
        "store_ms_per_picture": round(stored_s / count * 1e3, 2),
        "cell_kb": round(statistics.mean(sizes["cell"]) / 1024, 1),
        "frame_kb": round(statistics.mean(sizes["frame"]) / 1024, 1),
    }


if __name__ == "__main__":
    print(measure())
