"""Which cells two models call something else, where both have judged the very same pictures of a slide.

A picture is the same as ``dashboard.recounts`` has it: a file, or one picture of a video, that was read twice, as after
`model/reload` and `source/restart`. Of several readings by one model the latest is taken.
A cell is the same where it has the same box in the same picture: boxes are found before a model is asked. Cells of two
counts are matched in no other way, for each count measures places from a corner of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from collector import queries
from collector.queries import CellRow, FrameRow
from contract.labels import Label
from dashboard.records import SlideKey
from dashboard.recounts import Picture, latest


class Pair(NamedTuple):
    """One cell in one picture, as one model and as another calls it."""

    picture: Picture
    before: CellRow
    after: CellRow

    @property
    def flips(self) -> bool:
        """Whether it is called something else."""
        return self.before.label != self.after.label

    @property
    def change(self) -> float:
        """How far the probability of a blast moved; 0 where one model gave none."""
        if self.before.probability is None or self.after.probability is None:
            return 0.0
        return self.after.probability - self.before.probability


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two models say of the same pictures.

    Attributes:
        before: the one model.
        after: the other.
        pictures: how many pictures both have judged.
        alone: cells in these pictures that only one of the two runs has found at that place.
        pairs: the cells that both have judged.
    """

    before: str
    after: str
    pictures: int
    alone: int
    pairs: tuple[Pair, ...]

    @property
    def table(self) -> Mapping[tuple[Label, Label], int]:
        """How many cells are called what before, and what after."""
        counted = defaultdict[tuple[Label, Label], int](int)
        for pair in self.pairs:
            counted[pair.before.label, pair.after.label] += 1
        return dict(counted)

    @property
    def flips(self) -> tuple[Pair, ...]:
        """The cells that are called something else, the widest move of the probability first."""
        flipped = (pair for pair in self.pairs if pair.flips)
        return tuple(sorted(flipped, key=lambda pair: (-abs(pair.change), pair.before.cell_id)))


Judged = Mapping[Picture, Mapping[tuple[int, int, int, int], CellRow]]
"""The cells of each picture by their boxes."""


def compare(connection: sa.Connection, key: SlideKey, before: str, after: str) -> Comparison:
    """Set what two models say of a slide side by side.

    Args:
        connection: to the collector's store.
        key: the slide.
        before: `id` of the one model.
        after: `id` of the other.
    """
    frames = [row for row in queries.frames(connection, key.slide_id) if (row.site, row.device) == key[:2]]
    cells = defaultdict[tuple[str, int], list[CellRow]](list)
    for row in queries.cells(connection, key.slide_id):
        if (row.site, row.device) == key[:2]:
            cells[row.epoch, row.seq].append(row)
    one, other = (_judged(frames, cells, model) for model in (before, after))
    both = [picture for picture in one if picture in other]
    pairs = [
        Pair(picture, cell, other[picture][box])
        for picture in both
        for box, cell in one[picture].items()
        if box in other[picture]
    ]
    alone = sum(len(one[picture].keys() ^ other[picture].keys()) for picture in both)
    return Comparison(before, after, len(both), alone, tuple(pairs))


def _judged(frames: Sequence[FrameRow], cells: Mapping[tuple[str, int], Sequence[CellRow]], model: str) -> Judged:
    found: dict[Picture, dict[tuple[int, int, int, int], CellRow]] = {}
    judged = (frame for frame in frames if frame.accepted and frame.model_id == model)
    for picture, frame in latest(judged).items():
        here = cells.get((frame.epoch, frame.seq), ())
        found[picture] = {(cell.x, cell.y, cell.width, cell.height): cell for cell in here}
    return found
