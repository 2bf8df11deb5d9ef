"""Parts of a slide beside each other at one scale: nothing says how parts that are not connected lie to each other."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIDTH, MOST_HEIGHT = 1000.0, 560.0
"""Of a map in its own units."""
LARGEST_FRAME = 300.0
"""Width of a frame at most: a slide of few frames does not fill the map."""
GAP, LABEL, LEAST = 14.0, 18.0, 34.0
"""Between two parts, above each for its number, and least width of one, in the map's units."""
_HALVINGS = 40


class Extent(NamedTuple):
    """The rectangle in which a part of a slide lies, in its own micrometres."""

    part: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top


class Panel(NamedTuple):
    """A part of a slide on the map: where the corner of its extent is drawn, in the map's units."""

    extent: Extent
    x: float
    y: float
    scale: float

    def at(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Where a place of the part is drawn."""
        return (
            round(self.x + (x_um - self.extent.left) * self.scale, 1),
            round(self.y + (y_um - self.extent.top) * self.scale, 1),
        )


class Sheet(NamedTuple):
    """Every part of a map.

    Attributes:
        panels: by the part's number.
        scale: the map's units for a micrometre.
        height: of all, in the map's units.
    """

    panels: dict[int, Panel]
    scale: float
    height: float


def sheet_of(extents: Sequence[Extent], *, frame_width: float) -> Sheet:
    """Put parts beside each other, as large as they fit.

    Args:
        extents: of the parts, one at least.
        frame_width: micrometres of the widest frame, which is drawn no wider than ``LARGEST_FRAME``.
    """
    high = LARGEST_FRAME / frame_width
    best = _laid(extents, high)
    if best is not None:
        return best
    low = high
    while (best := _laid(extents, low)) is None:
        low /= 4
    high = low * 4
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = _laid(extents, middle)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    return best


def _laid(extents: Sequence[Extent], scale: float) -> Sheet | None:
    """The parts in rows at a scale, the highest first; None if they do not fit."""
    label = LABEL if len(extents) > 1 else 0.0
    panels: dict[int, Panel] = {}
    left, top, row = GAP, GAP, 0.0
    for one in _highest_first(extents):
        width, height = max(one.width * scale, LEAST), one.height * scale + label
        if left + width + GAP > WIDTH and left > GAP:
            left, top, row = GAP, top + row + GAP, 0.0
        if left + width + GAP > WIDTH or top + height + GAP > MOST_HEIGHT:
            return None
        panels[one.part] = Panel(one, left, top + label, scale)
        left, row = left + width + GAP, max(row, height)
    return Sheet(panels, scale, top + row + GAP)


def _highest_first(extents: Iterable[Extent]) -> list[Extent]:
    return sorted(extents, key=lambda one: (-one.height, one.part))
