"""A retained topic: what stands there, and what is still to be said."""

from collections import deque
from collections.abc import Callable

MOST_WAITING = 64
"""Messages that wait for a broker at most; then the oldest is given up."""


class Retained:
    """Messages for one retained topic, each sent when the broker has answered the one before.

    Any thread may ``say`` something; the rest is the courier's.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._waiting: deque[tuple[bytes, bool]] = deque(maxlen=MOST_WAITING)
        self._latest = b""
        self._ticket: int | None = None

    def say(self, body: bytes, *, final: bool = False) -> None:
        """Send this when that is possible; a later message takes its place until then, unless it is ``final``."""
        if self._waiting and not self._waiting[-1][1]:
            self._waiting[-1] = body, final
        else:
            self._waiting.append((body, final))

    def publish(self, send: Callable[[str, bytes], int | None], *, all_at_once: bool = False) -> None:
        """Send what may be sent now: the next message, or, if nobody will ask again, all."""
        while self._waiting and (self._ticket is None or all_at_once):
            self._latest = self._waiting.popleft()[0]
            self._ticket = send(self._topic, self._latest)

    def answered(self, ticket: int) -> bool:
        """Note that the broker answered; False if the ticket is none of ours."""
        if ticket != self._ticket:
            return False
        self._ticket = None
        return True

    def again(self) -> None:
        """Say the latest again: the broker may be another, or have forgotten."""
        if self._latest and not self._waiting:
            self.say(self._latest)
