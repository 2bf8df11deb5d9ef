"""The seam of every live source: three methods become the newest frames, word of silence, and reconnects."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice, pairwise

import pytest

from agent.sources import live
from agent.sources.live import live_frames
from agent.sources.shot import Shot, UnfitStreamError
from common.errors import SourceError
from contract.types import Frame, FrameMeta
from tests.grey import number_of, picture
from tests.waiting import SLACK, until

MAX_AGE_MS = 200


class Counting:
    """A camera that counts pictures up; each call of ``grab`` does what ``script`` says first."""

    def __init__(self, *, pause_s: float = 0.01) -> None:
        self.pause_s = pause_s
        self.calls: list[str] = []
        self.script: list[Callable[[], Shot] | Callable[[], None]] = []
        self.refuses: SourceError | None = None
        self.number = 0

    def open(self) -> None:
        self.calls.append("open")
        if self.refuses:
            raise self.refuses

    def grab(self) -> Shot | None:
        if self.script:
            return self.script.pop(0)()
        time.sleep(self.pause_s)
        self.number += 1
        return Shot(picture(self.number % 200), meta=FrameMeta(gain_db=self.number))

    def close(self) -> None:
        self.calls.append("close")


def lost() -> None:
    """Grab nothing: the camera is lost."""


def hang(until_then: threading.Event) -> Callable[[], None]:
    """Grab nothing before that."""

    def wait() -> None:
        until_then.wait(60)

    return wait


def fail() -> None:
    """Grab nothing, in words."""
    raise SourceError("the scope camera was unplugged; plug it in")


def stumble() -> None:
    """Fail as no driver should."""
    raise ZeroDivisionError


def opened(camera: Counting, stop: threading.Event | None = None) -> AbstractContextManager[Iterator[Frame]]:
    return live_frames(camera, stop or threading.Event(), label="scope camera", um_per_pixel=0.1, max_age_ms=MAX_AGE_MS)


def test_the_newest_frame_wins_and_the_skipped_ones_are_counted() -> None:
    camera = Counting()
    with opened(camera) as frames:
        first = next(frames)
        time.sleep(0.1)
        behind = camera.number
        second = next(frames)
    numbers = [number_of(frame.image) for frame in (first, second)]
    assert numbers[1] >= behind
    assert second.skipped == numbers[1] - numbers[0] - 1 > 0


def test_a_frame_has_the_camera_s_name_and_scale_and_what_the_camera_says_of_it() -> None:
    with opened(Counting()) as frames:
        frame = next(frames)
    assert (frame.source, frame.um_per_pixel, frame.fault, frame.detail) == ("scope camera", 0.1, "", "")
    assert frame.meta == FrameMeta(gain_db=number_of(frame.image))


def test_a_picture_that_is_damaged_is_a_frame_that_names_the_camera() -> None:
    camera = Counting()
    camera.script = [lambda: Shot(fault="incomplete", detail="it is cut")]
    with opened(camera) as frames:
        frame = next(frames)
    assert (frame.fault, frame.detail) == ("incomplete", "scope camera: it is cut")


def test_silence_is_told_at_doubling_intervals() -> None:
    stop = threading.Event()
    camera = Counting()
    camera.script = [hang(stop)]
    with opened(camera, stop) as frames:
        began = time.monotonic()
        told = [(frame.fault, time.monotonic() - began) for frame in islice(frames, 3)]
        stop.set()
    assert [fault for fault, _ in told] == ["stale"] * 3
    for (_, at), least_s in zip(told, (0.2, 0.6, 1.4), strict=True):
        assert least_s <= at < least_s + 0.5 * SLACK


def test_a_frame_that_was_taken_too_late_is_not_delivered() -> None:
    camera = Counting(pause_s=60)
    camera.script = [lambda: Shot(picture(1))]
    with opened(camera) as frames:
        time.sleep(2 * MAX_AGE_MS / 1e3)
        frame = next(frames)
        camera.pause_s = 0
    assert frame.fault == "stale"
    assert "scope camera has delivered no fresh frame for 0.6 s; check the camera and its cable" in frame.detail


@pytest.mark.parametrize("how", [lost, fail])
def test_a_lost_camera_is_closed_and_opened_again(how: Callable[[], None]) -> None:
    camera = Counting()
    camera.script = [lambda: Shot(picture(199)), how]
    with opened(camera) as frames:
        assert any(not frame.fault and number_of(frame.image) < 199 for frame in frames)
    assert camera.calls == ["open", "close", "open", "close"]


def test_a_camera_that_stays_away_is_tried_again_at_doubling_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(live, "LONGEST_PAUSE_S", 0.1)
    camera = Counting()
    camera.script = [lost]
    tried: list[float] = []
    with opened(camera):
        camera.refuses = SourceError("no scope camera; plug it in")
        camera.open = lambda: (tried.append(time.monotonic()), Counting.open(camera))  # type: ignore[method-assign, assignment, func-returns-value]
        assert until(lambda: len(tried) >= 6)
    pauses = [later - earlier for earlier, later in pairwise(tried)][:5]
    assert all(pause >= least for pause, least in zip(pauses, (0.04, 0.08, 0.1, 0.1, 0.1), strict=True)), pauses
    assert camera.calls.count("close") >= camera.calls.count("open")


def test_one_whose_pictures_became_unfit_is_a_frame_that_says_why() -> None:
    camera = Counting()
    camera.script = [lambda: Shot(picture(1)), lost]
    with opened(camera) as frames:
        camera.refuses = UnfitStreamError("too_large", "its pictures are too large; set it to a smaller size")
        frame = next(frame for frame in frames if frame.fault == "too_large")
        assert frame.detail == "scope camera: its pictures are too large; set it to a smaller size"
        camera.refuses = None
        assert any(not frame.fault for frame in frames)


def test_one_that_can_not_be_opened_at_first_is_an_error_and_is_closed() -> None:
    camera = Counting()
    camera.refuses = SourceError("there is no scope camera; plug it in")
    with pytest.raises(SourceError, match="no scope camera"), opened(camera):
        pass
    assert camera.calls == ["open", "close"]


def test_a_fault_in_a_driver_reaches_the_loop() -> None:
    camera = Counting()
    camera.script = [lambda: Shot(picture(1)), stumble]
    with pytest.raises(ZeroDivisionError), opened(camera) as frames:
        list(frames)
    assert camera.calls == ["open", "close"]


def test_a_driver_that_hangs_holds_nobody_up_when_the_agent_ends() -> None:
    stop, forever = threading.Event(), threading.Event()
    camera = Counting()
    camera.script = [lambda: Shot(picture(1)), hang(forever)]
    with opened(camera, stop) as frames:
        next(frames)
        began = time.monotonic()
        stop.set()
        assert list(frames) == []
        assert time.monotonic() - began < 1
    assert time.monotonic() - began < (1 + MAX_AGE_MS / 1e3) * 2
    forever.set()
    assert until(lambda: camera.calls == ["open", "close"])
