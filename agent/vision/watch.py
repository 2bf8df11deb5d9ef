"""Is the scale that the settings name the one under the objective? Watched by the size of red cells.

A scale belongs to a microscope, not to a frame: what single frames show of red cells is kept and judged together, so
that a frame with few of them is never refused for that. A look costs ten times what the rest of a frame's quality
does, so only the first frames are looked at, then one in ``EVERY``, and more of them where one is at odds with those
before it.
"""

from collections import deque

import cv2
import numpy as np

from agent.vision.scale import RED_CELL_UM, RedCells, ScaleEstimate, estimate, look
from contract.types import Image

EVERY = 32
"""Frames from look to look."""
KEPT = 12
"""Looks that are judged together, and first looks, one for each frame of another place, until the scale is known; an
objective that was changed shows in half of them."""
ODD = 1.4
"""Factor between a look's median diameter and what is known, from which the next frame is looked at too."""
FEWEST = 3
"""Red cells below which a look near the given scale is taken again without belief in it."""
THUMBNAIL, SAME_LEVELS = (32, 24), 3.0
"""Two frames whose thumbnails differ by less, on average, of 255 grey levels, show the same place."""
NEAR_SIDE, FAR_SIDE = 512, 1920
"""Pixels each way, amid the frame, of the two looks: a full frame has more red cells than are needed."""


class ScaleWatch:
    """What the latest frames say of their scale."""

    def __init__(self, every: int = EVERY) -> None:
        self._every = every
        self._given = 0.0
        self._start()

    def _start(self) -> None:
        self._looks: deque[RedCells] = deque(maxlen=KEPT)
        self._frames = 0
        self._found: ScaleEstimate | None = None
        self._odd = False
        self._place: Image | None = None

    def see(self, image: Image, um_per_pixel: float) -> tuple[float, float] | None:
        """Look at a frame, if it is time.

        Args:
            image: (height, width, 3) uint8.
            um_per_pixel: what the settings say.

        Returns:
            How many times as large as they are red cells appear at that scale, from and to (95 %); None while that
            is not known.
        """
        if um_per_pixel != self._given:
            self._given = um_per_pixel
            self._start()
        if (self._found is None and len(self._looks) < KEPT) or self._odd or self._frames % self._every == 0:
            self._add(image, um_per_pixel)
        self._frames += 1
        return (um_per_pixel / self._found.high, um_per_pixel / self._found.low) if self._found else None

    def _add(self, image: Image, um_per_pixel: float) -> None:
        """Look at a frame; what a still stage shows again is no further evidence."""
        place = np.asarray(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        if self._place is not None and cv2.absdiff(place, self._place).mean() < SAME_LEVELS:
            return
        seen = _look(image, um_per_pixel)
        self._place, self._odd = place, self._found is not None and _is_odd(seen, self._found)
        self._looks.append(seen)
        self._found = estimate(self._looks) or self._found


def _is_odd(seen: RedCells, found: ScaleEstimate) -> bool:
    if len(seen.diameters) < FEWEST:
        return False
    factor = float(np.median(seen.diameters)) * found.um_per_pixel / RED_CELL_UM
    return not 1 / ODD < factor < ODD


def _look(image: Image, um_per_pixel: float) -> RedCells:
    seen = look(_amid(image, NEAR_SIDE), um_per_pixel)
    return seen if len(seen.diameters) >= FEWEST else look(_amid(image, FAR_SIDE))


def _amid(image: Image, side: int) -> Image:
    top, left = ((full - min(full, side)) // 2 for full in image.shape[:2])
    return image[top : top + side, left : left + side]
