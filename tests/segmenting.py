"""Cells found and cells that are there, for tests."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.types import Box, Cell, Image

Boxes = Sequence[Box]


def holds(box: Box, point: tuple[float, float]) -> bool:
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


def pairs(cells: Sequence[Cell], truth: Boxes) -> int:
    """The most cells that can be matched to a true box of their own, each by its box's centre."""
    owner: dict[int, int] = {}

    def place(cell: int, tried: set[int]) -> bool:
        for box in range(len(truth)):
            if box in tried or not holds(truth[box], cells[cell].box.centre):
                continue
            tried.add(box)
            if box not in owner or place(owner[box], tried):
                owner[box] = cell
                return True
        return False

    return sum(place(cell, set()) for cell in range(len(cells)))


def shown(image: Image, outlines: Sequence[NDArray[np.int32]]) -> NDArray[np.bool_]:
    """What outlines enclose."""
    blank = np.zeros(image.shape[:2], np.uint8)
    return np.asarray(cv2.drawContours(blank, list(outlines), -1, (1,), cv2.FILLED)) > 0


def overlap(box: Box, truth: Boxes) -> float:
    """Intersection over union with the true box that fits best."""
    return max((_shared(box, other) for other in truth), default=0.0)


def _shared(a: Box, b: Box) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(width, 0) * max(height, 0)
    return both / (a.width * a.height + b.width * b.height - both)
