"""What the views of one cell say together: one cell, seen in several frames, counts once."""

import math
from bisect import bisect
from collections.abc import Sequence
from statistics import fmean
from typing import Generic, NamedTuple, Protocol, TypeVar, get_args

from contract.labels import Label
from contract.types import Doubt

CERTAIN = 1e-6
"""Probabilities nearer to 0 or 1 are taken as this near: no view outweighs all others."""
DOUBTS = frozenset(get_args(Doubt))
"""Flags of a cell that is `uncertain` whatever its probability."""


class View(Protocol):
    """A cell in one frame: a message's ``CellReport``, or a row of the collector's store."""

    @property
    def label(self) -> Label:
        """What this view is called."""
        ...

    @property
    def probability(self) -> float | None:
        """Of a blast; None where the view is not judged."""
        ...

    @property
    def flags(self) -> Sequence[str]:
        """Of the message ``CellReport``."""
        ...

    @property
    def area_um2(self) -> float:
        """Of the cell as this view shows it, in square micrometres."""
        ...


AnyView = TypeVar("AnyView", bound=View)


class Together(NamedTuple, Generic[AnyView]):
    """One cell by all its views.

    Attributes:
        best: of the whole views that which is most like all of them together; of none, the largest.
        probability: of a blast, by all whole views together; None if there is none.
        label: what that probability is called.
    """

    best: AnyView
    probability: float | None
    label: Label


def logit(probability: float) -> float:
    """Logarithm of the odds, bounded by ``CERTAIN``."""
    near = min(max(probability, CERTAIN), 1 - CERTAIN)
    return math.log(near / (1 - near))


def probability_of(log_odds: float) -> float:
    """The probability that has these logarithmic odds."""
    return 1 / (1 + math.exp(-log_odds))


def in_doubt(view: View) -> bool:
    """Whether a view is left out of what its slide says of the cell."""
    return not DOUBTS.isdisjoint(view.flags)


Said = Sequence[tuple[float, Label]]
"""Probabilities of a slide's views in rising order, each with what the view is called: reports name no thresholds."""


def said_by(views: Sequence[View]) -> Said:
    """The probabilities of views that nothing doubts, in rising order, each with what the view is called."""
    return sorted((v.probability, v.label) for v in views if v.probability is not None and not in_doubt(v))


def together(views: Sequence[AnyView], said: Said) -> Together[AnyView]:
    """One cell by its views, as the slide counts it.

    Args:
        views: of the cell, one at least.
        said: of all views of the slide; see ``said_by``.
    """
    whole = [(view, view.probability) for view in views if view.probability is not None]
    if not whole:
        largest = max(views, key=lambda view: view.area_um2)
        return Together(largest, None, largest.label)
    sure = [(view, probability) for view, probability in whole if not in_doubt(view)]
    most = 2 * len(sure) > len(whole)  # what most views doubt is uncertain
    judged = sure if most else whole
    mean = fmean(logit(probability) for _, probability in judged)
    best, _ = min(judged, key=lambda one: abs(logit(one[1]) - mean))
    probability = probability_of(mean)
    label = "uncertain" if not most else best.label if len(whole) == 1 else _called(probability, said)
    return Together(best, probability, label)


def _called(probability: float, said: Said) -> Label:
    """What a probability is called, by the view with the nearest one."""
    at = bisect(said, probability, key=lambda view: view[0])
    return min(said[max(at - 1, 0) : at + 1], key=lambda view: abs(view[0] - probability))[1]
