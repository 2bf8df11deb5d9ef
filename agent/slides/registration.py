"""Where a frame lies beside another: phase correlation, and the overlap's own word on it.

The normalised cross-power spectrum of two pictures has a peak at their displacement (Kuglin and Hines, Proc. IEEE
Int. Conf. Cybernetics and Society, 1975). A stage moves by much of a frame, and then the peak may stand for any of
four displacements, since the transform goes round at the borders, and need not be the highest. So the highest
peaks are all tried, and the correlation of what the two frames would share decides.

Which of many places a frame may lie beside is told from the peak's height alone, at half the resolution.
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
SHRINK_SLOW = 2
"""Times as small as the plane is the picture that the slow changes are taken from."""
FLOOR = 0.2
"""Strength below which a wave counts less than in full: noise, as a share of the mean strength."""
LEAST_POWER = 1e-9
"""Variance of density below which there is nothing to see but rounding."""
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
"""Least correlation of the shared part: frames of BCCD that overlap have 0.90 and more, other pairs up to 0.69."""
FEW_ROWS, MIN_ROUGHLY = 4, 0.5
"""Of so many rows one tells at first how like the shared parts are; below this correlation it is left at that."""
BEYOND_DOUBT = 0.9
"""Correlation at which no other displacement need be tried."""
DENSITIES = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1))
"""Optical density (natural logarithm) of each grey level, but for the light's own."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame made ready for registration: small, flat, and its spectrum.

    Attributes:
        plane: (height, width) float32 green optical density at working scale, without its slow changes, clipped.
        spectrum: of the faded plane, every wave of strength 1, as ``cv2.dft`` packs that of a real picture.
        slow: the same of waves of more than four pixels: about half the height and half the width.
        scale: pixels of the frame per pixel of the plane, across and down.
    """

    plane: Plane = field(repr=False)
    spectrum: Plane = field(repr=False)
    slow: Plane = field(repr=False)
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
    density = np.asarray(cv2.LUT(small, DENSITIES), np.float32)
    plane = _clipped(np.asarray(cv2.GaussianBlur(density, (0, 0), SMOOTH_PIXELS) - _slow_changes(density), np.float32))
    spectrum = _whitened(np.asarray(cv2.dft(plane * _taper(size)), np.float32))
    return View(plane, spectrum, _slow_waves(spectrum), (width / size[0], height / size[1]))


def likeness(reference: View, view: View) -> float:
    """How high the peak of a quick phase correlation is: frames that share much come before those that share nothing.

    0 if the frames are of different sizes. It tells places apart, and is no proof: ``register`` is.
    """
    if reference.plane.shape != view.plane.shape:
        return 0.0
    return float(cv2.minMaxLoc(_surface(reference.slow, view.slow))[1])


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
    """(correlation, dx, dy) of each displacement that a peak may stand for, and that a few rows do not rule out."""
    height, width = view.plane.shape
    surface = _surface(reference.spectrum, view.spectrum)
    for x, y in _peaks(surface, peaks):
        for dx, dy in product((x, x - width), (y, y - height)):
            shared = (width - abs(dx)) * (height - abs(dy))
            if shared < MIN_OVERLAP * width * height:
                continue
            if _correlation(reference.plane, view.plane, dx, dy, every=FEW_ROWS) > MIN_ROUGHLY:
                yield _correlation(reference.plane, view.plane, dx, dy), dx, dy


def _surface(reference: Plane, view: Plane) -> Plane:
    """The normalised cross-power spectrum, back in space."""
    return np.asarray(cv2.idft(cv2.mulSpectrums(reference, view, 0, conjB=True)), np.float32)


def _peaks(surface: Plane, count: int) -> Iterator[tuple[int, int]]:
    """(x, y) of the highest peaks, highest first."""
    left = surface.copy()
    for _ in range(count):
        x, y = cv2.minMaxLoc(left)[3]
        yield x, y
        left[max(y - PEAK_PIXELS, 0) : y + PEAK_PIXELS + 1, max(x - PEAK_PIXELS, 0) : x + PEAK_PIXELS + 1] = -1


def _correlation(reference: Plane, view: Plane, dx: int, dy: int, *, every: int = 1) -> float:
    """Normalised correlation of what both show, in every so-many-th row, if the view lies at (dx, dy)."""
    height, width = view.shape
    a = reference[max(dy, 0) : height + min(dy, 0) : every, max(dx, 0) : width + min(dx, 0)]
    b = view[max(-dy, 0) : height + min(-dy, 0) : every, max(-dx, 0) : width + min(-dx, 0)]
    if not a.size:
        return 0.0
    mean_a, mean_b = (cv2.sumElems(part)[0] / a.size for part in (a, b))
    power_a = cv2.norm(a, cv2.NORM_L2SQR) / a.size - mean_a**2
    power_b = cv2.norm(b, cv2.NORM_L2SQR) / b.size - mean_b**2
    if min(power_a, power_b) < LEAST_POWER:
        return 0.0
    apart = cv2.norm(a, b, cv2.NORM_L2SQR) / a.size - (mean_a - mean_b) ** 2
    return float((power_a + power_b - apart) / (2 * (power_a * power_b) ** 0.5))


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


def _slow_changes(density: NDArray[np.float32]) -> Plane:
    """The picture under a wide Gaussian, taken from a small copy of it."""
    height, width = density.shape
    shrunk = max(1, width // SHRINK_SLOW), max(1, height // SHRINK_SLOW)
    small = cv2.resize(density, shrunk, interpolation=cv2.INTER_AREA)
    slow = cv2.GaussianBlur(small, (0, 0), COARSE_PIXELS / SHRINK_SLOW)
    return np.asarray(cv2.resize(slow, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _whitened(spectrum: Plane) -> Plane:
    """Divide every wave by its strength."""
    strength = _strength(spectrum)
    return np.asarray(spectrum / (strength + np.float32(FLOOR * float(strength.mean()) + 1e-12)), np.float32)


def _strength(spectrum: Plane) -> Plane:
    """Of every wave, at both its numbers: ``cv2.dft`` packs the real part and the imaginary one side by side in a row.

    In the outermost columns (one, if their number is odd) the imaginary part is below the real one.
    """
    strength = np.asarray(cv2.sqrt(cv2.mulSpectrums(spectrum, spectrum, 0, conjB=True)), np.float32)
    height, width = (side - 1 + side % 2 for side in strength.shape)
    strength[:, 2:width:2] = strength[:, 1:width:2]
    for column in {0, 0 if strength.shape[1] % 2 else -1}:
        strength[2:height:2, column] = strength[1:height:2, column]
    return strength


def _slow_waves(spectrum: Plane) -> Plane:
    """The quarter of a spectrum around the slowest wave, as the spectrum of a picture of half the size.

    Without the fastest wave across, of which the picture of half the size has only one part.
    """
    height, width = (max(2, side // 4) for side in spectrum.shape)
    slow = np.concatenate([spectrum[:height, : 2 * width], spectrum[-height:, : 2 * width]])
    slow[:, 0] = spectrum[: 2 * height, 0]
    slow[:, -1] = 0
    return slow


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
