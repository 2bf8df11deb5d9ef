"""A live camera: the newest frame wins, silence is reported, and a camera that is lost is opened again.

What differs between cameras is a ``Grabber``, three methods around a driver. What all have in common stands here.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from agent.sources.shot import Shot, UnfitStreamError
from common.errors import SourceError
from contract.types import Frame

LONGEST_SILENCE_S = 300.0
"""A camera that stays away is reported again at doubling intervals up to this one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""Seconds before a lost camera is opened again: doubled after each attempt, up to the longest."""
_SLICE_S = 0.2


class Grabber(Protocol):
    """The driver of one camera. One thread at a time calls it, and opens it again after ``close``."""

    def open(self) -> None:
        """Connect to the camera.

        Raises:
            SourceError: it can not be opened; the text names it, the cause and the remedy.
            UnfitStreamError: it is there, but none of its pictures can be judged.
        """
        ...

    def grab(self) -> Shot | None:
        """Wait for the next picture; None, or a SourceError, if the camera is lost."""
        ...

    def close(self) -> None:
        """Let go of the camera, which may be closed already, or half open."""
        ...


@contextmanager
def live_frames(
    grabber: Grabber, stop: threading.Event, *, label: str, um_per_pixel: float, max_age_ms: int
) -> Iterator[Iterator[Frame]]:
    """Open a camera and deliver its newest frames until ``stop`` is set; one that is lost is opened again and again.

    Args:
        grabber: the camera.
        stop: ends the frames.
        label: what frames call it.
        um_per_pixel: micrometres per pixel.
        max_age_ms: an older frame is not delivered; after so long without one, a frame with the fault ``stale`` is.

    Raises:
        SourceError: it can not be opened the first time.
    """
    slot = Slot()
    reader = _Reader(grabber, slot)
    reader.start()
    try:
        yield _frames(slot, stop, label=label, um_per_pixel=um_per_pixel, max_age_s=max_age_ms / 1e3)
    finally:
        reader.close(wait_s=max_age_ms / 1e3 + 1)


def _frames(
    slot: "Slot", stop: threading.Event, *, label: str, um_per_pixel: float, max_age_s: float
) -> Iterator[Frame]:
    silence_s = max_age_s
    deadline = time.monotonic() + silence_s
    while not stop.is_set():
        taken = slot.take(timeout_s=min(_SLICE_S, max_age_s))
        now = time.monotonic()
        if taken and now - taken.at <= max_age_s:
            silence_s = max_age_s
            deadline = now + silence_s
            yield Frame(
                label,
                taken.captured_at,
                um_per_pixel,
                image=taken.shot.image,
                fault=taken.shot.fault,
                detail=f"{label}: {taken.shot.detail}" if taken.shot.fault else "",
                read_ms=(now - taken.at) * 1e3,
                skipped=slot.skipped(),
                meta=taken.shot.meta,
            )
        elif now > deadline:
            silence_s = min(2 * silence_s, LONGEST_SILENCE_S)
            deadline = now + silence_s
            detail = f"{label} has delivered no fresh frame for {slot.silent_s():.1f} s; check the camera and its cable"
            yield Frame(label, datetime.now(timezone.utc), um_per_pixel, fault="stale", detail=detail)


@dataclass(frozen=True, slots=True)
class Taken:
    """A shot and when it came: by the wall clock, and by ``time.monotonic``."""

    shot: Shot
    captured_at: datetime
    at: float


class Slot:
    """Room for one shot: the newest takes the place of one that nobody took. One thread puts, one takes."""

    def __init__(self) -> None:
        self._filled = threading.Condition()
        self._taken: Taken | None = None
        self._skipped = 0
        self._last = time.monotonic()
        self._fault: BaseException | None = None

    def put(self, shot: Shot) -> None:
        """Keep a shot that has come now."""
        with self._filled:
            self._skipped += self._taken is not None
            self._last = time.monotonic()
            self._taken = Taken(shot, datetime.now(timezone.utc), self._last)
            self._filled.notify()

    def fail(self, fault: BaseException) -> None:
        """Let the thread that takes raise this: nothing will be put any more."""
        with self._filled:
            self._fault = fault
            self._filled.notify()

    def take(self, *, timeout_s: float) -> Taken | None:
        """The newest shot, once; None if none came in time."""
        with self._filled:
            self._filled.wait_for(lambda: self._taken or self._fault, timeout_s)
            if self._fault:
                raise self._fault
            taken, self._taken = self._taken, None
            return taken

    def skipped(self) -> int:
        """Shots that were replaced by newer ones since the last call."""
        with self._filled:
            count, self._skipped = self._skipped, 0
            return count

    def silent_s(self) -> float:
        """Seconds since the last shot, or since the beginning."""
        return time.monotonic() - self._last


class _Reader:
    """A thread that empties a camera into a slot, so that what is taken is never old, and opens it again if lost."""

    def __init__(self, grabber: Grabber, slot: Slot) -> None:
        self._grabber, self._slot = grabber, slot
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="camera", daemon=True)

    def start(self) -> None:
        """Open the camera once, so that a wrong address is known at once, then read on in the thread."""
        try:
            self._grabber.open()
        except BaseException:
            self._grabber.close()
            raise
        self._thread.start()

    def close(self, *, wait_s: float) -> None:
        """End the thread; a camera driver that hangs is left to the end of the process."""
        self._closing.set()
        self._thread.join(wait_s)

    def _work(self) -> None:
        try:
            self._read()
        except BaseException as fault:  # noqa: BLE001 - the loop raises it
            self._slot.fail(fault)
        finally:
            self._grabber.close()

    def _read(self) -> None:
        is_open, pause_s = True, FIRST_PAUSE_S
        while not self._closing.is_set():
            shot = self._grab() if is_open else None
            if shot:
                self._slot.put(shot)
                pause_s = FIRST_PAUSE_S
            elif not self._closing.wait(pause_s):
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                is_open = self._open_again()

    def _grab(self) -> Shot | None:
        try:
            return self._grabber.grab()
        except SourceError:
            return None

    def _open_again(self) -> bool:
        self._grabber.close()
        try:
            self._grabber.open()
        except UnfitStreamError as cause:
            self._slot.put(Shot(fault=cause.fault, detail=str(cause)))
            return False
        except SourceError:
            return False
        return True
