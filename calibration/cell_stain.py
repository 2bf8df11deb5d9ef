"""How a cell is stained, from its picture alone: which dye prevails, and how much of it there is."""

import numpy as np
from numpy.typing import NDArray

from contract.types import Crops, Image

Stains = NDArray[np.float64]
"""(N, 2): hue in degrees and strength in optical density."""
DENSITY = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)
"""Optical density by grey level; a white of 255 lets all light through."""


def stains(crops: Crops) -> Stains:
    """Hue and strength of the stain of each crop, over its stained half: the pixels darker than its mean in green.

    Azure, which colours nuclei, takes red light away; eosin takes green. Hue is the angle between what both take: 0
    degrees is pure eosin. Strength is the length of that vector, the law of Lambert and Beer making it proportional to
    the amount of dye.

    Args:
        crops: (N, height, width, 3) uint8, blue-green-red.
    """
    return np.array([_stain(crop) for crop in crops], np.float64).reshape(-1, 2)


def _stain(crop: Image) -> tuple[float, float]:
    green, red = DENSITY[crop[..., 1]], DENSITY[crop[..., 2]]
    stained = green >= green.mean()
    eosin, azure = float(green[stained].mean()), float(red[stained].mean())
    return float(np.degrees(np.arctan2(azure, eosin))), float(np.hypot(azure, eosin))
