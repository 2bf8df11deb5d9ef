"""What one frame shows by itself: its quality but for the scale, and its cells.

Nothing here remembers another frame, so that frames may be inspected in any order, in any process.
"""

import time
from dataclasses import dataclass
from functools import cache

from agent.vision.limits import QualityLimits
from agent.vision.planes import pictures_of
from agent.vision.quality import assess
from agent.vision.segmentation import find_cells
from contract.messages import Quality
from contract.reference import StainProfile
from contract.types import Cells, Image


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in one frame.

    Attributes:
        quality: whether it can be judged, if its scale is believed.
        cells: its white cells; none where it is refused.
        quality_ms: milliseconds that the quality took.
        segment_ms: milliseconds that the cells took.
    """

    quality: Quality
    cells: Cells
    quality_ms: float
    segment_ms: float


def inspect(image: Image, um_per_pixel: float, limits: QualityLimits, training: StainProfile | None) -> Inspection:
    """Inspect one frame.

    Args:
        image: (height, width, 3) uint8.
        um_per_pixel: micrometres per pixel, positive.
        limits: what it must keep.
        training: what the model's training images looked like, if that is known.
    """
    started = time.perf_counter()
    pictures = cache(lambda: pictures_of(image, um_per_pixel))
    quality = assess(image, um_per_pixel, limits, training=training, pictures=pictures)
    assessed = time.perf_counter()
    cells = find_cells(image, um_per_pixel, pictures()) if quality.accepted else []
    return Inspection(quality, cells, (assessed - started) * 1e3, (time.perf_counter() - assessed) * 1e3)
