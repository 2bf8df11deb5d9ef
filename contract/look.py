"""What images of stained blood look like in numbers: of a training, or of a site.

Statistics are taken over red cells and nuclei apart, so that they do not move with how much of a frame is nucleus; the
levels that tell the two apart are shares of what the image itself has, so that a weaker stain has the same masks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import UsageError
from contract.reference import Colour, Spread, StainProfile, Stains, Triple
from contract.types import Image

Numbers = NDArray[np.float64]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

WORKING_UM = 0.4
"""Micrometres per pixel to measure at, as ``agent.vision.quality``: nuclei are large and red cells many."""
QUICK_SIDES = (3, 5)
"""Of blocks of pixels: for these OpenCV takes the means about all pixels in half the time that it needs for some."""
BAND_ROWS = 64
"""Of a frame at a time: what is made of them stays in the cache."""
BARE_PERCENTILE = 90
"""Brightness (green) that the bare background has: above it lie one tenth of the pixels, in full frames too."""
BARE_LEVELS = 8
"""Grey levels below that percentile which still count as bare background: a camera's noise."""
ENOUGH = 50_000
"""Pixels that tell the background; of larger pictures only some rows are asked."""
NUCLEAR_WEIGHTS = np.array([[-2, 1, 1]], np.float32)
"""Blue, green, red: azure takes red and green, haemoglobin takes blue."""
DARKEST_PERCENTILE = 99.5
"""Of the nuclear picture: one two-hundredth of the frame, less than any nucleus."""
MIN_NUCLEAR = 0.12
"""Half the darkest nuclear density, below which there is no nucleus in the frame; cytoplasm reaches 0.12."""
STAINED_SHARE = 0.4
"""Pixels with this share of the median density of what is stained are stained themselves."""
MIN_STAINED = 0.05
"""Sum of three densities below which nothing is stained; red cells have 0.25 and more."""
REACH_UM = 3.0
"""Distance from a nucleus within which stained pixels are not taken for red cells."""
MAX_TYPICAL = 1.0
"""Sum of three densities of the image's middle pixel, above which it shows no bare field but cells cut out on black."""
MIN_UM2 = 8.0
"""Area of a kind below which an image says nothing of it."""
EXTREMES = (1, 99)
"""Percentiles of angle and strength, as Macenko et al. propose."""
DIGITS = 5


@dataclass(frozen=True, slots=True)
class StainMeasurement:
    """What one image looks like.

    Attributes:
        bare: (3,) blue, green, red of the bare background, 0 to 1.
        focus: as in the reports, in 1/um.
        red_cells: (2, 3) mean and standard deviation of the optical density.
        nuclei: the same.
        stains: (2, 3) unit vectors, red cells' stain first.
        strength: (2,) density of each that one stained pixel in a hundred exceeds.
    """

    bare: Numbers
    focus: float
    red_cells: Numbers
    nuclei: Numbers
    stains: Numbers
    strength: Numbers


def measure_stain(image: Image, um_per_pixel: float) -> StainMeasurement | None:
    """Measure one image; None where it shows no nucleus or no red cells.

    Args:
        image: (height, width, 3) uint8, a frame or a part of it with a white cell amid red ones.
        um_per_pixel: its scale.
    """
    small, shrink = reduced(image, um_per_pixel, working_um=WORKING_UM)
    um, bare = um_per_pixel * shrink, np.array(bare_of(small), np.float64)
    density = np.asarray(cv2.LUT(small, density_table(bare)), np.float32)
    total = np.asarray(cv2.transform(density, np.ones((1, 3), np.float32)), np.float32)
    if np.median(total) > MAX_TYPICAL:
        return None
    nuclei, red = (density[mask] for mask in _kinds(density, total, um))
    if min(len(nuclei), len(red)) * um * um < MIN_UM2:
        return None
    stains, strength = macenko(np.concatenate([nuclei, red]))
    return StainMeasurement(
        bare / 255, sharpness(density[..., 1], um), _moments(red), _moments(nuclei), stains, strength
    )


def stain_profile(measurements: Sequence[StainMeasurement], um_per_pixel: float, on: str) -> StainProfile:
    """What images look like together: medians, which a few odd images do not move.

    Args:
        measurements: of single images.
        um_per_pixel: their scale.
        on: which images these were, in words.

    Raises:
        UsageError: there is no measurement.
    """
    if not measurements:
        raise UsageError(f"{on}: none shows a nucleus amid red cells, so there is no colour to measure; use others")
    stains = _unit(np.median([s.stains for s in measurements], axis=0))
    strength = np.median([s.strength for s in measurements], axis=0).round(DIGITS).tolist()
    return StainProfile(
        images=len(measurements),
        on=on,
        um_per_pixel=um_per_pixel,
        background=_spread([float(s.bare.mean()) for s in measurements]),
        bare=_triple(np.median([s.bare for s in measurements], axis=0)),
        focus=_spread([s.focus for s in measurements]),
        red_cells=_colour(np.array([s.red_cells for s in measurements])),
        nuclei=_colour(np.array([s.nuclei for s in measurements])),
        stains=Stains(red=_triple(stains[0]), blue=_triple(stains[1]), strength=(strength[0], strength[1])),
    )


