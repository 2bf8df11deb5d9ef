"""Where a frame lies beside another: phase correlation, and the overlap's own word on it.

The normalised cross-power spectrum of two pictures has a peak at their displacement (Kuglin and Hines, Proc. IEEE
Int. Conf. Cybernetics and Society, 1975). A stage moves by much of a frame, and then the peak may stand for any of
four displacements, since the transform goes round at the borders, and need not be the highest. So the highest
peaks are all tried, and the correlation of what the two frames would share decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.types import Image

WORKING_UM = 0.3
"""Micrometres per pixel to work at: a red cell is 25 pixels wide."""
MAX_SIDE_PIXELS = 384
"""Bound of the working picture's longer side."""
SMOOTH_PIXELS, COARSE_PIXELS = 0.8, 12.0
"""Standard deviations of the blur against noise, and of that whose result, the uneven light, is taken away."""
TAPER = 0.08
"""Share of a side over which the picture fades in and out, lest its borders count as edges; a full Hanning window
would hide the strip that two frames share after a long move."""
FLOOR = 0.02
"""Strength below which a wave counts less than in full: noise, as a share of the mean strength."""
LEAST_CLIP = 0.05
"""Density (natural logarithm) at which a picture is clipped at least; it is clipped at its mean, lest two nuclei that
happen to fall on each other outweigh all else. Sensor noise is far less, red cells are far more."""
PEAKS = 12
"""Peaks that are tried; where frames share only a fifth, the true one is not always among the first six."""
PEAK_PIXELS = 4
"""Half side of the square around a peak in which no other is sought."""
MIN_OVERLAP = 0.15
"""Least share of the frame that two frames must share."""
MIN_CONFIDENCE = 0.75
"""Least correlation of the shared part: frames of BCCD that overlap have 0.91 and more, other pairs up to 0.63."""
BEYOND_DOUBT = 0.9
"""Correlation at which no other displacement need be tried."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame made ready for registration: small, flat, and its spectrum.

    Attributes:
        plane: (height, width) float32 green optical density at working scale, without its slow changes, clipped.
        spectrum: of the faded plane, as ``cv2.dft`` packs it for a complex output.
        scale: pixels of the frame per pixel of the plane, across and down.
    """

    plane: Plane = field(repr=False)
    spectrum: Plane = field(repr=False)
    scale: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Move:
    """Where a frame's upper left corner lies in another frame, in pixels; ``confidence`` is 0 to 1."""

    dx: float
    dy: float
    confidence: float


def view_of(image: Image, um_per_pixel: float) -> View:
    """Make a frame ready; a colour picture (height, width, 3) uint8."""
    height, width = image.shape[:2]
    shrink = max(WORKING_UM / um_per_pixel, max(height, width) / MAX_SIDE_PIXELS, 1.0)
    size = _quick(width / shrink), _quick(height / shrink)
    small = cv2.resize(cv2.extractChannel(image, 1), size, interpolation=cv2.INTER_AREA)
    density = -np.log(np.maximum(small, 1).astype(np.float32))
    fine = cv2.GaussianBlur(density, (0, 0), SMOOTH_PIXELS)
    plane = _clipped(np.asarray(fine - cv2.GaussianBlur(density, (0, 0), COARSE_PIXELS), np.float32))
    spectrum = cv2.dft(plane * _taper(size), flags=cv2.DFT_COMPLEX_OUTPUT)
    return View(plane, np.asarray(spectrum, np.float32), (width / size[0], height / size[1]))


def register(reference: View, view: View, *, peaks: int = PEAKS) -> Move | None:
    """Find where ``view`` lies beside ``reference``; None if nothing shows that they overlap.

    Args:
        reference: the earlier frame.
        view: the later one.
        peaks: how many to try at most.

    Returns:
        Displacement in pixels of the frame: what ``view`` shows at (x, y) stands at (x + dx, y + dy) in the
        reference. Its confidence is the normalised correlation of what both show.
    """
    if reference.plane.shape != view.plane.shape:
        return None
    confidence, dx, dy = _best(reference, view, peaks)
    if confidence < MIN_CONFIDENCE:
        return None
    fx, fy = _finer(reference.plane, view.plane, dx, dy, confidence)
    return Move((dx + fx) * view.scale[0], (dy + fy) * view.scale[1], min(1.0, confidence))


