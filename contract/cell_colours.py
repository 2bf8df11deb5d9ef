"""What colours the cells of a laboratory have, all taken together: measured alike for a training and for a site.

Each cell counts once, however large it is: its mean and its mean square of each colour over the pixels within its
outline. Of many cells a trimmed mean is taken, so that a few that are none do not count.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.manifest import CellColours
from contract.pixels import drawn
from contract.types import Image

Numbers = NDArray[np.float64]
TRIMMED = 0.1
"""Share of the cells that is left out at either end of each figure."""
LEVELS = np.arange(256, dtype=np.float64) / 255
POWERS = np.stack([LEVELS, np.square(LEVELS)])
MIN_PIXELS = 30
"""Within an outline; fewer say nothing of a cell's colours."""


def moments_of(image: Image, outline: NDArray[np.int32]) -> Numbers | None:
    """Mean and mean square of each colour within an outline, (2, 3), red-green-blue, 0 to 1.

    None where the outline holds too few pixels of the image.

    Args:
        image: (height, width, 3) uint8, blue-green-red.
        outline: (K, 2) points in pixels of ``image``.
    """
    left, top, width, height = cv2.boundingRect(np.asarray(outline, np.int32))
    right, bottom = min(left + width, image.shape[1]), min(top + height, image.shape[0])
    x, y = max(left, 0), max(top, 0)
    if right <= x or bottom <= y:
        return None
    side = max(right - x, bottom - y)
    mask = drawn(outline, (x, y), side, side)[: bottom - y, : right - x] > 0
    return moments_within(image[y:bottom, x:right], mask)


def moments_within(image: Image, mask: NDArray[np.bool_]) -> Numbers | None:
    """The same, of the pixels of an image where ``mask``, (height, width), is true."""
    count, within = int(np.count_nonzero(mask)), mask.view(np.uint8)
    if count < MIN_PIXELS:
        return None
    found = [cv2.calcHist([image], [plane], within, [256], [0, 256]).ravel() for plane in (2, 1, 0)]
    return POWERS @ np.stack(found, axis=1).astype(np.float64) / count


def colours_of(cells: Sequence[Numbers] | Numbers) -> CellColours:
    """The colours of cells whose moments these are, (N, 2, 3) with N at least 1."""
    rows = np.sort(np.asarray(cells, np.float64), axis=0)
    cut = int(len(rows) * TRIMMED)
    mean, square = rows[cut : len(rows) - cut].mean(axis=0)
    std = np.sqrt(np.maximum(square - np.square(mean), 1e-6))
    return CellColours(mean=_triple(mean), std=_triple(std))


def mean_of(colours: Iterable[CellColours]) -> CellColours:
    """The mean of the colours of several laboratories, at least one."""
    found = list(colours)
    mean, std = (np.mean([getattr(c, name) for c in found], axis=0) for name in ("mean", "std"))
    return CellColours(mean=_triple(mean), std=_triple(std))


def blended(own: CellColours, other: CellColours, share: float) -> CellColours:
    """Colours between two: ``share`` of the first, the rest of the second."""
    mean = share * np.array(own.mean) + (1 - share) * np.array(other.mean)
    std = share * np.array(own.std) + (1 - share) * np.array(other.std)
    return CellColours(mean=_triple(mean), std=_triple(std))


def distance(own: CellColours, goal: CellColours) -> float:
    """How far a laboratory's colours are from others, in standard deviations of the latter: largest of the colours."""
    apart = np.abs(np.array(own.mean) - np.array(goal.mean)) / np.maximum(goal.std, 1e-3)
    wider = np.abs(np.log(np.maximum(own.std, 1e-3) / np.maximum(goal.std, 1e-3)))
    return float(max(apart.max(), wider.max()))


def _triple(values: Numbers) -> tuple[float, float, float]:
    red, green, blue = (round(float(np.clip(v, 0, 1)), 5) for v in values)
    return red, green, blue
