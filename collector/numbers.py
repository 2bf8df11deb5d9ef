"""Which numbers of a stream are here: spans without holes, in order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice


class Numbers:
    """A set of positive numbers, held as spans; as small as its holes are few."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in spans:
            self.cover(low, high)

    def cover(self, low: int, high: int) -> None:
        """Add the numbers from ``low`` to ``high``; nothing if there are none between."""
        if high < low:
            return
        first = bisect_left(self._highs, low - 1)
        end = bisect_right(self._lows, high + 1)
        if first < end:
            low, high = min(low, self._lows[first]), max(high, self._highs[end - 1])
        self._lows[first:end] = [low]
        self._highs[first:end] = [high]

    def copy(self) -> "Numbers":
        """A set of its own with the same numbers."""
        twin = Numbers()
        twin._lows, twin._highs = self._lows.copy(), self._highs.copy()
        return twin

    def spans(self) -> Iterator[tuple[int, int]]:
        """First and last number of each span, in order."""
        return zip(self._lows, self._highs, strict=True)

    def holes(self) -> Iterator[tuple[int, int]]:
        """First and last of the missing numbers between 1 and the highest, in order."""
        before = 0
        for low, high in self.spans():
            if low > before + 1:
                yield before + 1, low - 1
            before = high

    @property
    def upto(self) -> int:
        """The last number of the span that starts at 1; 0 if 1 is not here."""
        return self._highs[0] if self._lows and self._lows[0] <= 1 else 0

    @property
    def highest(self) -> int:
        """The highest number; 0 if there is none."""
        return self._highs[-1] if self._highs else 0


@dataclass(slots=True)
class Stream:
    """What is known of one outbox.

    Attributes:
        site: where it was last heard.
        numbers: what is stored, and what can not come any more.
        floor: at or below it the agent holds nothing any more, as it says.
    """

    site: str
    numbers: Numbers
    floor: int = 0

    def settle(self) -> None:
        """Wait no more for what the agent holds no more.

        Its word counts once a report as high is here: a number that it has not given yet may still come.
        """
        if self.floor <= self.numbers.highest:
            self.numbers.cover(1, self.floor)


def shown(spans: Iterable[tuple[int, int]], *, most: int = 5) -> str:
    """Spans for people: `17-19, 23`, the first few of them."""
    every = iter(spans)
    words = [str(low) if low == high else f"{low}-{high}" for low, high in islice(every, most)]
    more = sum(1 for _ in every)
    return ", ".join(words) + (f" and {more} more spans" if more else "")
