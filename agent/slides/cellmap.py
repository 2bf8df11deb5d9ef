"""The cells of a slide by their place: which of them a frame shows again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot

from agent.slides.stage import Place
from contract.labels import Label
from contract.types import Prediction

GATE_UM = 4.0
"""Distance of centres within which two whole views show one cell: half the distance of the smallest that touch."""
INSIDE = 0.6
"""Share of the smaller box that must lie in the other, where the frame's border cuts a cell."""
GRID_UM = 20.0
"""Side of the squares in which cells are looked up: more than the largest cell measures."""
MAX_CELLS = 100_000
"""Cells that are remembered; the longest known are forgotten first, and would count again if they came back."""

Rectangle = tuple[float, float, float, float]
"""Left, upper, right, lower edge."""


@dataclass(frozen=True, slots=True)
class CellObservation:
    """One view of a cell; lengths in micrometres.

    ``whole`` is false if the frame's border cuts the cell, and ``probability`` is 0 then; ``judged`` is false if nobody
    can say what it is.
    """

    x: float
    y: float
    box: Rectangle
    whole: bool
    probability: float
    judged: bool = True

    @classmethod
    def of(cls, prediction: Prediction, um_per_pixel: float, place: Place) -> "CellObservation":
        """A prediction, with lengths from the corner of the part of the slide."""
        cell, um = prediction.cell, um_per_pixel
        left, top = place.x + cell.box.x * um, place.y + cell.box.y * um
        return cls(
            place.x + cell.centre[0] * um,
            place.y + cell.centre[1] * um,
            (left, top, left + cell.box.width * um, top + cell.box.height * um),
            prediction.probability is not None,
            prediction.probability or 0.0,
            not prediction.doubts,
        )

    def moved(self, dx: float, dy: float) -> "CellObservation":
        """The same, seen from elsewhere."""
        left, top, right, bottom = self.box
        box = left + dx, top + dy, right + dx, bottom + dy
        return CellObservation(self.x + dx, self.y + dy, box, self.whole, self.probability, self.judged)


@dataclass(slots=True, eq=False)
class TrackedCell:
    """A cell of the slide: numbers and no picture. Place and box are of its latest whole view, if there was one.

    ``views`` counts whole views, ``judged`` those of them that say what the cell is, with ``logits`` their sum.
    """

    number: int
    part: int
    x: float
    y: float
    box: Rectangle
    views: int = 0
    judged: int = 0
    logits: float = 0.0
    standing: Label = "not_judged"


class CellMap:
    """Tracked cells in a grid of squares."""

    def __init__(self, most: int = MAX_CELLS) -> None:
        self._most, self.count = most, 0
        self._squares: dict[tuple[int, int, int], list[TrackedCell]] = {}
        self._known: dict[int, TrackedCell] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, part: int, observations: Sequence[CellObservation]) -> dict[int, TrackedCell]:
        """Which known cell each observation shows, by its index; the nearest pairs first, whole ones before others."""
        pairs = sorted(
            (
                (
                    not (observation.whole and known.views),
                    hypot(observation.x - known.x, observation.y - known.y),
                    index,
                    known,
                )
                for index, observation in enumerate(observations)
                for known in self._near(part, observation.box)
                if _same(observation, known)
            ),
            key=lambda pair: pair[:3],
        )
        found: dict[int, TrackedCell] = {}
        taken: set[int] = set()
        for _, _, index, known in pairs:
            if index not in found and known.number not in taken:
                found[index] = known
                taken.add(known.number)
        return found

    def add(self, part: int, observation: CellObservation) -> TrackedCell:
        """Remember a cell that nobody knows."""
        self.count += 1
        known = TrackedCell(self.count, part, observation.x, observation.y, observation.box)
        self._known[known.number] = known
        self._square(known).append(known)
        if len(self._known) > self._most:
            self.forget(next(iter(self._known.values())))
        return known

    def place(self, known: TrackedCell, observation: CellObservation) -> None:
        """Put a cell where a whole view of it shows it."""
        self._leave(known)
        self._known[known.number] = known  # it may have been forgotten since it was found: the frame is full of cells
        known.x, known.y, known.box = observation.x, observation.y, observation.box
        self._square(known).append(known)

    def fragments(self, known: TrackedCell) -> list[TrackedCell]:
        """Cut views that were taken for cells of their own, and lie in a cell whose whole has now been seen."""
        near = self._near(known.part, known.box)
        return [k for k in near if k is not known and not k.views and _inside(k.box, known.box) >= INSIDE]

    def join(self, part: int, into: int, dx: float, dy: float) -> list[tuple[TrackedCell, TrackedCell]]:
        """Make a part of the slide one with another, (dx, dy) um farther in its measure.

        Returns:
            the cells that both parts knew, each as (the one that stays, the one that is gone).
        """
        moving = [known for known in self._known.values() if known.part == part]
        shown = [CellObservation(k.x, k.y, k.box, k.views > 0, 0.0).moved(dx, dy) for k in moving]
        found = self.find(into, shown)
        for index, known in enumerate(moving):
            self._leave(known)
            known.part, known.x, known.y, known.box = into, shown[index].x, shown[index].y, shown[index].box
            self._square(known).append(known)
        pairs = [(same, moving[index]) for index, same in found.items()]
        for same, gone in pairs:
            self._absorb(same, gone)
        return pairs

    def _absorb(self, known: TrackedCell, gone: TrackedCell) -> None:
        """Give a cell the views of another, which is forgotten."""
        if gone.views and not known.views:
            self._leave(known)
            known.x, known.y, known.box = gone.x, gone.y, gone.box
            self._square(known).append(known)
        known.views += gone.views
        known.judged += gone.judged
        known.logits += gone.logits
        self.forget(gone)

    def since(self, number: int) -> list[TrackedCell]:
        """Cells that were named after this one."""
        return [known for known in self._known.values() if known.number > number]

    def forget(self, known: TrackedCell) -> None:
        """Take a cell off the map."""
        del self._known[known.number]
        self._leave(known)

    def _near(self, part: int, box: Rectangle) -> Iterable[TrackedCell]:
        column, row = _square_of(box)
        for dx, dy in product((-1, 0, 1), repeat=2):
            yield from self._squares.get((part, column + dx, row + dy), ())

    def _square(self, known: TrackedCell) -> list[TrackedCell]:
        return self._squares.setdefault((known.part, *_square_of(known.box)), [])

    def _leave(self, known: TrackedCell) -> None:
        square = self._square(known)
        square[:] = [other for other in square if other is not known]
        if not square:
            del self._squares[(known.part, *_square_of(known.box))]


def _same(observation: CellObservation, known: TrackedCell) -> bool:
    if observation.whole and known.views:
        return hypot(observation.x - known.x, observation.y - known.y) <= GATE_UM
    return _inside(observation.box, known.box) >= INSIDE


def _inside(a: Rectangle, b: Rectangle) -> float:
    """Share of the smaller rectangle that both have."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    least = min(_area(a), _area(b))
    return max(width, 0.0) * max(height, 0.0) / least if least else 0.0


def _area(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _square_of(box: Rectangle) -> tuple[int, int]:
    return int((box[0] + box[2]) / 2 // GRID_UM), int((box[1] + box[3]) / 2 // GRID_UM)
