"""A source while it is open. A device may hang where it is opened or closed: both have a thread of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Literal

from agent.pipeline import numbered
from agent.sources import Source
from common.errors import MicroscopeError
from contract.types import Frame

RETRY_S = 2.0
"""Seconds between two attempts to open a source."""
SLOW_S = 3.0
"""A source that takes longer to open, or to close before that, may hang: it is told of."""
_SLICE_S = 0.1


class Opening:
    """One opening of a source: tried until it succeeds, then open until ``close``.

    The thread that made it reads the frames, and calls ``close`` once it reads no more.

    Args:
        source: what is opened.
        run: first part of its frames' ids; they are numbered from 1.
        ends: ends the attempts, and the frames.
        changed: called on the thread of the source whenever ``state`` or ``trouble`` has changed.
        after: an opening of the same source that is closed first.
        told: gets what comes of the first attempt; it is running.
    """

    frames: Iterator[Frame]

    def __init__(
        self,
        source: Source,
        run: str,
        ends: threading.Event,
        *,
        changed: Callable[[], None],
        after: "Opening | None" = None,
        told: "Future[None] | None" = None,
    ) -> None:
        self._source, self._run, self._changed, self._after = source, run, changed, after
        self.ends = ends
        self.state: Literal["closed", "open", "broken"] = "closed"
        self.frames = iter(())
        self.fault: BaseException | None = None
        """Why it is broken: a fault in this program."""
        self._error: MicroscopeError | None = None
        self._since = time.monotonic()
        self._again, self._closing = threading.Event(), threading.Event()
        self._waiting = [told] if told else []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="source", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why there are no frames, in words; "" while it is open, or was asked to open just now."""
        if self.state == "open":
            return ""
        if self._error:
            return f"{self._error}; it is tried again every {RETRY_S:g} s"
        if time.monotonic() - self._since < SLOW_S:
            return ""
        return f"the source has not answered for {SLOW_S:g} s while it is opened; check the device and its connection"

    def ask(self, told: "Future[None]") -> None:
        """Try now, unless it is open; what comes of it is put into ``told``, which is running."""
        with self._lock:
            if self.state == "open":
                told.set_result(None)
            else:
                self._waiting.append(told)
        self._again.set()

    def close(self, *, wait_s: float = 0) -> None:
        """End it, and wait so long for the device to let go; one that hangs is left to the end of the process."""
        self.ends.set()
        self._closing.set()
        self._tell(CancelledError())
        self._thread.join(wait_s)

    def _work(self) -> None:
        try:
            if self._after:
                self._after._thread.join()  # noqa: SLF001 - its own kind
            while not self.ends.is_set() and not self._attempt():
                self._pause()
        except BaseException as fault:  # noqa: BLE001 - the loop raises it
            self.fault = fault
            self._settle("broken", MicroscopeError("a fault in this program stopped it; see the agent's log"))

    def _attempt(self) -> bool:
        """Open the source, and keep it open until it is to be closed; False if it can not be opened."""
        self._again.clear()
        try:
            with self._source.open(self.ends) as frames:
                self.frames = numbered(frames, self._run)
                self._settle("open", None)
                self._closing.wait()
        except MicroscopeError as cause:
            if self.state == "open":
                raise
            self._settle("closed", cause)
            return False
        return True

    def _settle(self, state: Literal["closed", "open", "broken"], error: MicroscopeError | None) -> None:
        """Tell what came of an attempt."""
        with self._lock:
            self.state, self._error = state, error
        self._tell(error)
        self._changed()

    def _tell(self, error: BaseException | None) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for told in waiting:
            if error:
                told.set_exception(error)
            else:
                told.set_result(None)

    def _pause(self) -> None:
        until = time.monotonic() + RETRY_S
        while time.monotonic() < until and not self.ends.is_set() and not self._again.wait(_SLICE_S):
            pass
