"""The heartbeat: something that is told at once, every few seconds, and whenever there is something new to tell."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

from common.errors import OutboxError

log = logging.getLogger(__name__)
EVERY_S = 4.0
"""Less than the 5 s within which an alarm must be told."""
_LET_GO_S = 0.2


class Heartbeat:
    """Calls ``beat`` on a thread of its own while it is entered; any thread may ``hasten`` the next one.

    Args:
        beat: tells what there is to tell; may raise OutboxError.
        every_s: seconds between two beats that nobody hastens.
        name: of the thread.
    """

    def __init__(self, beat: Callable[[], None], *, every_s: float = EVERY_S, name: str = "heartbeat") -> None:
        self._beat, self._every_s = beat, every_s
        self._due, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._due.set()
        self._thread.join(_LET_GO_S)  # a beat may wait for a disk that hangs

    def hasten(self) -> None:
        """Beat now."""
        self._due.set()

    def _work(self) -> None:
        while not self._ended.is_set():
            self._due.clear()
            try:
                self._beat()
            except OutboxError as cause:
                log.warning("no health message this time: %s", cause)
            self._due.wait(self._every_s)
