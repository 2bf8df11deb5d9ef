"""How two shares differ, and what the chance of the draw leaves open of that."""

import math
from typing import NamedTuple

from contract.shares import LEVEL, wilson


class Difference(NamedTuple):
    """One share less another, -1 to 1.

    Attributes:
        value: the difference.
        low: lower end of its interval.
        high: upper end.
        level: of confidence.
    """

    value: float
    low: float
    high: float
    level: float


def difference(hits: int, of: int, other_hits: int, of_others: int) -> Difference | None:
    """The difference of two shares that were drawn apart from each other; None where one is a share of nothing.

    The interval is Newcombe's, made of Wilson's two (method 10; Statistics in Medicine 17, 1998, 873-890). It holds
    for few cells and near 0 and 1. It takes each cell as drawn by itself.
    """
    here, there = wilson(hits, of), wilson(other_hits, of_others)
    if here is None or there is None:
        return None
    share, other = hits / of, other_hits / of_others
    value = share - other
    below = math.hypot(share - here.low, there.high - other)
    above = math.hypot(here.high - share, other - there.low)
    return Difference(value, max(-1.0, value - below), min(1.0, value + above), LEVEL)
