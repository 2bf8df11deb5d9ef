"""What the broker has not answered yet: no more at once than it takes, and none of it for too long."""

import time
from collections.abc import Callable

ANSWER_WITHIN_S = 30.0
"""A broker that takes messages for so long and answers none will not answer: only a new connection can help."""


class InFlight:
    """Counts everything of one connection that is sent with QoS 1, whoever sends it: the broker counts so, too.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: set[int] = set()
        self._at_once, self._since = 0, 0.0

    def begin(self, at_once: int) -> None:
        """There is a new connection, whose broker takes so many at once (its Receive Maximum)."""
        self._tickets.clear()
        self._at_once = at_once

    @property
    def room(self) -> int:
        """How many more may be sent now; none before there is a connection."""
        return max(0, self._at_once - len(self._tickets))

    def sent(self, ticket: int) -> None:
        """Note that a message is on its way."""
        if not self._tickets:
            self._since = self._clock()
        self._tickets.add(ticket)

    def answered(self, ticket: int) -> None:
        """Note that the broker has answered a message, with yes or no."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            self._since = self._clock()

    @property
    def overdue(self) -> bool:
        """Whether something waits for an answer, and the broker has given none for too long."""
        return bool(self._tickets) and self._clock() - self._since > ANSWER_WITHIN_S
