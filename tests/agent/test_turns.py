"""Turns of a source: work is done between two frames, on the loop's thread, and a source is opened again."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone

import pytest

from agent.turns import NoTurn, Turns
from common.errors import IntegrityError, SourceError
from contract.types import Frame
from tests.waiting import until


class Counting:
    """A source that counts its frames and its openings; every opening but the first may fail for a while."""

    um_per_pixel, live = 0.1, True

    def __init__(self, frames: int, *, pause_s: float = 0.001, faults: int = 0) -> None:
        self.frames, self.pause_s, self.faults = frames, pause_s, faults
        self.opened = self.closed = self.read = 0

    @contextmanager
    def open(self, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        if self.opened and self.faults:
            self.faults -= 1
            raise SourceError("the camera can not be opened; check its cable")
        self.opened += 1
        try:
            yield self._frames(stop)
        finally:
            self.closed += 1

    def _frames(self, stop: threading.Event) -> Iterator[Frame]:
        self.read += 1
        for _ in range(self.frames):
            if stop.wait(self.pause_s):
                return
            yield Frame("counting", datetime.now(timezone.utc), self.um_per_pixel)


class Loop:
    """The loop: takes frames until the turns end."""

    def __init__(self, source: Counting) -> None:
        self.stop = threading.Event()
        self.seen: list[str] = []
        self.turns = Turns(source, "run", self.stop)

    def run(self) -> None:
        with self.turns as turns:
            for frames in turns:
                self.seen += (frame.id for frame in frames)


@contextmanager
def looping(source: Counting) -> Iterator[Loop]:
    loop = Loop(source)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(loop.run)
        try:
            yield loop
        finally:
            loop.stop.set()
        done.result(10)


def test_without_work_a_source_is_one_turn() -> None:
    source = Counting(20)
    with looping(source) as loop:
        assert until(lambda: source.closed == 1)
    assert loop.seen == [f"run-{number:08d}" for number in range(1, 21)]


def test_work_is_done_on_the_loops_thread_and_no_frame_is_lost_by_it() -> None:
    source = Counting(200)
    with looping(source) as loop:
        names = {loop.turns.ask(lambda: threading.current_thread().name, timeout_s=10) for _ in range(20)}
        assert until(lambda: source.closed == 1)
    assert len(names) == 1
    assert names != {threading.current_thread().name}
    assert loop.seen == [f"run-{number:08d}" for number in range(1, 201)]


def test_what_work_raises_reaches_who_asked_and_the_loop_goes_on() -> None:
    def refuse() -> None:
        raise IntegrityError("the bundle was changed")

    with looping(Counting(10**6)) as loop:
        with pytest.raises(IntegrityError, match="was changed"):
            loop.turns.ask(refuse, timeout_s=10)
        assert loop.turns.ask(lambda: 7, timeout_s=10) == 7


def test_work_that_no_frame_makes_room_for_is_never_done() -> None:
    done: list[int] = []
    source = Counting(10, pause_s=3600)
    with looping(source) as loop:
        assert until(lambda: source.read == 1)
        with pytest.raises(NoTurn, match="is the source silent"):
            loop.turns.ask(lambda: done.append(1), timeout_s=0.05)
    assert done == []


def test_a_silent_source_is_opened_anew_at_once() -> None:
    source = Counting(10, pause_s=3600)
    with looping(source) as loop:
        assert until(lambda: source.read == 1)
        loop.turns.restart(timeout_s=10)
        assert (source.opened, source.closed) == (2, 1)


def test_frames_after_a_restart_bear_another_name() -> None:
    source = Counting(10**6)
    with looping(source) as loop:
        assert until(lambda: len(loop.seen) > 3)
        loop.turns.restart(timeout_s=10)
        assert until(lambda: any(not name.startswith("run-") for name in loop.seen))
    runs = {name.partition("-")[0] for name in loop.seen}
    assert len(runs) == 2
    assert len(set(loop.seen)) == len(loop.seen)
    assert next(name for name in loop.seen if not name.startswith("run-")).endswith("-00000001")


def test_a_source_that_can_not_be_opened_anew_is_said_so_and_tried_again() -> None:
    source = Counting(10**6, faults=2)
    with looping(source) as loop:
        with pytest.raises(SourceError, match="check its cable"):
            loop.turns.restart(timeout_s=10)
        assert until(lambda: source.opened == 2)
        seen = len(loop.seen)
        assert until(lambda: len(loop.seen) > seen)


def test_after_the_end_nobody_waits() -> None:
    source = Counting(3)
    with looping(source) as loop:
        assert until(lambda: source.closed == 1)
        with pytest.raises(NoTurn, match="on its way down"):
            loop.turns.ask(lambda: 1, timeout_s=10)
        with pytest.raises(NoTurn, match="on its way down"):
            loop.turns.restart(timeout_s=10)


def test_many_who_ask_at_once_are_all_answered() -> None:
    source = Counting(10**6)
    with looping(source) as loop, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(loop.turns.ask, lambda k=k: k, timeout_s=10) for k in range(200)]
        restarts = [pool.submit(loop.turns.restart, timeout_s=10) for _ in range(5)]
        assert [future.result(20) for future in asked] == list(range(200))
        assert [future.result(20) for future in restarts] == [None] * 5
    assert 2 <= source.opened <= 6, "those who ask while it is opened share that opening"
    assert source.closed == source.opened
