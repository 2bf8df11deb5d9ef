"""How far a reading is, and in which order its cells are shown."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

from dashboard.records import SlideCell, SlideRecord
from dashboard.reviews.events import UNSURE, Reading, SlideLog
from dashboard.reviews.signing import unreviewed
from dashboard.reviews.standing import Names, standing

Order: TypeAlias = Literal["suspicion", "to_do", "outlier", "seen"]
_ODD = ("unlike_training", "other", "colours_unknown")
"""Flags of a cell that the model doubts, the oddest first."""
_LEAST_SPREAD_UM2 = 1.0
"""Of areas, in square micrometres: of a few equal cells no other is infinitely far."""


class Progress(NamedTuple):
    """How far a reading is.

    Attributes:
        cells: of the slide.
        shown: how many of them were on the reviewer's screen.
        reviewed: how many of them have a verdict of this reading.
        unsure: how many of these verdicts are `unsure`.
        corrected: how many of them differ from what the model said.
        to_review: cells without a verdict; those that no frame shows whole are not waited for.
        uncertain: how many the model is uncertain of.
        uncertain_left: how many of those have no verdict; a signature waits for them.
        gone: verdicts of this reading on cells that are no longer on the slide.
        blasts_left: how many that the model calls blast have no verdict.
    """

    cells: int
    shown: int
    reviewed: int
    unsure: int
    corrected: int
    to_review: int
    uncertain: int
    uncertain_left: int
    gone: int
    blasts_left: int


def progress(record: SlideRecord, log: SlideLog, reading: Reading, shown: Iterable[str]) -> Progress:
    """How far the first or the second reading is.

    Args:
        record: the slide.
        log: what the reader may see of its log.
        reading: which.
        shown: names of the cells that were on the reader's screen, see ``ReviewStore.shown_to``.
    """
    stands, names = standing(record, log), Names(record)
    done = stands.readings[reading]
    here = {cell.object_id for cell in record.cells}
    return Progress(
        cells=len(record.cells),
        shown=len({names.present(name) for name in shown} & here),
        reviewed=len(done),
        unsure=sum(one.kind == "unsure" for one in done.values()),
        corrected=sum(one.kind == "correct" for one in done.values()),
        to_review=sum(cell.label != "not_judged" and cell.object_id not in done for cell in record.cells),
        uncertain=sum(cell.label == UNSURE for cell in record.cells),
        uncertain_left=len(unreviewed(record, stands, reading)),
        gone=sum(one.reading == reading for one in stands.gone),
        blasts_left=sum(cell.label == "blast" and cell.object_id not in done for cell in record.cells),
    )


def ordered(
    cells: Sequence[SlideCell], by: Order, done: Iterable[str] = (), left: Iterable[str] = ()
) -> list[SlideCell]:
    """Cells in the order in which a person looks at them.

    Args:
        cells: of a slide.
        by: `suspicion`: by the probability of a blast, the highest first, then those without one. `to_do`: those
            without a verdict first, of these the uncertain ones first, then by suspicion; before all those that are
            ``left``. `outlier`: those that the
            model doubts first, then kinds that are rare on this slide, then by an unusual size. `seen`: as they were
            first seen.
        done: names of the cells that have a verdict.
        left: names of the cells of which verdicts differ and that nobody has settled.
    """
    if by == "seen":
        return list(cells)
    if by == "outlier":
        return sorted(cells, key=_oddness(cells))
    have = frozenset(done) if by == "to_do" else frozenset[str]()
    open_still = frozenset(left) if by == "to_do" else frozenset[str]()
    first = {True: 0, False: 1}

    def key(cell: SlideCell) -> tuple[int, bool, int, bool, float]:
        unsure = first[cell.label == UNSURE] if by == "to_do" else 0
        before_all = first[cell.object_id in open_still]
        return before_all, cell.object_id in have, unsure, cell.probability is None, -(cell.probability or 0.0)

    return sorted(cells, key=key)


def _oddness(cells: Sequence[SlideCell]) -> Callable[[SlideCell], tuple[int, int, float]]:
    """The key that puts odd cells first: by the oddest flag, how many are of the kind, and how far the area is off."""
    kinds: Mapping[tuple[str, tuple[str, ...]], int] = Counter(map(_kind, cells))
    areas = [cell.area_um2 for cell in cells]
    middle = median(areas) if areas else 0.0
    spread = max(median(abs(area - middle) for area in areas) if areas else 0.0, _LEAST_SPREAD_UM2)

    def key(cell: SlideCell) -> tuple[int, int, float]:
        flag = next((rank for rank, name in enumerate(_ODD) if name in cell.flags), len(_ODD))
        off = abs(cell.area_um2 - middle) / spread if math.isfinite(cell.area_um2) else math.inf
        return flag, kinds[_kind(cell)], -off

    return key


def _kind(cell: SlideCell) -> tuple[str, tuple[str, ...]]:
    return cell.label, tuple(sorted(cell.flags))