def macenko(density: NDArray[np.floating]) -> tuple[Numbers, Numbers]:
    """The two stains of some pixels and how strong they are (Macenko et al., ISBI 2009).

    Args:
        density: (N, 3) optical density of stained pixels, N at least 2.

    Returns:
        (2, 3) unit vectors, red cells' stain first, and (2,) the strengths that one pixel in a hundred exceeds.
    """
    pixels = density.astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(pixels.T))
    plane = axes[:, :0:-1]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    first, second = (pixels @ plane).T
    ends = np.percentile(np.arctan2(second, first), EXTREMES)
    stains = _unit((plane @ np.stack([np.cos(ends), np.sin(ends)])).T)
    stains = stains[np.argsort(stains @ NUCLEAR_WEIGHTS[0])]
    return stains, np.percentile(pixels @ np.linalg.pinv(stains), EXTREMES[1], axis=0)


def reduced(image: Image, um_per_pixel: float, *, working_um: float) -> tuple[Image, int]:
    """Average blocks of whole pixels, to about ``working_um`` micrometres per pixel.

    Returns:
        The picture, without incomplete blocks at the right and lower border, and how many times smaller it is.
    """
    shrink = max(1, min(round(working_um / um_per_pixel), *image.shape[:2]))
    height, width = image.shape[0] // shrink, image.shape[1] // shrink
    part = image[: height * shrink, : width * shrink]
    if shrink in QUICK_SIDES:
        return _means(part, shrink), shrink
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8), shrink


def _means(image: Image, side: int) -> Image:
    """Means of whole blocks, out of the means about all pixels; to the bit what ``INTER_AREA`` gives."""
    height, width = image.shape[0] // side, image.shape[1] // side
    small, rows = np.empty((height, width, 3), np.uint8), max(1, BAND_ROWS // side)
    for top in range(0, height, rows):
        means = cv2.blur(image[top * side : (top + rows) * side], (side, side), anchor=(0, 0))
        size = (width, len(means) // side)
        small[top : top + rows] = cv2.resize(means, size, interpolation=cv2.INTER_NEAREST)
    return small


def bare_of(image: Image) -> tuple[int, int, int]:
    """Blue, green and red of the bare background, 0 to 255.

    By histograms: the green's percentile, then the median of each colour among the pixels above it.
    """
    few = image[:: 1 + image[..., 0].size // ENOUGH]
    counts = _counts(few, 1)
    up_to = counts.cumsum(dtype=np.float64)
    level = max(int(np.searchsorted(up_to, up_to[-1] * BARE_PERCENTILE / 100)) - BARE_LEVELS, 0)
    bright = np.asarray(few[..., 1] >= level).view(np.uint8)
    counts[:level] = 0
    blue, red = (_middle(_counts(few, channel, bright)) for channel in (0, 2))
    return blue, _middle(counts), red


def _counts(image: Image, channel: int, mask: NDArray[np.uint8] | None = None) -> Plane:
    return np.asarray(cv2.calcHist([image], [channel], mask, [256], [0, 256]), np.float32).ravel()


def _middle(counts: Plane) -> int:
    """The median of what a histogram counts."""
    total = counts.cumsum(dtype=np.float64)
    return int(np.searchsorted(total, total[-1] / 2))


def density_table(bare: Numbers) -> Plane:
    """Optical density of each grey level beside a bare background (blue, green, red; 0 to 255), (1, 256, 3)."""
    levels = np.arange(256, dtype=np.float64)[:, None] + 1
    return np.asarray(-np.log10(levels / (bare + 1))[None], np.float32)


def sharpness(density: Plane, um_per_pixel: float) -> float:
    """Root mean square of the Laplacian over that of the gradient, in 1/um: what the reports call focus."""
    smooth = cv2.GaussianBlur(density, (3, 3), 0)
    slope = sum(_power(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, scale=0.125)) for dx in (1, 0))
    bend = _power(cv2.Laplacian(smooth, cv2.CV_32F))
    return float(np.sqrt(bend / slope)) / um_per_pixel if slope > 0 else 0.0


def _power(plane: NDArray[np.integer | np.floating]) -> float:
    """Sum of the squares."""
    flat = np.asarray(plane, np.float32).ravel()
    return float(flat @ flat)


def _kinds(density: Plane, total: Plane, um: float) -> tuple[Mask, Mask]:
    """Masks of nuclei and of red cells."""
    nuclear = cv2.transform(density, NUCLEAR_WEIGHTS)
    level = float(np.percentile(nuclear, DARKEST_PERCENTILE)) / 2
    nuclei = ((nuclear > level) & (level > MIN_NUCLEAR)).astype(np.uint8)
    nuclei = np.asarray(cv2.morphologyEx(nuclei, cv2.MORPH_OPEN, _square(1)), np.uint8)
    some = total[total > MIN_STAINED]
    stained = total > max(STAINED_SHARE * float(np.median(some)) if some.size else 0, MIN_STAINED)
    near = cv2.dilate(nuclei, _square(max(1, round(REACH_UM / um))))
    return nuclei > 0, np.asarray(stained & (near == 0))


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _moments(pixels: Plane) -> Numbers:
    return np.stack([pixels.mean(axis=0, dtype=np.float64), pixels.std(axis=0, dtype=np.float64)])


def _unit(rows: Numbers) -> Numbers:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _triple(values: Iterable[float]) -> Triple:
    blue, green, red = (round(float(value), DIGITS) for value in values)
    return blue, green, red


def _spread(values: Sequence[float]) -> Spread:
    low, high = np.percentile(values, (5, 95))
    figures = (round(float(value), DIGITS) for value in (np.mean(values), np.std(values), low, high))
    return Spread(**dict(zip(("mean", "std", "low", "high"), figures, strict=True)))


def _colour(moments: Numbers) -> Colour:
    """From (N, 2, 3): mean and standard deviation of N images."""
    mean, std = np.median(moments, axis=0)
    return Colour(mean=_triple(mean), std=_triple(std), between=_triple(moments[:, 0].std(axis=0)))
