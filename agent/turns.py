"""The frames of a source, in turns: between two turns the loop's thread does what others have asked for.

A turn ends when the source ends, when it is to be opened again, or when there is work for between two frames. While the
source is not open there are no frames, and the work is done all the same.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotInTime
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from agent.opening import Opening
from agent.sources import Source
from common.errors import MicroscopeError
from contract.types import Frame

log = logging.getLogger(__name__)
LET_GO_S = 0.4
"""How long the end of the agent waits for its source to close."""
_SLICE_S = 0.1

Result = TypeVar("Result")


class NoTurn(MicroscopeError):  # noqa: N818 - reads as what happened
    """The loop did not come to it in time, or has ended."""


class Turns:
    """A source that is opened while this is entered; ``for frames in turns`` until it ends or ``stop`` is set.

    A source that can not be opened is tried again until it can. Any thread may ``ask`` and ``restart``; the rest is the
    loop's.

    Args:
        source: where frames come from.
        run: first part of the frames' ids; another for each further opening.
        stop: ends the turns.

    Attributes:
        run: that of the first opening.
    """

    def __init__(self, source: Source, run: str, stop: threading.Event) -> None:
        self._source, self.run, self._stop = source, run, stop
        self.on_trouble: Callable[[], None] = _nobody
        """Called when ``trouble`` has changed."""
        self._opening: Opening | None = None
        self._exhausted = False
        self._wake = threading.Event()
        self._told = ""
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._waiting: set[Future[Any]] = set()
        self._over = False

    @property
    def trouble(self) -> str:
        """Why there are no frames, in words; "" while the source is open; any thread may ask."""
        return self._told

    def __enter__(self) -> Self:
        self._opening = self._open(self.run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._opening:
            self._opening.close(wait_s=LET_GO_S)

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
        """Close the source and open it again; if that fails, it is tried again and again.

        Raises:
            NoTurn: the source has not let go, or has not opened, in time; it is opened as soon as it does.
            MicroscopeError: it can not be opened; the text says why.
        """
        future: Future[None] = Future()
        self._line_up(lambda: self._reopen(future), future, cut=True)
        try:
            future.result(timeout_s)
        except NotInTime as cause:
            raise NoTurn(
                f"the source has not let go, or not opened, within {timeout_s:g} s; it is opened as soon as it does"
            ) from cause
        except CancelledError as cause:
            raise NoTurn("the agent is on its way down") from cause

    def _line_up(self, job: Callable[[], None], future: Future[Any], *, cut: bool = False) -> None:
        with self._lock:
            if self._over:
                raise NoTurn("the agent is on its way down")
            self._jobs.append(job)  # before the state is asked: the loop asks in the other order
            self._waiting.add(future)
            future.add_done_callback(self._waiting.discard)
            if cut and self._opening and self._opening.state == "open":
                self._opening.ends.set()
        self._wake.set()

    def _end(self) -> None:
        with self._lock:
            self._over = True
            for future in list(self._waiting):
                future.cancel()

    def _turn(self) -> Iterator[Frame]:
        """The frames of an open source, none of another; until there is work."""
        opening = self._opening
        if opening is None or opening.state != "open" or self._jobs:
            return
        for frame in opening.frames:
            yield frame
            if self._jobs:
                return
        self._exhausted = True

    def _between(self) -> bool:
        """Do what was asked for, and wait for the source to open; False if it has ended and nobody asked for it."""
        with self._lock:  # who asks for an end of the source has put down the reason by then
            goes_on = bool(self._jobs) or not self._exhausted
        self._exhausted = False
        while True:
            while self._jobs:
                self._jobs.popleft()()
            self._tell()
            if self._stop.is_set() or self._opening is None or self._opening.state != "closed":
                break
            self._wake.wait(_SLICE_S)
            self._wake.clear()
        if self._opening and self._opening.fault:
            raise self._opening.fault
        return goes_on

    def _tell(self) -> None:
        """Say how the source fares, once for as long as it is the same."""
        now = self._opening.trouble if self._opening else ""
        if now != self._told:
            if now:
                log.warning("%s", now)
            elif self._opening and self._opening.state == "open":
                log.info("the source is open")
            self._told = now
            self.on_trouble()

    def _reopen(self, future: "Future[None]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        if self._opening and self._opening.state == "open":
            self._opening.close()
            run = secrets.token_hex(4)  # frames are numbered from 1 again
            self._opening = self._open(run, after=self._opening, told=future)
        elif self._opening:
            self._opening.ask(future)

    def _open(self, run: str, *, after: Opening | None = None, told: "Future[None] | None" = None) -> Opening:
        return Opening(self._source, run, _Cut(self._stop), changed=self._wake.set, after=after, told=told)


def _nobody() -> None:
    """Stand in until somebody listens."""


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
