"""A retained topic: what stands there, and what is still to be said."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from contract.messages import CONTENT_TYPE

MOST_WAITING = 64
"""Messages that wait for a broker at most; then the oldest is given up."""


class Manner(NamedTuple):
    """How something is said on a topic.

    Attributes:
        retained: the broker keeps the latest, and it is said again on every connect; else it is of the moment: what
            can not be said on this connection is not said.
        expiry_s: after so many seconds the broker throws it away; 0: never.
        media_type: of the messages.
    """

    retained: bool = True
    expiry_s: int = 0
    media_type: str = CONTENT_TYPE


KEPT = Manner()
"""As most of what is said beside reports."""


class Retained:
    """Messages for one topic, each sent when the broker has answered the one before.

    Args:
        topic: where they are said.
        manner: how.

    Any thread may ``say`` something; the rest is the publisher's.
    """

    def __init__(self, topic: str, manner: Manner = KEPT) -> None:
        self._topic, self.manner = topic, manner
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
        if not self.manner.retained:
            self._waiting.clear()
            return
        if not self._latest[0] or len(self._waiting) == MOST_WAITING:
            return
        if not self._waiting or (lost and self._latest[1]):
            self._waiting.appendleft(self._latest)
