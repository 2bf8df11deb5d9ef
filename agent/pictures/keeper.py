"""Keeps pictures beside the loop: a tap takes each frame with its report, a thread cuts, encodes and stores.

The loop never waits: frames line up as far as a bound; the pictures of what comes beyond it are dropped and counted.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import cv2

from agent.pictures.cutting import pictures_of
from agent.pictures.store import PictureStore
from agent.pipeline import Sink
from common.errors import PictureError
from contract.health_messages import PictureHealth
from contract.messages import FrameReport
from contract.types import Frame

log = logging.getLogger(__name__)
MOST_FRAMES, MOST_BYTES = 64, 64 * 2**20
"""Frames that line up, and bytes of their images; one may always."""
_FINISH_S, _LET_GO_S = 5.0, 0.2
"""At the end: how long what is in line may take, and how long where the agent is told to stop."""
_SLICE_S = 0.05
_NICE = 5
"""Of the thread, where the system allows it: the loop goes first."""


class _Waiting(NamedTuple):
    frame: Frame
    report: FrameReport
    field_um: float


class PictureKeeper:
    """Takes frames with their reports while it is ``running``.

    Args:
        store: where the pictures go.
        field_um: tells the side of what the network sees of a cell, micrometres; asked on the loop's thread.
    """

    def __init__(self, store: PictureStore, field_um: Callable[[], float]) -> None:
        self.store, self._field_um = store, field_um
        self._line: deque[_Waiting] = deque()
        self._line_bytes = 0
        self._awaited: dict[str, int] = {}
        """Ids of what is in line or in hand, and how often."""
        self._changed = threading.Condition()
        self._ends = False
        self._kept = self._dropped = 0
        self._said = ""
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)

    @contextmanager
    def running(self, stop: threading.Event) -> Iterator[None]:
        """Keep pictures in the block; at its end what is in line is kept too, unless ``stop`` is set."""
        self._thread.start()
        try:
            yield
        finally:
            self._end(stop)

    def offer(self, frame: Frame, report: FrameReport) -> None:
        """Have the pictures of a frame kept, if there is time for them; does not wait."""
        count = 1 + len(report.cells)
        with self._changed:
            size = frame.image.nbytes
            full = len(self._line) >= MOST_FRAMES or self._line_bytes + size > MOST_BYTES
            if self._ends or (self._line and full):
                self._dropped += count
                return
            self._line.append(_Waiting(frame, report, self._field_um()))
            self._line_bytes += size
            for name in _names(report):
                self._awaited[name] = self._awaited.get(name, 0) + 1
            self._changed.notify()

    def awaits(self, name: str) -> bool:
        """Whether the picture of this cell or frame is still on its way into the store; any thread may ask."""
        with self._changed:
            return name in self._awaited

    def health(self) -> PictureHealth:
        """What was kept and what was not; any thread may ask."""
        with self._changed:
            kept, dropped = self._kept, self._dropped
        return PictureHealth(kept=kept, dropped=dropped, mb=round(self.store.bytes / 2**20, 3))

    def alarms(self) -> list[str]:
        """What a person should see to, in words; any thread may ask."""
        gone = "no pictures are kept: their thread has ended by a fault in this program; start the agent again"
        dead = self._thread.ident is not None and not self._ends and not self._thread.is_alive()
        return [*([gone] if dead else []), *self.store.alarms()]

    def _end(self, stop: threading.Event) -> None:
        deadline = time.monotonic() + _FINISH_S
        while self._line and self._thread.is_alive() and not stop.is_set() and time.monotonic() < deadline:
            time.sleep(_SLICE_S)
        with self._changed:
            self._ends = True
            self._dropped += sum(1 + len(one.report.cells) for one in self._line)
            for one in self._line:
                self._forget(one.report)
            self._line.clear()
            self._changed.notify()
        self._thread.join(_LET_GO_S if stop.is_set() else _FINISH_S)

    def _work(self) -> None:
        with suppress(OSError):  # a service manager may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._keep(None)
        while (one := self._next()) is not None:
            count, done = 1 + len(one.report.cells), self._keep(one)
            with self._changed:
                self._kept += count if done else 0
                self._dropped += 0 if done else count
                self._forget(one.report)
        self.store.close()  # here, for a disk that hangs must not hold up the agent's end

    def _next(self) -> _Waiting | None:
        """The next in line, waited for; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._ends)
            if not self._line:
                return None
            one = self._line.popleft()
            self._line_bytes -= one.frame.image.nbytes
            return one

    def _forget(self, report: FrameReport) -> None:
        for name in _names(report):
            self._awaited[name] -= 1
            if not self._awaited[name]:
                del self._awaited[name]

    def _keep(self, one: _Waiting | None) -> bool:
        """Keep its pictures, or only tidy; what hinders it is said once for as long as it is the same."""
        try:
            if one:
                self.store.put([*pictures_of(*one)])
            else:
                self.store.tidy()
        except (PictureError, ValueError, MemoryError, cv2.error) as cause:
            text = str(cause) or type(cause).__name__
            log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
            self._said = text
            return False
        self._said = ""
        return True


def _names(report: FrameReport) -> Iterator[str]:
    yield report.frame.id
    for cell in report.cells:
        yield cell.cell_id


class PictureTap:
    """A sink before another: frames pass ``through`` it, and the pictures of what the sink took are kept."""

    def __init__(self, sink: Sink, keeper: PictureKeeper) -> None:
        self._sink, self._keeper = sink, keeper
        self._frame: Frame | None = None

    @property
    def epoch(self) -> str:
        """That of the sink behind."""
        return self._sink.epoch

    def next_seq(self) -> int:
        """That of the sink behind."""
        return self._sink.next_seq()

    def put(self, report: FrameReport) -> None:
        """Hand the report on, then have its frame's pictures kept; raises OutboxFull as the sink does."""
        self._sink.put(report)
        frame = self._frame
        if frame is not None and frame.id == report.frame.id:
            self._keeper.offer(frame, report)

    def through(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames."""
        for frame in frames:
            self._frame = None if frame.fault else frame
            yield frame
