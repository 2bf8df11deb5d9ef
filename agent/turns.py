"""The frames of a source, in turns: between two turns the loop's thread does what others have asked for.

A turn ends when the source ends, when it is to be opened anew, or when there is work for between two frames.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from agent.sources import Source
from contract.errors import MicroscopeError
from contract.types import Frame

log = logging.getLogger(__name__)
RETRY_S = 2.0
"""Seconds between two attempts to open a source that could not be opened anew."""
_SLICE_S = 0.1

Result = TypeVar("Result")


class NoTurn(MicroscopeError):  # noqa: N818 - reads as what happened
    """The loop did not come to it in time, or has ended."""


class Turns:
    """A source that is open while this is entered; ``for frames in turns`` until it ends or ``stop`` is set.

    Any thread may ``ask`` and ``restart``; the rest is the loop's.

    Raises:
        SourceError, UsageError: on entering, as the source's ``open``.
    """

    def __init__(self, source: Source, run: str, stop: threading.Event) -> None:
        self._source, self._run, self._stop = source, run, stop
        self._cut = _Cut(stop)
        self._open_source = ExitStack()
        self._frames: Iterator[Frame] = iter(())
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._waiting: set[Future[Any]] = set()
        self._over = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._open_source.close()

    def __iter__(self) -> Iterator[Iterator[Frame]]:
        """Turn by turn."""
        while True:
            yield self._turn()
            if self._stop.is_set() or not self._between():
                self._end()
                return

    def ask(self, work: Callable[[], Result], *, timeout_s: float) -> Result:
        """Have something done on the loop's thread, between two frames; what it returns or raises.

        Raises:
            NoTurn: it was not begun in time, and never will be.
        """
        future: Future[Result] = Future()
        self._line_up(lambda: _do(work, future), future)
        try:
            return future.result(timeout_s)
        except NotInTime as cause:
            if future.cancel():
                raise NoTurn(f"no frame came within {timeout_s:g} s; is the source silent? Nothing was done") from cause
            return future.result()  # it has begun
        except CancelledError as cause:
            raise NoTurn("the agent is on its way down") from cause

    def restart(self, *, timeout_s: float) -> None:
        """Close the source and open it anew; if it can not be opened, that is tried for ever.

        Raises:
            NoTurn: the source has not let go in time; it is opened anew as soon as it does.
            MicroscopeError: it can not be opened; the text says why.
        """
        future: Future[None] = Future()
        self._line_up(lambda: _do(self._reopen, future), future, cut=True)
        try:
            future.result(timeout_s)
        except NotInTime as cause:
            raise NoTurn(
                f"the source has not let go of its frame within {timeout_s:g} s; it is opened anew when it does"
            ) from cause
        except CancelledError as cause:
            raise NoTurn("the agent is on its way down") from cause

    def _line_up(self, job: Callable[[], None], future: Future[Any], *, cut: bool = False) -> None:
        with self._lock:
            if self._over:
                raise NoTurn("the agent is on its way down")
            if cut:
                self._cut.set()
            self._jobs.append(job)
            self._waiting.add(future)
            future.add_done_callback(self._waiting.discard)

    def _end(self) -> None:
        with self._lock:
            self._over = True
            for future in list(self._waiting):
                future.cancel()

    def _turn(self) -> Iterator[Frame]:
        for frame in self._frames:
            yield frame
            if self._jobs:
                return

    def _between(self) -> bool:
        """Do what was asked for; False if nothing was, so that the source has ended."""
        with self._lock:  # who asks for an end of the source has put down the reason by then
            asked = bool(self._jobs)
        self._work()
        while self._cut.is_set() and not self._stop.wait(RETRY_S):
            self._try_again()
            self._work()
        return asked

    def _work(self) -> None:
        while self._jobs:
            self._jobs.popleft()()

    def _try_again(self) -> None:
        try:
            self._reopen()
        except MicroscopeError as cause:
            log.debug("%s", cause)
        else:
            log.info("the source is open again")

    def _reopen(self) -> None:
        self._open_source.close()
        self._frames = iter(())
        self._run = secrets.token_hex(4)  # frames are numbered from 1 again
        try:
            self._open()
        except MicroscopeError as cause:
            log.warning("%s; it is tried again every %g s", cause, RETRY_S)
            raise

    def _open(self) -> None:
        cut = _Cut(self._stop)
        self._frames = self._open_source.enter_context(self._source.open(self._run, cut))
        self._cut = cut


class _Cut(threading.Event):
    """What a source takes for the end of the agent: that, or the end of this opening."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def is_set(self) -> bool:
        """Whether either has come."""
        return super().is_set() or self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for either."""
        left = float("inf") if timeout is None else timeout
        while left > 0 and not self._stop.is_set() and not super().wait(min(left, _SLICE_S)):
            left -= _SLICE_S
        return self.is_set()


def _do(work: Callable[[], Result], future: "Future[Result]") -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except MicroscopeError as cause:
        future.set_exception(cause)
    finally:
        if not future.done():
            future.set_exception(NoTurn("a fault in this program stopped it; see the agent's log"))
