"""Is the scale that the settings name the one under the objective? Watched by the size of red cells.

A scale belongs to a microscope, not to a frame: what single frames show of red cells is kept and judged together, so
that a frame with few of them is never refused for that. A look costs ten times what the rest of a frame's quality
does, so only the first frames are looked at, then one in ``EVERY``, and as many as are judged together where one is at
odds with those before it.

Frames of another size come from another setting of the camera, or were made smaller: each size is watched apart. Where
the looks of one size fall into two groups that each agree, two objectives were used by turns: then each frame is looked
at, and judged by the group that it belongs to.
"""

from collections import deque
from collections.abc import Sequence
from math import log
from typing import NamedTuple

import cv2
import numpy as np

from agent.vision.scale import RED_CELL_UM, RedCells, ScaleEstimate, estimate, find_red_cells
from contract.types import Image

EVERY = 32
"""Frames from look to look."""
KEPT = 12
"""Looks that are judged together."""
FIRST = 3 * KEPT
"""Frames of another place that are looked at until so many looks agree; of a smear whose cells lie in heaps, or where
there are few, they may never."""
ODD = 1.25
"""Factor between a look's median diameter and what is known, from which as many new looks are taken as are judged
together. At 1.5 times the scale six looks of ten and more are so far off, at the right one up to three."""
FEWEST = 3
"""Red cells below which a look near the given scale is taken again without belief in it; so few are never at odds."""
SIZES = 8
"""Sizes of frames that are remembered."""
RIVALS = 4
"""Looks that another objective needs on either side of the gap between them."""
APART = 1.5
"""Least factor between two objectives; the looks of one differ by less, even where each group of them agrees."""
THUMBNAIL, SAME_LEVELS = (32, 24), 3.0
"""Two frames whose thumbnails differ by less, on average, of 255 grey levels, show the same place."""
NEAR_SIDE, FAR_SIDE = 512, 1920
"""Pixels each way, amid the frame, of the two looks: a full frame has more red cells than are needed."""


class Apparent(NamedTuple):
    """How many times as large as they are red cells appear at the scale that the settings name.

    Attributes:
        low: lower bound of the 95 % interval, which holds what people differ by.
        usual: the estimate.
        high: upper bound.
        agreed: whether ``KEPT`` looks agree on it; fewer may be off by as much as people differ.
    """

    low: float
    usual: float
    high: float
    agreed: bool


class ScaleWatch:
    """What the latest frames say of their scale, each size of frames apart."""

    def __init__(self, every: int = EVERY) -> None:
        self._every = every
        self._sizes: dict[tuple[int, ...], _OfOneSize] = {}

    def see(self, image: Image, um_per_pixel: float) -> Apparent | None:
        """Look at a frame, if it is time.

        Args:
            image: (height, width, 3) uint8.
            um_per_pixel: what the settings say.

        Returns:
            What all looks at frames of this size say together; None while they say nothing.
        """
        size = image.shape[:2]
        watch = self._sizes.pop(size, None) or _OfOneSize(self._every)
        self._sizes[size] = watch
        if len(self._sizes) > SIZES:
            del self._sizes[next(iter(self._sizes))]
        return watch.see(image, um_per_pixel)


class _OfOneSize:
    """The watch over frames of one size."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._given = 0.0
        self._start()

    def _start(self) -> None:
        self._looks: deque[RedCells] = deque(maxlen=KEPT)
        self._frames = self._taken = 0
        self._found: ScaleEstimate | None = None
        self._rivals: tuple[ScaleEstimate, ...] = ()
        self._due = 0
        self._place: Image | None = None

    def see(self, image: Image, um_per_pixel: float) -> Apparent | None:
        """Look at a frame, if it is time; see ``ScaleWatch.see``."""
        if um_per_pixel != self._given:
            self._given = um_per_pixel
            self._start()
        first = not self._agreed() and self._taken < FIRST
        if first or self._due or self._rivals or self._frames % self._every == 0:
            self._add(image, um_per_pixel)
        self._frames += 1
        if self._rivals:
            return _apparent(self._own(um_per_pixel), um_per_pixel, agreed=True)
        return _apparent(self._found, um_per_pixel, agreed=self._agreed()) if self._found else None

    def _own(self, um_per_pixel: float) -> ScaleEstimate:
        """Which of two objectives the latest look is of; of too few red cells, the one that is farther from right."""
        seen = self._looks[-1]
        if len(seen.diameters) < FEWEST:
            return max(self._rivals, key=lambda rival: abs(log(rival.um_per_pixel / um_per_pixel)))
        own = RED_CELL_UM / float(np.median(seen.diameters))
        return min(self._rivals, key=lambda rival: abs(log(rival.um_per_pixel / own)))

    def _agreed(self) -> bool:
        return self._found is not None and self._found.looked == KEPT

    def _add(self, image: Image, um_per_pixel: float) -> None:
        """Look at a frame; what a still stage shows again is no further evidence."""
        place = np.asarray(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        if self._place is not None and cv2.absdiff(place, self._place).mean() < SAME_LEVELS:
            return
        seen = _look(image, um_per_pixel)
        self._place = place
        self._taken += 1
        if self._due:
            self._due -= 1
        elif self._found and self._agreed() and _is_odd(seen, self._found):
            self._due = KEPT - 1
        self._looks.append(seen)
        self._found = estimate(self._looks) or self._found
        self._rivals = _rivals(self._looks) if len(self._looks) == KEPT else ()


def _apparent(found: ScaleEstimate, um_per_pixel: float, *, agreed: bool) -> Apparent:
    low, usual, high = (um_per_pixel / um for um in (found.high, found.um_per_pixel, found.low))
    return Apparent(low, usual, high, agreed)


def _rivals(looks: Sequence[RedCells]) -> tuple[ScaleEstimate, ...]:
    """Two objectives, if the looks are of two: parted where their sizes are farthest apart, each part must agree."""
    said = sorted(
        (one for one in looks if len(one.diameters) >= FEWEST), key=lambda one: float(np.median(one.diameters))
    )
    if len(said) < 2 * RIVALS:
        return ()
    sizes = np.log([float(np.median(one.diameters)) for one in said])
    at = int(np.argmax(np.diff(sizes)[RIVALS - 1 : len(said) - RIVALS])) + RIVALS
    parts = [found for part in (said[:at], said[at:]) if (found := estimate(part))]
    if len(parts) < 2 or parts[0].um_per_pixel < APART * parts[1].um_per_pixel:  # noqa: PLR2004 - two sides
        return ()
    return tuple(parts)


def _is_odd(seen: RedCells, found: ScaleEstimate) -> bool:
    if len(seen.diameters) < FEWEST:
        return False
    factor = float(np.median(seen.diameters)) * found.um_per_pixel / RED_CELL_UM
    return not 1 / ODD < factor < ODD


def _look(image: Image, um_per_pixel: float) -> RedCells:
    seen = find_red_cells(_centre_crop(image, NEAR_SIDE), um_per_pixel)
    return seen if len(seen.diameters) >= FEWEST else find_red_cells(_centre_crop(image, FAR_SIDE))


def _centre_crop(image: Image, side: int) -> Image:
    top, left = ((full - min(full, side)) // 2 for full in image.shape[:2])
    return image[top : top + side, left : left + side]
