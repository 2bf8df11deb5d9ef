"""What every source keeps. A new source is one parameter: a line in ``SOURCES``."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from agent.settings import Settings
from agent.sources import Source
from agent.sources.directory import DirectorySource
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.synthetic import SyntheticSource
from common.errors import MicroscopeError, SourceError
from common.settings import kinds_of
from contract.types import Frame
from tests.grey import jpeg, number_of, write_pictures, write_video
from tests.network_camera import NetworkCamera
from tests.waiting import SLACK, until

STOP_S = 2.0 * SLACK
"""Within so long a source ends when it is told to."""
LOST_S = 5.0 * SLACK
"""Within so long a device that is gone is told of."""
MAX_AGE_MS = 400
"""The limit of the live sources here."""
OPENINGS = 8
MOST_GROWTH = 4 * 2**20
"""Bytes that so many openings may add to the memory of the process."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A source with at least five frames.

    Attributes:
        source: the source; one that is live has ``MAX_AGE_MS`` as its limit.
        unplug: takes its device away; None for a source that has none.
        plug: gives it back.
        numbered: its pictures are those of ``tests.grey``, in order from 1.
    """

    source: Source
    unplug: Callable[[], object] | None = None
    plug: Callable[[], object] | None = None
    numbered: bool = True


@contextmanager
def a_folder(place: Path) -> Iterator[Rig]:
    stick, pulled = place / "stick", place / "pulled"
    write_pictures(stick, 5)
    source = DirectorySource(uri=stick, um_per_pixel=0.1)
    yield Rig(source, unplug=lambda: stick.rename(pulled), plug=lambda: pulled.rename(stick))


@contextmanager
def a_video(place: Path) -> Iterator[Rig]:
    stick, pulled = place / "stick", place / "pulled"
    stick.mkdir()
    write_video(stick / "smear.avi", 5)
    source = VideoSource(uri=stick / "smear.avi", um_per_pixel=0.1)
    yield Rig(source, unplug=lambda: stick.rename(pulled), plug=lambda: pulled.rename(stick))


@contextmanager
def a_network_camera(_: Path) -> Iterator[Rig]:
    with NetworkCamera([jpeg(number) for number in range(1, 200)]) as camera:
        source = CameraSource(uri=camera.url, um_per_pixel=0.1, max_age_ms=MAX_AGE_MS)
        yield Rig(source, unplug=camera.unplug, plug=camera.plug)


@contextmanager
def a_rendered_smear(_: Path) -> Iterator[Rig]:
    yield Rig(SyntheticSource(frames=5, width=64, height=48), numbered=False)


SOURCES: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {
    "directory": a_folder,
    "video": a_video,
    "camera": a_network_camera,
    "synthetic": a_rendered_smear,
}
"""By kind."""


def test_every_kind_of_source_is_tested_here() -> None:
    assert set(SOURCES) == set(kinds_of(Settings)["source.kind"])


@pytest.fixture(params=SOURCES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with SOURCES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def device(rig: Rig) -> Rig:
    """The same of a source that has a device."""
    if rig.unplug is None:
        pytest.skip("it has no device")
    return rig


@pytest.fixture
def live(device: Rig) -> Rig:
    """The same of one whose frames come whether they are taken or not."""
    if not device.source.live:
        pytest.skip("it waits for who takes its frames")
    return device


def taken(source: Source, count: int | None = 5) -> list[Frame]:
    with source.open(threading.Event()) as frames:
        return list(islice(frames, count))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def nothing_left() -> Iterator[None]:
    """Within, whatever is opened is closed again: descriptors and threads are as many as before, soon."""
    gc.collect()
    before = descriptors(), threading.active_count()
    yield
    gc.collect()
    assert until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1]), (
        before,
        descriptors(),
        threading.enumerate(),
    )


class TestSource:
    """Every source, as the run loop uses it."""

    def test_frames_are_pictures_of_the_scale_that_was_set(self, rig: Rig) -> None:
        for frame in taken(rig.source):
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (48, 64, 3)
            assert (frame.fault, frame.detail, frame.um_per_pixel) == ("", "", rig.source.um_per_pixel)

    def test_frames_come_in_the_order_in_which_they_were_taken(self, rig: Rig) -> None:
        frames = taken(rig.source)
        numbers = [number_of(frame.image) for frame in frames] if rig.numbered else [1, 2, 3, 4, 5]
        assert len(frames) == 5
        assert sorted(set(numbers)) == numbers
        assert rig.source.live or numbers == [1, 2, 3, 4, 5]
        assert sorted(frame.captured_at for frame in frames) == [frame.captured_at for frame in frames]

    def test_frames_have_a_name_and_no_number_which_the_run_loop_gives(self, rig: Rig) -> None:
        assert {frame.id for frame in taken(rig.source)} == {""}
        assert all(frame.source for frame in taken(rig.source))

    def test_a_frame_tells_when_it_was_taken_and_how_long_it_took(self, rig: Rig) -> None:
        for frame in taken(rig.source):
            assert frame.captured_at.tzinfo is not None
            assert frame.captured_at <= datetime.now(timezone.utc)
            assert frame.read_ms >= 0
            assert frame.timed_by == "arrival" or not rig.source.live

    def test_it_ends_when_it_is_told_to(self, rig: Rig) -> None:
        stop = threading.Event()
        with rig.source.open(stop) as frames:
            next(frames)
            stop.set()
            told = time.monotonic()
            assert len(list(frames)) <= 1
        assert time.monotonic() - told < STOP_S

    def test_it_ends_when_it_is_told_to_though_its_device_is_gone(self, device: Rig) -> None:
        stop = threading.Event()
        assert device.unplug is not None
        with device.source.open(stop) as frames:
            next(frames)
            device.unplug()
            threading.Timer(0.5, stop.set).start()
            told = time.monotonic() + 0.5
            with suppress(SourceError):
                list(frames)
        assert time.monotonic() - told < STOP_S

    def test_it_can_be_opened_again(self, rig: Rig) -> None:
        first, second = (taken(rig.source) for _ in range(2))
        assert [frame.fault for frame in second] == [frame.fault for frame in first] == [""] * 5
        if not rig.source.live:
            assert all(np.array_equal(one.image, other.image) for one, other in zip(first, second, strict=True))

    def test_it_is_closed_whatever_is_raised_between_two_frames(self, rig: Rig) -> None:
        def stumble() -> None:
            with rig.source.open(threading.Event()) as frames:
                next(frames)
                raise ZeroDivisionError

        taken(rig.source)  # what libraries open once and keep
        with nothing_left(), pytest.raises(ZeroDivisionError):
            stumble()

    def test_openings_leave_nothing_behind(self, rig: Rig) -> None:
        for _ in range(OPENINGS):
            taken(rig.source)
        with nothing_left():
            before = memory()
            for _ in range(OPENINGS):
                taken(rig.source)
        assert memory() - before < MOST_GROWTH

    def test_one_that_is_not_there_is_an_error_that_leaves_nothing_open(self, device: Rig) -> None:
        assert device.unplug is not None
        taken(device.source)
        device.unplug()
        with nothing_left(), pytest.raises(MicroscopeError, match=r".{20}"), device.source.open(threading.Event()):
            pass

    def test_a_device_that_is_unplugged_is_told_of(self, device: Rig) -> None:
        """A recording's medium ends the frames by an error; a camera's place is taken by a frame that says so."""
        assert device.unplug is not None
        with device.source.open(threading.Event()) as frames:
            next(frames)
            device.unplug()
            gone = time.monotonic()
            if device.source.live:
                assert any(frame.fault == "stale" and "check the camera" in frame.detail for frame in frames)
            else:
                with pytest.raises(SourceError, match="is gone while"):
                    list(frames)
        assert time.monotonic() - gone < LOST_S

    def test_a_device_that_is_plugged_in_again_is_used_again(self, device: Rig) -> None:
        """A camera by itself, a recording by whoever opens it again."""
        assert device.unplug is not None
        assert device.plug is not None
        with device.source.open(threading.Event()) as frames:
            next(frames)
            device.unplug()
            with suppress(SourceError):
                assert any(frame.fault for frame in frames)
            device.plug()
            if device.source.live:
                assert any(not frame.fault for frame in frames)
        assert taken(device.source, 1)[0].fault == ""

    def test_no_frame_is_older_than_its_limit_and_those_between_are_counted(self, live: Rig) -> None:
        with live.source.open(threading.Event()) as frames:
            late = []
            for frame in islice(frames, 4):
                late.append(frame)
                time.sleep(1.5 * MAX_AGE_MS / 1e3)
        assert all(frame.read_ms <= MAX_AGE_MS for frame in late)
        assert all(frame.skipped > 5 for frame in late[1:])

    def test_reconnects_leave_nothing_behind(self, live: Rig) -> None:
        def lose(frames: Iterator[Frame]) -> None:
            assert live.unplug is not None
            assert live.plug is not None
            live.unplug()
            assert any(frame.fault for frame in frames)
            live.plug()
            assert any(not frame.fault for frame in frames)

        with live.source.open(threading.Event()) as frames:
            lose(frames)
            with nothing_left():
                before = memory()
                for _ in range(3):
                    lose(frames)
            assert memory() - before < MOST_GROWTH
