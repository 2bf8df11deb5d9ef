"""How far two readings of a slide agree, by chance-corrected agreement."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from contract.messages import Interval
from contract.shares import DEVIATE, LEVEL, wilson
from dashboard.records import SlideRecord
from dashboard.reviews.events import BLIND, SlideLog, Verdict
from dashboard.reviews.readings import Readings
from dashboard.reviews.standing import FinalLabel, final_labels, standing

Pairs = Mapping[tuple[str, str], int]
"""How many cells have which label of the first and of the second reader."""


class Kappa(NamedTuple):
    """Cohen's kappa with the ends of its interval, -1 to 1, at a level of confidence."""

    value: float
    low: float
    high: float
    level: float


class Disagreement(NamedTuple):
    """A cell that the readings call differently.

    Attributes:
        object_id: its present name.
        first: the verdict of the first reading.
        second: the verdict of the second.
        final: what it is called in the end.
    """

    object_id: str
    first: Verdict
    second: Verdict
    final: FinalLabel


class Agreement(NamedTuple):
    """How far two signed readings agree.

    Attributes:
        readers: who held the first and the second reading.
        cells: how many cells both have a verdict on.
        agreed: how many of them they call alike; both `unsure` are alike.
        share: that share; None of no cells.
        interval: Wilson's for the share; None of no cells.
        kappa: None where it is not defined.
        pairs: how many cells have which label of the first and of the second reading.
        disagreements: the cells that they call differently, in the record's order.
        only_first: how many cells the first alone has a verdict on.
        only_second: how many the second alone has.
        is_independent: False if a verdict was given after both had signed, when each could see the other's.
    """

    readers: tuple[str, str]
    cells: int
    agreed: int
    share: float | None
    interval: Interval | None
    kappa: Kappa | None
    pairs: Pairs
    disagreements: tuple[Disagreement, ...]
    only_first: int
    only_second: int
    is_independent: bool


def agreement(record: SlideRecord, log: SlideLog) -> Agreement | None:
    """How far the two readings agree; None until both are signed."""
    readings = Readings.of(log.acts)
    if not readings.both_signed:
        return None
    stands, finals = standing(record, log), final_labels(record, log)
    first, second = (stands.readings[reading] for reading in BLIND)
    pairs = Counter((first[name].label, second[name].label) for name in first if name in second)
    cells = sum(pairs.values())
    agreed = sum(count for (one, other), count in pairs.items() if one == other)
    disputed = stands.disputed
    later = (one.id for one in log.verdicts if one.reading in BLIND and one.id > (readings.revealed or 0))
    return Agreement(
        readers=(readings.holders[BLIND[0]], readings.holders[BLIND[1]]),
        cells=cells,
        agreed=agreed,
        share=agreed / cells if cells else None,
        interval=wilson(agreed, cells),
        kappa=cohens_kappa(pairs),
        pairs=pairs,
        disagreements=tuple(
            Disagreement(cell.object_id, *disputed[cell.object_id], finals[cell.object_id])
            for cell in record.cells
            if cell.object_id in disputed
        ),
        only_first=len(first.keys() - second.keys()),
        only_second=len(second.keys() - first.keys()),
        is_independent=next(later, None) is None,
    )


def cohens_kappa(pairs: Pairs) -> Kappa | None:
    """Agreement beyond chance of two readers with its 95 % interval.

    The value: Cohen, Educational and Psychological Measurement 20, 1960, 37-46. The interval: its large-sample
    standard error, Fleiss, Cohen and Everitt, Psychological Bulletin 72, 1969, 323-327, equation 13. The interval is
    for many cells: of few, or of readers who differ in almost none, it is too narrow, and it has no width where they
    differ in none.

    Args:
        pairs: how many cells have which label of the first and of the second reader.

    Returns:
        None where kappa is not defined: of no cells, and where both readers use one and the same label alone.
    """
    cells = sum(pairs.values())
    if not cells:
        return None
    shares = {pair: count / cells for pair, count in pairs.items()}
    first, second = defaultdict[str, float](float), defaultdict[str, float](float)
    for (one, other), share in shares.items():
        first[one] += share
        second[other] += share
    seen = sum(share for (one, other), share in shares.items() if one == other)
    chance = sum(first[label] * second[label] for label in first)
    if math.isclose(chance, 1):
        return None
    value = (seen - chance) / (1 - chance)
    alike = sum(
        share * ((1 - chance) - (first[one] + second[one]) * (1 - seen)) ** 2
        for (one, other), share in shares.items()
        if one == other
    )
    unlike = sum(share * (second[one] + first[other]) ** 2 for (one, other), share in shares.items() if one != other)
    spread = alike + (1 - seen) ** 2 * unlike - (seen * chance - 2 * chance + seen) ** 2
    error = math.sqrt(max(spread, 0.0) / cells) / (1 - chance) ** 2
    return Kappa(value, max(value - DEVIATE * error, -1.0), min(value + DEVIATE * error, 1.0), LEVEL)
