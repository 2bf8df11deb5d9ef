"""Processes that inspect frames ahead of the loop: the same reports, and an end whatever ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.ahead import WORTH_FRAMES, helpers, inspected
from agent.pipeline import numbered
from agent.sources.synthetic import SyntheticSource
from agent.vision.inspection import Inspection, inspect
from agent.vision.limits import DEFAULT_LIMITS
from common.errors import MicroscopeError
from contract.messages import Quality
from contract.types import Frame, Image
from tests.waiting import until

SHARP_UM = 0.1
look = partial(inspect, limits=DEFAULT_LIMITS, training=None)


def rendered(number: int) -> list[Frame]:
    with SyntheticSource(frames=number).open(threading.Event()) as frames:
        return list(numbered(frames, "smear"))


@pytest.mark.parametrize("processes", [1, 3])
def test_frames_come_in_order_each_with_what_it_shows(processes: int) -> None:
    """Also two frames with a fault, between others."""
    frames = rendered(5)
    gone = Frame("x.png", frames[0].captured_at, 0.1, fault="unreadable", detail="x.png: it is no image")
    frames[2:2] = [gone, gone]
    seen = list(inspected(iter(frames), look, processes))
    assert [frame.id for frame, _ in seen] == [frame.id for frame in frames]
    for frame, shown in seen:
        if frame.fault:
            assert shown is None
            continue
        own = look(frame.image, frame.um_per_pixel)
        assert shown is not None
        assert shown.quality == own.quality
        assert [cell.box for cell in shown.cells] == [cell.box for cell in own.cells]


def test_no_more_frames_are_read_ahead_than_there_are_processes_and_one() -> None:
    read = 0

    def source() -> Iterator[Frame]:
        nonlocal read
        for frame in rendered(6):
            read += 1
            yield frame

    with closing(inspected(source(), look, 2)) as seen:
        next(seen)
        assert read == 3


def slow(image: Image, um_per_pixel: float) -> Inspection:
    time.sleep(0 if um_per_pixel == SHARP_UM else 60)
    return Inspection(Quality(accepted=False), [], um_per_pixel, float(image.size))


def test_who_takes_no_more_frames_waits_for_no_process() -> None:
    first, second, third = rendered(3)
    started = time.monotonic()
    with closing(
        inspected(iter([first, replace(second, um_per_pixel=1), replace(third, um_per_pixel=1)]), slow, 2)
    ) as seen:
        next(seen)
    assert time.monotonic() - started < 30


def killed(image: Image, um_per_pixel: float) -> Inspection:
    os.kill(os.getpid(), signal.SIGKILL)
    return Inspection(Quality(accepted=False), [], um_per_pixel, float(image.size))


def test_a_process_that_is_killed_is_told_with_a_remedy() -> None:
    with pytest.raises(MicroscopeError, match=r"exit code -9.*--processes 0"):
        list(inspected(iter(rendered(2)), killed, 1))


def faulty(image: Image, um_per_pixel: float) -> Inspection:
    raise ValueError(f"{image.shape[0]} rows at {um_per_pixel}")


def test_an_error_in_a_process_is_raised_by_the_loop() -> None:
    with pytest.raises(ValueError, match="rows at"):
        list(inspected(iter(rendered(2)), faulty, 1))


def test_few_frames_and_one_core_have_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert (helpers(WORTH_FRAMES - 1), helpers(WORTH_FRAMES), helpers(None)) == (0, 1, 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert helpers(WORTH_FRAMES) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert helpers(None) == 4


@pytest.fixture(scope="module")
def smear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    words = ["render", str(folder / "frames"), "--count", "60"]
    subprocess.run([sys.executable, "-m", "agent", *words], check=True, capture_output=True)
    return folder / "frames"


def replay(smear: Path, out: Path, *more: str) -> "subprocess.Popen[bytes]":
    words = ["replay", str(smear), "--um-per-pixel", "0.1", "--out", str(out), *more]
    return subprocess.Popen([sys.executable, "-m", "agent", *words], stderr=subprocess.PIPE)


def told(out: Path) -> list[dict[str, Any]]:
    """Reports without their times and the name of the run."""
    lines = [json.loads(re.sub(r"replay-[0-9a-f]{8}", "", line)) for line in out.read_text().splitlines()]
    return [line | {"timing_ms": None} for line in lines]


def test_the_reports_are_the_same_with_and_without_processes(smear: Path, tmp_path: Path) -> None:
    for processes in ("0", "2"):
        with replay(smear, tmp_path / processes, "--processes", processes) as process:
            process.communicate(timeout=60)
        assert process.returncode == 0
    assert told(tmp_path / "0") == told(tmp_path / "2")
    assert len(told(tmp_path / "2")) == 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_processes_end_with_it(smear: Path, tmp_path: Path, number: signal.Signals) -> None:
    with replay(smear, tmp_path / "r.jsonl", "--processes", "2") as process:
        assert until(lambda: len(children_of(process.pid)) == 2)
        ours = children_of(process.pid)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert until(lambda: not any(Path(f"/proc/{child}").exists() for child in ours))


def children_of(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def test_a_frame_of_any_size_goes_to_a_process_and_back() -> None:
    """More than a pipe holds, both ways at once."""
    frames = rendered(1) * 6
    large = [Frame(f.source, f.captured_at, 0.1, image=np.tile(f.image, (3, 3, 1))) for f in frames]
    assert len(list(inspected(iter(large), look, 2))) == 6