def _best(reference: View, view: View, peaks: int) -> tuple[float, int, int]:
    """The first candidate beyond doubt, else the best."""
    best = 0.0, 0, 0
    for candidate in _candidates(reference, view, peaks):
        best = max(best, candidate)
        if best[0] > BEYOND_DOUBT:
            break
    return best


def _candidates(reference: View, view: View, peaks: int) -> Iterator[tuple[float, int, int]]:
    """(correlation, dx, dy) of every displacement that a peak may stand for, in pixels of the plane."""
    height, width = view.plane.shape
    surface = _surface(reference.spectrum, view.spectrum)
    for x, y in _peaks(surface, peaks):
        for dx, dy in product((x, x - width), (y, y - height)):
            shared = (width - abs(dx)) * (height - abs(dy))
            if shared >= MIN_OVERLAP * width * height:
                yield _correlation(reference.plane, view.plane, dx, dy), dx, dy


def _surface(reference: Plane, view: Plane) -> Plane:
    """The normalised cross-power spectrum, back in space."""
    cross = np.asarray(cv2.mulSpectrums(reference, view, 0, conjB=True), np.float32)
    strength = np.asarray(cv2.magnitude(cross[..., 0], cross[..., 1]), np.float32)
    cross /= (strength + np.float32(FLOOR * float(strength.mean()) + 1e-12))[..., None]
    return np.asarray(cv2.idft(cross, flags=cv2.DFT_REAL_OUTPUT), np.float32)


def _peaks(surface: Plane, count: int) -> Iterator[tuple[int, int]]:
    """(x, y) of the highest peaks, highest first."""
    left, (height, width) = surface.copy(), surface.shape
    for _ in range(count):
        x, y = cv2.minMaxLoc(left)[3]
        yield x, y
        rows = np.arange(y - PEAK_PIXELS, y + PEAK_PIXELS + 1) % height
        columns = np.arange(x - PEAK_PIXELS, x + PEAK_PIXELS + 1) % width
        left[np.ix_(rows, columns)] = -1


def _correlation(reference: Plane, view: Plane, dx: int, dy: int) -> float:
    """Normalised correlation of what both show if the view lies at (dx, dy) in the reference."""
    height, width = view.shape
    a = reference[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    b = view[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    if not a.size:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    power = float(np.vdot(a, a)) * float(np.vdot(b, b))
    return float(np.vdot(a, b)) / float(np.sqrt(power)) if power > 0 else 0.0


def _finer(reference: Plane, view: Plane, dx: int, dy: int, peak: float) -> tuple[float, float]:
    """The top of the parabola through the correlation beside the best whole pixel, for each axis."""

    def top(before: float, after: float) -> float:
        bend = before - 2 * peak + after
        return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0

    return (
        top(_correlation(reference, view, dx - 1, dy), _correlation(reference, view, dx + 1, dy)),
        top(_correlation(reference, view, dx, dy - 1), _correlation(reference, view, dx, dy + 1)),
    )


def _quick(pixels: float) -> int:
    """The largest side up to this, and at least 8, whose transform is quick: a product of 2, 3 and 5."""
    side = max(8, round(pixels))
    while cv2.getOptimalDFTSize(side) != side:
        side -= 1
    return side


def _clipped(plane: Plane) -> Plane:
    limit = max(LEAST_CLIP, float(np.abs(plane).mean()))
    return np.asarray(np.clip(plane, -limit, limit), np.float32)


@lru_cache(maxsize=4)
def _taper(size: tuple[int, int]) -> Plane:
    """Fades a picture's borders in and out by a cosine (Tukey's window)."""
    across, down = (_fade(side) for side in size)
    return np.outer(down, across).astype(np.float32)


def _fade(side: int) -> NDArray[np.float64]:
    depth = np.minimum(np.arange(side) + 0.5, side - 0.5 - np.arange(side)) / (TAPER * side)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(depth, 0, 1)))
