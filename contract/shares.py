"""A slide's share of blasts: its interval and its text, the same in every program that shows it."""

import math

from contract.messages import Interval, SlideSummary

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


def percent(share: float) -> str:
    """0.125 as `12.5 %`."""
    return f"{100 * share:.1f} %"


def corrected_words(slide: SlideSummary) -> str:
    """The share corrected for the model's error, and whether enough cells were seen; "" where it is not known."""
    interval = slide.corrected_interval
    if slide.corrected_fraction is None or interval is None:
        return ""
    between = f"{100 * interval.level:.0f} % interval {percent(interval.low)} to {percent(interval.high)}"
    enough = f"; enough cells seen: {slide.enough_cells}" if slide.enough_cells else ""
    return f"corrected for the model's known error {percent(slide.corrected_fraction)} ({between}){enough}"
