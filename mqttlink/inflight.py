"""What the broker has not answered yet: no more at once than it takes, and none of it for too long."""

import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from mqttlink.refusals import Reason

ANSWER_WITHIN_S = 30.0
"""A broker that takes messages for so long and answers none will not answer: only a new connection can help."""


class Answer(Reason, Protocol):
    """What the broker answered."""

    @property
    def is_failure(self) -> bool:
        """Whether it said no."""
        ...


class Ticket:
    """Stands for one message or subscription until the broker answers it, and calls back then, once.

    Args:
        answered: gets the ticket and the answer.

    Attributes:
        answer: None until the broker has answered.
    """

    __slots__ = ("_answered", "answer")

    def __init__(self, answered: "Answered | None" = None) -> None:
        self._answered = answered
        self.answer: Answer | None = None

    def settle(self, answer: Answer) -> None:
        """Keep the answer, and tell who sent the message."""
        self.answer = answer
        if self._answered:
            self._answered(self, answer)


Answered: TypeAlias = Callable[[Ticket, Answer], None]


class InFlight:
    """Counts everything of one connection that is sent with QoS 1, whoever sends it: the broker counts so, too.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[int, Ticket] = {}
        """By packet id."""
        self._at_once, self._since = 0, 0.0

    def begin(self, at_once: int) -> None:
        """There is a new connection, whose broker takes so many at once (its Receive Maximum)."""
        self._tickets.clear()
        self._at_once = at_once

    @property
    def room(self) -> int:
        """How many more may be sent now; none before there is a connection."""
        return max(0, self._at_once - len(self._tickets))

    def sent(self, packet_id: int, answered: Answered | None = None) -> Ticket:
        """Note that a message is on its way; its ticket, which calls back as ``answered`` says."""
        if not self._tickets:
            self._since = self._clock()
        ticket = self._tickets[packet_id] = Ticket(answered)
        return ticket

    def answered(self, packet_id: int) -> Ticket | None:
        """Note that the broker has answered a message, with yes or no; its ticket, None if none was sent."""
        ticket = self._tickets.pop(packet_id, None)
        if ticket:
            self._since = self._clock()
        return ticket

    @property
    def overdue(self) -> bool:
        """Whether something waits for an answer, and the broker has given none for too long."""
        return bool(self._tickets) and self._clock() - self._since > ANSWER_WITHIN_S
