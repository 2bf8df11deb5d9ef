"""Frames of a recording, inspected ahead of the loop by processes beside it.

What a frame shows by itself takes most of the time and needs no other frame. So each process inspects every so-many-th
frame, while the loop judges those before it, in order: the reports are the same, but for their times. The processes
are forked, which takes no time and shares the memory; they end with this one, however it ends.
"""

import math
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from mmap import mmap
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from agent.vision.inspection import Inspection
from common.errors import MicroscopeError
from contract.types import Frame, Image

Inspect = Callable[[Image, float], Inspection]
"""(image, micrometres per pixel) to what the frame shows by itself."""
MOST = 4
"""Processes that keep one loop busy."""
WORTH_FRAMES = 50
"""Frames for which processes are started; of fewer the loop inspects each itself."""


def helpers(planned: int | None) -> int:
    """Processes that are worth starting for so many frames (None: not known how many) on the cores of this machine.

    The loop keeps a core for itself: on two cores one process is a tenth faster than two.
    """
    cores = len(os.sched_getaffinity(0))
    return min(cores - 1, MOST) if planned is None or planned >= WORTH_FRAMES else 0


def inspected(frames: Iterator[Frame], inspect: Inspect, processes: int) -> Generator[tuple[Frame, Inspection | None]]:
    """Yield frames in order, each with what it shows by itself; None for a frame that has a fault.

    Args:
        frames: read ahead by as many as there are processes, and one.
        inspect: inspects one frame.
        processes: how many inspect frames; with 0 no frame is inspected here, and each comes with None.

    Raises:
        MicroscopeError: a process was killed.
    """
    if not processes:
        yield from ((frame, None) for frame in frames)
        return
    crew, free, waiting = list[_Helper](), deque[_Helper](), deque[_Asked]()
    try:
        for frame in frames:
            if not free and len(crew) < processes and not frame.fault:
                crew.append(_Helper(inspect, frame.image.nbytes))
                free.append(crew[-1])
            ready = []
            while waiting and (not free or waiting[0].helper is None):
                ready.append(_answered(waiting.popleft(), free))
            helper = None if frame.fault else free.popleft()
            if helper:
                helper.ask(frame)
            waiting.append(_Asked(frame, helper))
            yield from ready
        while waiting:
            yield _answered(waiting.popleft(), free)
    finally:
        for helper in crew:
            helper.end()


class _Helper:
    """A process that inspects one frame at a time.

    Args:
        inspect: inspects a frame.
        usual: bytes of the usual frame, which goes there by memory that both share; a larger one by the pipe.
    """

    def __init__(self, inspect: Inspect, usual: int) -> None:
        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._shared = mmap(-1, usual)
        work = theirs, self._pipe, self._shared, inspect
        self._process = context.Process(target=_serve, args=work, daemon=True, name="inspect")
        self._process.start()
        theirs.close()

    def ask(self, frame: Frame) -> None:
        """Hand it a frame; it must have answered the one before."""
        image = frame.image
        fits = image.nbytes <= len(self._shared)
        if fits:
            _within(self._shared, image.shape)[:] = image
        try:
            self._pipe.send((image.shape if fits else image, frame.um_per_pixel))
        except OSError as cause:
            raise self._killed() from cause

    def answer(self) -> Inspection:
        """What the frame shows; waits for it."""
        try:
            answer: Inspection | Exception = self._pipe.recv()
        except (EOFError, OSError) as cause:
            raise self._killed() from cause
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _killed(self) -> MicroscopeError:
        self._process.join(timeout=1)
        return MicroscopeError(
            f"a process that inspects frames ended (exit code {self._process.exitcode}): it was killed, or memory is "
            "short; start again with --processes 0, which does without"
        )


class _Asked(NamedTuple):
    """A frame, and who inspects it."""

    frame: Frame
    helper: _Helper | None


def _answered(asked: _Asked, free: deque[_Helper]) -> tuple[Frame, Inspection | None]:
    if asked.helper is None:
        return asked.frame, None
    seen = asked.helper.answer()
    free.append(asked.helper)
    return asked.frame, seen


def _within(shared: mmap, shape: tuple[int, ...]) -> Image:
    """The image that shared memory holds."""
    return np.frombuffer(shared, np.uint8, math.prod(shape)).reshape(shape)


def _serve(pipe: Connection, other_end: Connection, shared: mmap, inspect: Inspect) -> None:
    """Answer until the other end is gone, which is also open here. A terminal's Ctrl-C and hangup are the loop's."""
    other_end.close()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            told, um_per_pixel = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(inspect(_within(shared, told) if isinstance(told, tuple) else told, um_per_pixel))
        except Exception as cause:  # noqa: BLE001 - the loop raises it
            pipe.send(cause)
