"""Micrometres per pixel from the red cells of frames whose scale nobody knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent import light
from contract.types import Image

RED_CELL_UM = 7.5
"""Diameter of a red cell in a dried smear, in micrometres."""
RED_CELL_SPREAD_UM = 0.3
"""How far the mean diameter of a healthy person's red cells lies from that."""


@dataclass(frozen=True, slots=True)
class RedCells:
    """What one frame shows of red cells: their diameters in pixels of the frame, (N,) float32."""

    diameters: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Micrometres per pixel, as the red cells tell.

    Attributes:
        um_per_pixel: the estimate.
        low: lower bound of its 95 % interval.
        high: upper bound.
        cells: red cells that it rests on.
        frames: frames in which they lie.
    """

    um_per_pixel: float
    low: float
    high: float
    cells: int
    frames: int


def look(image: Image) -> RedCells:
    """Measure the red cells of one frame, of any scale."""
    lit = light.measure(image, 1.0, working_um=1.0)
    green = np.clip(lit.density()[..., 1] * 200, 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(green, 0, 1, cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return RedCells(
        np.array([d for outline in outlines if (d := _diameter(np.asarray(outline, np.int32)))], np.float32)
    )


def _diameter(outline: NDArray[np.int32]) -> float:
    area, length = cv2.contourArea(outline), cv2.arcLength(outline, closed=True)
    if area < 150 or 4 * np.pi * area / length**2 < 0.75:  # noqa: PLR2004 - first version
        return 0.0
    return float(2 * np.sqrt(area / np.pi))


def estimate(looks: Sequence[RedCells]) -> ScaleEstimate | None:
    """Combine what several frames show; None if nothing can be said."""
    seen = [one.diameters for one in looks if one.diameters.size]
    cells = sum(map(len, seen))
    if cells < 10:  # noqa: PLR2004 - first version
        return None
    diameter = float(np.median(np.concatenate(seen)))
    low, high = (RED_CELL_UM + side * 2 * RED_CELL_SPREAD_UM for side in (-1, 1))
    return ScaleEstimate(RED_CELL_UM / diameter, low / diameter, high / diameter, cells, len(seen))
