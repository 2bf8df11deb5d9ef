"""The figures of a slide: what the views of a cell say together, and the interval of a share."""

import math

from contract.messages import Interval

CERTAIN = 1e-6
"""Probabilities nearer to 0 or 1 are taken as this near: no view outweighs all others."""
LEVEL, DEVIATE = 0.95, 1.959964
"""Level of the interval, and the deviate of the normal distribution that belongs to it."""


def wilson(hits: int, of: int) -> Interval | None:
    """Wilson's score interval for a share (J. Am. Stat. Assoc. 22, 1927, 209-212); None of nothing.

    It holds near 0 and 1 and for few cells, where the plain normal interval does not.
    """
    if not of:
        return None
    share, z2 = hits / of, DEVIATE**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = DEVIATE / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return Interval(low=round(max(0.0, middle - half), 6), high=round(min(1.0, middle + half), 6), level=LEVEL)


def logit(probability: float) -> float:
    """Logarithm of the odds, bounded by ``CERTAIN``."""
    near = min(max(probability, CERTAIN), 1 - CERTAIN)
    return math.log(near / (1 - near))


def probability_of(log_odds: float) -> float:
    """The probability that has these logarithmic odds."""
    return 1 / (1 + math.exp(-log_odds))
