"""Micrometres per pixel from the red cells of frames whose scale nobody knows.

Red cells are the one thing of known size in a smear. Their outlines are sought at five sizes of the frame, each for
one octave of diameters, so that no scale is assumed. The diameter that is most frequent, over all frames, is theirs:
platelets, torn arcs and pale middles scatter, and white cells are known by their nuclei.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import erf, exp, hypot, log, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light
from agent.vision.arcs import LARGEST, SMALLEST, Arc, Mask, arcs
from contract.ranks import median
from contract.types import Image

RED_CELL_UM = 7.2
"""Mean diameter of red cells in a dried smear: C. Price-Jones, Red Blood Cell Diameters, Oxford 1933, gives 7.2 for
healthy adults, 6.7 to 7.7 from person to person. In suspension they are wider (7.8: Evans and Fung, Microvascular
Research 4, 1972), but no smear is one."""
SMEAR_SPREAD = 0.07
"""Standard deviation, as a share, of what is measured of that mean from smear to smear: people, diseases, drying,
focus. 40 patients of DeepAPL scatter by 0.045 around a mean that is 0.055 off; BCCD is 0.055 off the other way."""
ENLARGED = (2.0, 1.0, 0.5, 0.25, 0.125)
"""Sizes at which a frame is looked at: diameters of 14 to 448 of its pixels, 0.51 to 0.016 um per pixel."""
MAX_PIXELS = 3_000_000
"""Of a frame at such a size; of more, the middle is looked at."""
BLUR_PIXELS = 1.0
BRIGHT_LEVEL = 110
"""Least green of the bare background: cameras give 190 and more, pictures of cut-out cells on black 80."""
STAINED_DENSITY = 0.05
"""Density (green) above which a pixel may be red cell; the palest have 0.08, a camera's noise 0.01."""
NUCLEAR_DENSITY = 0.3
"""Red + green - 2 * blue above which a pixel is nucleus whatever the red cells are like."""
OUTLINE_SHARE = 0.4
"""Share of the red cells' usual density at which their outline is taken."""
NUCLEAR_SHARE, STAINED_SHARE = 0.1, 0.4
"""A red cell has at most so much nucleus in it, and at least so much stain: pale middles have none."""
SAME_CELL = 0.35
"""Two circles whose centres are nearer than this share of a diameter are one cell."""
MIN_PIXELS = 24
"""Least side of a frame that is looked at."""

STEP = 0.005
"""Of the natural logarithm of diameters, at which they are counted."""
GRID = np.arange(log(10.0), log(600.0), STEP)
KERNEL = 0.1
"""Standard deviation of the kernel: that of the red cells' diameters in a smear (6 to 8 %) and of the fit."""
NEAR = 0.2
"""Diameters so near the most frequent one (logarithm) are red cells."""
RESAMPLES = 200
MIN_CELLS, MIN_CELLS_A_FRAME, MIN_SHARE = 6, 0.75, 0.35
"""What is needed to say anything: red cells, per frame too, and their share of all round things."""
RIVAL = 0.6
"""Round things of one other size that forbid to say anything, as a share of the red cells: two microscopes."""
MAX_ERROR = 0.12
"""Standard deviation (logarithm) of an estimate that is still said."""
TOLERANCE = 0.1
"""What `sure` is about: the chance that the estimate is off by no more than this share."""
WORDS = ((0.8, "sure"), (0.65, "fairly sure"), (0.0, "unsure"))
"""Above 0.83 it can not rise, for people differ."""
MANY_FRAMES = 10
"""From so many on, frames are drawn again to see how the estimate wavers; of fewer, single cells."""

