"""Which report is sent next and which is done with; knows nothing of MQTT's library.

Here a report goes by its place in the outbox.
"""

import time
from collections.abc import Callable, Hashable
from typing import Literal

from agent.wire.aside import Large
from agent.wire.outbox import Outbox

_HOLD_S = 1.0, 60.0
_PATIENCE_S = 30.0, 3600.0
_HINT_S = 1.0
_NEVER = float("inf")


class Delivery:
    """The books of one publisher; only its thread writes them.

    A report that was sent stays on the books under its ticket until the broker answers; what it had not answered when
    a connection ended is sent again on the next. Refused reports go back into line, and the line stops for a while. If
    consumers acknowledge, a report is done when they say so; what they leave open is sent again on a new connection,
    and after a time that doubles while they stay silent. One that says again what it said before has missed something,
    unless it tells that it has seen nothing further, as when it answers what came twice: it need not wait so long, but
    the wait doubles likewise until there is progress.

    Args:
        outbox: where the reports are.
        forget_on: whose acknowledgement frees a report.
        window: how many may be sent and unanswered.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        forget_on: Literal["consumer", "broker"],
        window: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.window = window
        self._outbox, self._clock = outbox, clock
        self._by_broker = forget_on == "broker"
        self._cursor = 0
        self._in_flight: dict[Hashable, int] = {}
        """By ticket: the place of what the broker has not answered."""
        self._refused: set[int] = set()
        self._done: list[int] = []
        self._hold_until, self._hold_s = 0.0, _HOLD_S[0]
        self._highest_accepted = 0
        self._patience_s, self._hint_s = _PATIENCE_S[0], _HINT_S
        self._resend_at = _NEVER
        """When the consumer has had time enough for what the broker took; further reports do not put it off."""
        self._owed_since = _NEVER
        """When a consumer last acknowledged anything new, or the first report since then reached the broker."""

    def next_batch(self, room: int) -> list[tuple[int, bytes]]:
        """Reports that may be sent now: (place, JSON), those refused before first, then in order.

        Args:
            room: how many the broker takes now, at most.
        """
        room = min(room, self.window - len(self._in_flight))
        if room <= 0 or self._clock() < self._hold_until:
            return []
        if self._consumer_is_late():
            self._patience_s = min(2 * self._patience_s, _PATIENCE_S[1])
            self._hint_s = min(2 * self._hint_s, _PATIENCE_S[1])
            self._rewind()
        batch = self._again(room) if self._refused else []
        listed = {place for place in (*self._refused, *self._in_flight.values(), *self._done) if place > self._cursor}
        fresh = self._outbox.pending(self._cursor, room - len(batch) + len(listed))
        return (batch + [row for row in fresh if row[0] not in listed])[:room]

    def sent(self, ticket: Hashable, place: int) -> None:
        """Note that the client took a report under this ticket."""
        self._in_flight[ticket] = place
        self._refused.discard(place)
        self._cursor = max(self._cursor, place)

    def accepted(self, ticket: Hashable) -> bool:
        """Note that the broker took it; False if the ticket is none of a report."""
        if ticket not in self._in_flight:
            return False
        place = self._in_flight[ticket]
        if self._by_broker:
            self._done.append(place)
        else:
            self._owed_since = min(self._owed_since, self._clock())
        del self._in_flight[ticket]  # last, so that ``unsent`` never misses a report
        self._hold_s = _HOLD_S[0]
        self._highest_accepted = max(self._highest_accepted, place)
        if self._resend_at == _NEVER:
            self._resend_at = self._clock() + self._patience_s
        return True

    def refused(self, ticket: Hashable) -> bool:
        """Note that the broker refused it: back into line; False if the ticket is none of a report."""
        if ticket not in self._in_flight:
            return False
        self._refused.add(self._in_flight[ticket])
        del self._in_flight[ticket]
        if self._clock() >= self._hold_until:
            self._hold_until = self._clock() + self._hold_s
            self._hold_s = min(2 * self._hold_s, _HOLD_S[1])
        return True

    def acknowledged(self, epoch: str, upto: int, seen: int | None = None) -> bool:
        """Forget what consumers have stored; False if they speak of reports that were never made here.

        Args:
            epoch: of the reports.
            upto: all up to this number are stored.
            seen: the highest that is; None if they do not tell.
        """
        count = self._outbox.acknowledge(epoch, upto)
        if count:
            self._refused = {place for place in self._refused if self._outbox.has(place)}
            self._patience_s, self._hint_s = _PATIENCE_S[0], _HINT_S
            self._resend_at = self._owed_since = _NEVER
            if self._consumer_lacks():
                self._owed_since = self._clock()
                self._resend_at = self._owed_since + self._patience_s
        elif count is not None and (seen is None or seen > upto) and self._consumer_lacks():
            self._resend_at = min(self._resend_at, self._clock() + self._hint_s)
        return count is not None

    def reconnected(self) -> None:
        """There is a new connection: the first report that is not done is the next."""
        self._in_flight.clear()
        self._rewind()

    def set_aside(self, place: int, large: Large) -> None:
        """Pass over a report that the broker does not take for its size."""
        self._outbox.set_aside(place, large)
        self._refused.discard(place)

    def _rewind(self) -> None:
        self._cursor = 0  # what consumers have is no longer in the outbox
        self._refused.clear()
        self._resend_at = self._clock() + self._patience_s

    def settle(self, *, now: bool = False) -> None:
        """Delete from the outbox what is done with; while there is much to do, many at once, unless it must be now."""
        if len(self._done) >= self.window or (self._done and (now or not self._in_flight)):
            self._outbox.forget(self._done)
            self._done.clear()

    def unsent(self) -> int:
        """How many reports the broker has not taken, or `settle` not settled, yet; any thread may ask."""
        on_the_books = len(self._in_flight) + len(self._refused) + len(self._done)
        return self._outbox.count_in_line(after=self._cursor) + on_the_books

    def silence_s(self) -> float | None:
        """For how long consumers have acknowledged nothing new of what the broker took; any thread may ask.

        Returns:
            Seconds; None where nothing waits for their word.
        """
        since = self._owed_since
        return self._clock() - since if since != _NEVER and self._consumer_lacks() else None

    def _consumer_is_late(self) -> bool:
        if self._by_broker or self._clock() < self._resend_at:
            return False
        if self._consumer_lacks():
            return True
        self._resend_at = self._owed_since = _NEVER
        return False

    def _consumer_lacks(self) -> bool:
        """Whether there is a report that the broker took and no consumer has acknowledged."""
        return any(place <= self._highest_accepted for place, _ in self._outbox.pending(0, 1))

    def _again(self, room: int) -> list[tuple[int, bytes]]:
        rows = [self._outbox.pending(place - 1, 1) for place in sorted(self._refused)[:room]]
        return [row for found in rows for row in found if row[0] in self._refused]
