"""A retained topic: what stands there, and what is still to be said."""

from collections import deque
from collections.abc import Callable, Hashable

MOST_WAITING = 64
"""Messages that wait for a broker at most; then the oldest is given up."""


class Retained:
    """Messages for one retained topic, each sent when the broker has answered the one before.

    Any thread may ``say`` something; the rest is the publisher's.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._waiting: deque[tuple[bytes, bool]] = deque(maxlen=MOST_WAITING)
        self._latest: tuple[bytes, bool] = b"", False
        self._ticket: Hashable = None

    def say(self, body: bytes, *, final: bool = False) -> None:
        """Send this when that is possible; a later message takes its place until then, unless it is ``final``."""
        if self._waiting and not self._waiting[-1][1]:
            self._waiting[-1] = body, final
        else:
            self._waiting.append((body, final))

    def publish(self, send: Callable[[str, bytes], Hashable], *, all_at_once: bool = False) -> bool:
        """Send what may be sent now: the next message, or, if nobody will ask again, all.

        Args:
            send: gives a message's ticket, 0 if it can never be sent, None if it can not be sent now.
            all_at_once: do not wait for answers.

        Returns:
            Whether nothing waits any more.
        """
        while self._waiting and (self._ticket is None or all_at_once):
            ticket = send(self._topic, self._waiting[0][0])
            if ticket is None:
                break
            self._latest, self._ticket = self._waiting.popleft(), ticket or None
        return not self._waiting

    def answered(self, ticket: Hashable) -> bool:
        """Note that the broker answered; False if the ticket is none of ours."""
        if ticket != self._ticket:
            return False
        self._ticket = None
        return True

    def again(self) -> None:
        """There is a new connection: say again what was not answered, or the latest, which the broker may not have."""
        lost, self._ticket = self._ticket is not None, None
        if not self._latest[0] or len(self._waiting) == MOST_WAITING:
            return
        if not self._waiting or (lost and self._latest[1]):
            self._waiting.appendleft(self._latest)