Plane = NDArray[np.float32]
Lengths = NDArray[np.float32]
Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RedCells:
    """What one frame shows of red cells.

    Attributes:
        diameters: (N,) float32 in pixels of the frame.
        angles: (N,) float32, how much of each outline was seen, in radians.
        places: (N, 2) float32, (x, y) of each centre in pixels of the frame.
    """

    diameters: NDArray[np.float32]
    angles: NDArray[np.float32]
    places: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Micrometres per pixel, as the red cells tell.

    Attributes:
        um_per_pixel: the estimate.
        low: lower bound of its 95 % interval.
        high: upper bound.
        sure: chance that it is off by at most ``TOLERANCE``.
        cells: red cells that it rests on.
        frames: frames in which they lie.
        looked: frames that were looked at.
    """

    um_per_pixel: float
    low: float
    high: float
    sure: float
    cells: int
    frames: int
    looked: int

    @property
    def word(self) -> str:
        """How sure, in words."""
        return next(word for least, word in WORDS if self.sure >= least)

    def agrees(self, um_per_pixel: float) -> bool:
        """Whether a scale that somebody gave lies within the interval."""
        return self.low <= um_per_pixel <= self.high


def find_red_cells(image: Image, near_um: float | None = None) -> RedCells:
    """Measure the red cells of one frame.

    Args:
        image: (height, width, 3) uint8.
        near_um: micrometres per pixel that somebody believes in: looks only where the red cells would then be, and
            an octave to either side, which is several times as fast.
    """
    if min(image.shape[:2]) < MIN_PIXELS:
        return _cells([])
    lit = light.measure(image, 1.0, working_um=1.0)
    if lit.bare[1] < BRIGHT_LEVEL:
        return _cells([])
    density = np.asarray(cv2.GaussianBlur(lit.density(), (0, 0), BLUR_PIXELS), np.float32)
    green = np.ascontiguousarray(density[..., 1])
    nuclear = np.asarray(cv2.transform(density, np.array([[-2, 1, 1]], np.float32)), np.float32)
    red = green[(green > STAINED_DENSITY) & (nuclear < NUCLEAR_DENSITY)]
    if not red.size:
        return _cells([])
    level = float(median(red)) * OUTLINE_SHARE
    found = [arc for size in _sizes(near_um) for arc in _red_at(size, green, nuclear, level=level)]
    return _cells(distinct(found))


def _sizes(near_um: float | None) -> tuple[float, ...]:
    if near_um is None:
        return ENLARGED
    usual = RED_CELL_UM / near_um
    return tuple(size for size in ENLARGED if SMALLEST / 2 <= usual * size < 2 * LARGEST)


def _red_at(size: float, green: Plane, nuclear: Plane, *, level: float) -> Iterator[Arc]:
    """The red cells whose diameters suit one size of the frame, in pixels of the frame."""
    window = _middle(green.shape, size)
    stained = (_resized(green[window], size) > level).astype(np.uint8)
    nuclei = (_resized(nuclear[window], size) > NUCLEAR_DENSITY).astype(np.uint8)
    top, left = window[0].start, window[1].start
    for arc in arcs(stained):
        if _share(nuclei, arc) <= NUCLEAR_SHARE and _share(stained, arc) >= STAINED_SHARE:
            x, y = (arc.x + 0.5) / size - 0.5 + left, (arc.y + 0.5) / size - 0.5 + top
            yield Arc(x, y, arc.diameter / size, arc.angle)


def _middle(shape: tuple[int, ...], size: float) -> tuple[slice, slice]:
    """What is looked at of a frame: all of it, or its middle."""
    keep = min(1.0, sqrt(MAX_PIXELS / (shape[0] * shape[1])) / size)
    margins = [int(side * (1 - keep) / 2) for side in shape[:2]]
    return slice(margins[0], shape[0] - margins[0]), slice(margins[1], shape[1] - margins[1])


def _resized(plane: Plane, size: float) -> Plane:
    if size == 1:
        return plane
    how = cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, None, fx=size, fy=size, interpolation=how), np.float32)


def _share(mask: Mask, arc: Arc) -> float:
    """Share of the inner disc of a circle (nine tenths of its radius) that a mask covers, within the frame."""
    radius = 0.45 * arc.diameter
    (y0, y1), (x0, x1) = (
        (max(0, int(at - radius)), min(side, int(at + radius) + 2))
        for at, side in zip((arc.y, arc.x), mask.shape, strict=True)
    )
    y, x = np.ogrid[y0:y1, x0:x1]
    disc = (x - arc.x) ** 2 + (y - arc.y) ** 2 < radius**2
    inside = mask[y0:y1, x0:x1][disc]
    return float(inside.mean()) if inside.size else 1.0


def distinct(found: Sequence[Arc]) -> list[Arc]:
    """Of circles in one place the one of which most is seen."""
    x, y, diameter, angle = np.array([(a.x, a.y, a.diameter, a.angle) for a in found]).reshape(-1, 4).T
    across = np.argsort(x)
    reach = SAME_CELL * diameter.max(initial=0)
    first, last = np.searchsorted(x[across], x - reach - 1e-6), np.searchsorted(x[across], x + reach + 1e-6)
    free = np.ones(len(x), bool)
    kept = []
    for one in np.argsort(-angle, kind="stable"):
        if free[one]:
            kept.append(found[one])
            near = across[first[one] : last[one]]
            apart = np.hypot(x[near] - x[one], y[near] - y[one])
            free[near] &= apart > SAME_CELL * np.maximum(diameter[near], diameter[one])
    return kept


def _cells(found: Sequence[Arc]) -> RedCells:
    table = np.array([(a.diameter, a.angle, a.x, a.y) for a in found], np.float32).reshape(-1, 4)
    return RedCells(table[:, 0], table[:, 1], table[:, 2:])


def estimate(looks: Sequence[RedCells]) -> ScaleEstimate | None:
    """Combine what the frames of one microscope show; None if nothing can be said.

    The interval holds the spread from frame to frame (bootstrap; B. Efron, Annals of Statistics 7, 1979) and that of
    people and smears.
    """
    seen = [one for one in looks if len(one.diameters)]
    if not seen:
        return None
    marks = _marks(seen)
    usual = float(_most_frequent(_smoothed(_counted(marks.places, marks.weights, len(GRID)))))
    sizes = [np.log(one.diameters) for one in seen]
    near = [np.abs(size - usual) < NEAR for size in sizes]
    cells, frames = sum(int(n.sum()) for n in near), sum(bool(n.any()) for n in near)
    if cells < max(MIN_CELLS, MIN_CELLS_A_FRAME * len(looks)) or _mixed(np.concatenate(sizes), usual, cells):
        return None
    spread = hypot(_wavering(marks), SMEAR_SPREAD)
    if spread > MAX_ERROR:
        return None
    um = RED_CELL_UM / exp(usual)
    low, high = um * exp(-1.96 * spread), um * exp(1.96 * spread)
    return ScaleEstimate(um, low, high, erf(log(1 + TOLERANCE) / (spread * sqrt(2))), cells, frames, len(looks))


def _mixed(sizes: Lengths, usual: float, cells: int) -> bool:
    """Whether the rest of the round things are too many, or nearly as many are alike in another size."""
    if cells < MIN_SHARE * len(sizes):
        return True
    rest = np.sort(sizes[np.abs(sizes - usual) >= NEAR])
    alike = np.searchsorted(rest, rest + 2 * NEAR) - np.arange(len(rest))
    return bool(len(rest) and alike.max() >= RIVAL * cells)


@dataclass(frozen=True, slots=True)
class _Marks:
    """Diameters on a grid of logarithms, each by the area seen of it.

    Attributes:
        places: (N,) on the grid.
        weights: (N,).
        owners: (N,) number of the frame, or of the cell itself, which is drawn again.
    """

    places: NDArray[np.intp]
    weights: Counts
    owners: NDArray[np.intp]


def _marks(seen: Sequence[RedCells]) -> _Marks:
    diameters, angles = (
        np.concatenate(all_of) for all_of in zip(*((s.diameters, s.angles) for s in seen), strict=True)
    )
    sizes = [len(one.diameters) for one in seen]
    owners = np.repeat(np.arange(len(seen)), sizes) if len(seen) >= MANY_FRAMES else np.arange(len(diameters))
    places = np.searchsorted(GRID, np.log(diameters), side="right") - 1
    return _Marks(np.clip(places, 0, len(GRID) - 1), angles * diameters.astype(np.float64) ** 2, owners)


def _counted(places: NDArray[np.intp], weights: Counts, length: int) -> Counts:
    return np.asarray(np.bincount(places, weights, minlength=length), np.float64)


def _smoothed(counts: Counts) -> Counts:
    """By a Gaussian."""
    half = round(4 * KERNEL / STEP)
    reach = STEP * np.arange(-half, half + 1)
    return np.convolve(counts, np.exp(-0.5 * (reach / KERNEL) ** 2), mode="same")


def _most_frequent(smooth: Counts) -> Counts:
    """Logarithm of the most frequent diameter, (...) from smoothed counts (..., len(GRID))."""
    return np.asarray(float(GRID[0]) + (np.argmax(smooth, axis=-1) + 0.5) * STEP, np.float64)


def _wavering(marks: _Marks) -> float:
    """Standard deviation of the estimate if other frames, or cells, had come."""
    rng = np.random.default_rng(1)
    number = int(marks.owners.max()) + 1
    drawn = rng.multinomial(number, np.full(number, 1 / number), RESAMPLES)
    places = marks.owners * len(GRID) + marks.places
    own = _counted(places, marks.weights, number * len(GRID)).reshape(number, len(GRID))
    return float(np.std(_most_frequent(drawn.astype(np.float64) @ np.stack([_smoothed(counts) for counts in own]))))
