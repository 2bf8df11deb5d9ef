"""From the samples that a picture's file holds to eight bits of blue, green and red."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.types import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a camera's samples. Most files of 10, 12 or 14 bits store them in 16, the upper ones empty."""
BAND = 256
"""Rows that are converted at a time: a picture of many bits is not held a second time."""
FIELD = 240
"""What is transparent becomes as bright as a slide's empty field, which no camera shows at its limit."""
COLOURS = 3
Samples = NDArray[np.generic]


def colours_from(samples: Samples, *, depth: int = 0, associated: bool = False) -> Image:
    """Turn what a decoder delivers into (height, width, 3) uint8, blue-green-red.

    Samples of more than eight bits are divided by a power of two so that their camera's full scale becomes 255. How
    many bits it has is told by the file, else by the brightest sample. Floats up to 1 have that as their full scale.
    A transparent part is laid on ``FIELD``; an alpha channel that is the same everywhere
    says nothing.

    Args:
        samples: (height, width) grey, or (height, width, 1, 3 or 4), blue-green-red and alpha.
        depth: bits that the file says its samples have; 0: it does not say.
        associated: whether the colours are multiplied by the alpha channel already.

    Raises:
        ValueError: they are no brightness; the text says why.
    """
    planes = samples if samples.ndim == COLOURS else samples[..., None]
    if planes.shape[2] not in {1, COLOURS, COLOURS + 1}:
        raise ValueError(f"it has {planes.shape[2]} samples a pixel; save it as a picture of red, green and blue")
    seen, alpha = planes[..., :COLOURS], planes[..., COLOURS:]
    image = _eight_bits(seen, depth)
    if image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    if alpha.size and alpha.min() != alpha.max():
        _lay_on_field(image, alpha, associated=associated)
    return image


def _eight_bits(seen: Samples, depth: int) -> Image:
    if seen.dtype == np.uint8:
        return np.ascontiguousarray(seen, np.uint8)
    brightest, darkest = float(seen.max()), float(seen.min())
    if not (np.isfinite(brightest) and darkest >= 0 and brightest < 2 ** DEPTHS[-1]):
        raise ValueError(
            f"its samples go from {darkest:g} to {brightest:g}, which is no brightness; save it with 8 or 16 bits"
        )
    image = np.empty(seen.shape, np.uint8)
    if np.issubdtype(seen.dtype, np.floating) and brightest <= 1:
        for rows in _bands(seen):
            image[rows] = np.rint(np.asarray(seen[rows], np.float64) * 255)
        return image
    # 16 is what writers say by rote of whatever is stored in 16 bits.
    told = depth if depth in DEPTHS[:-1] and brightest < 2**depth else 0
    levels = 2 ** ((told or next(bits for bits in DEPTHS if brightest < 2**bits)) - 8)
    for rows in _bands(seen):
        image[rows] = np.asarray(seen[rows], np.uint16) // levels
    return image


def _lay_on_field(image: Image, alpha: Samples, *, associated: bool) -> None:
    full = 1.0 if np.issubdtype(alpha.dtype, np.floating) else float(np.iinfo(alpha.dtype).max)  # type: ignore[type-var]
    for rows in _bands(image):
        share = np.asarray(alpha[rows], np.float32) / np.float32(full)
        own = image[rows] if associated else image[rows] * share
        image[rows] = np.clip(np.rint(own + FIELD * (1 - share)), 0, 255)


def _bands(planes: Samples) -> Iterator[slice]:
    return (slice(top, top + BAND) for top in range(0, len(planes), BAND))
