"""Round things in a mask, by the convex arcs of its outlines: they may touch, overlap, or be cut by the border.

An outline is walked with the thing to its left. Where two round things meet it turns the other way, and so it
does all around a hole within one; what lies between two such places is an arc of one circle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST, LARGEST = 28.0, 56.0
"""Diameters in pixels that are measured: one octave, so that smoothing is the same share of all of them."""
SMOOTH_PIXELS = 1.5
"""Standard deviation of the smoothing along an outline."""
REACH_PIXELS = 3
"""Points to either side between which a direction is measured."""
HOLLOW = 0.02
"""Turn the other way (radians per pixel) that ends an arc; a circle of 50 pixels turns 0.04."""
LEAST_ARC = 2.6
"""Angle (radians) that an arc must have: the fitted diameter of shorter ones wavers."""
ROUGHLY = 2.0
"""Factor within which the diameter is told by how far an arc turns over its length, before a circle is fitted."""
LEAST_EXTENT = 0.8
"""How wide or high an outline is at least, in diameters of the smallest thing: half a circle is as wide as a whole."""
ROUNDNESS = 0.06
"""How far an arc's points may lie from the circle, as a share of its radius (root mean square)."""
DENTS = 0.05
"""Share of a whole outline that may turn the other way, for cells are not drawn with a compass."""
LONGEST_AXIS = 1.6
"""Longest axis of a whole outline, in shortest ones."""
FILL = 0.07
"""Share by which the area of a whole outline may differ from that of its ellipse."""
SOFT = np.exp(-0.5 * (np.arange(-5, 6) / SMOOTH_PIXELS) ** 2)
SOFT /= SOFT.sum()
BORDER_PIXELS = 2
"""Points so near the mask's border belong to the border."""
WHOLE = float(2 * np.pi)

Mask = NDArray[np.uint8]
Path = NDArray[np.complex128]
"""Points x + iy, one pixel apart along a closed outline."""


@dataclass(frozen=True, slots=True)
class Arc:
    """A circle, and how much of it was seen.

    Attributes:
        x: its centre.
        y: its centre.
        diameter: of the circle that has the area, in pixels.
        angle: how much of it was seen, in radians; ``WHOLE`` for a closed outline.
    """

    x: float
    y: float
    diameter: float
    angle: float


def arcs(mask: Mask) -> Iterator[Arc]:
    """The arcs of a mask (0 or 1) whose diameters lie within ``SMALLEST`` to ``LARGEST``."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if max(cv2.boundingRect(outline)[2:]) > LEAST_EXTENT * SMALLEST:
            path = _even(outline[:, 0, 0] + 1j * outline[:, 0, 1])
            yield from (arc for arc in _arcs_of(path, mask.shape) if SMALLEST <= arc.diameter < LARGEST)


def _even(corners: Path) -> Path:
    """The outline smoothed, in even steps."""
    closed = np.append(corners, corners[0])
    along = np.append(0, np.cumsum(np.abs(np.diff(closed))))
    count = int(along[-1])
    even = np.interp(np.arange(count) * along[-1] / count, along, closed)
    return np.asarray(np.convolve(_ring(even, len(SOFT) // 2), SOFT, mode="valid"), np.complex128)


def _ring(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """The values of a closed outline with so many repeated at either end, so that a window runs over the seam."""
    return np.concatenate([values[-reach:], values, values[:reach]])


def _arcs_of(path: Path, shape: tuple[int, ...]) -> Iterator[Arc]:
    turn = _turn(path)
    cut = _cut(path, shape)
    if not cut.any() and turn.sum() > 0 and np.mean(turn < -HOLLOW) < DENTS:
        yield from _whole(path)
        return
    for run in _runs((turn > -HOLLOW) & ~cut, SMALLEST * LEAST_ARC / 2):
        turned = float(turn[run].sum())
        if turned / 0.8 >= LEAST_ARC and SMALLEST / ROUGHLY < 2 * len(run) / turned < LARGEST * ROUGHLY:
            yield from _part(path[run])


def _turn(path: Path) -> NDArray[np.float64]:
    """Turn to the convex side, in radians per pixel."""
    ring = _ring(path, 2 * REACH_PIXELS)
    direction = ring[2 * REACH_PIXELS :] - ring[: -2 * REACH_PIXELS]
    after, before = direction[2 * REACH_PIXELS :], direction[: -2 * REACH_PIXELS]
    return np.asarray(-np.angle(after * before.conj()) / (2 * REACH_PIXELS), np.float64)


def _cut(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which points lie at the border of the mask, or so near to one that does that their turn is not known."""
    x, y = path.real, path.imag
    margin = np.minimum(np.minimum(x, y), np.minimum(shape[1] - 1 - x, shape[0] - 1 - y))
    at = margin < BORDER_PIXELS
    if not at.any():
        return at
    window = np.ones(4 * REACH_PIXELS + 1)
    return np.asarray(np.convolve(_ring(at, 2 * REACH_PIXELS), window, mode="valid") > 0, np.bool_)


def _runs(good: NDArray[np.bool_], longer: float) -> list[NDArray[np.intp]]:
    """The unbroken runs of a ring that have more points than ``longer``, as indices."""
    if good.all():
        return [np.arange(len(good))]
    first = int(good.argmin())
    bad = np.flatnonzero(~np.concatenate([good[first:], good[: first + 1]]))
    long = np.flatnonzero(np.diff(bad) > longer + 1)
    return [(np.arange(bad[k] + 1, bad[k + 1]) + first) % len(good) for k in long]


def _whole(path: Path) -> Iterator[Arc]:
    points = np.stack([path.real, path.imag], axis=1).astype(np.float32)
    (x, y), axes, _ = cv2.fitEllipse(points)
    area, ellipse = cv2.contourArea(points), np.pi * axes[0] * axes[1] / 4
    if max(axes) < LONGEST_AXIS * min(axes) and abs(area / ellipse - 1) < FILL:
        yield Arc(x, y, 2 * float(np.sqrt(area / np.pi)) + 1, WHOLE)


def _part(path: Path) -> Iterator[Arc]:
    centre, radius = _circle(path)
    angle = len(path) / radius
    off = float(np.sqrt(np.mean((np.abs(path - centre) - radius) ** 2)))
    if angle >= LEAST_ARC and off < ROUNDNESS * radius:
        yield Arc(centre.real, centre.imag, 2 * radius + 1, min(angle, WHOLE - 0.1))


def _circle(path: Path) -> tuple[complex, float]:
    """Centre and radius of the circle through points (Taubin, IEEE Trans. PAMI 13, 1991, in Chernov's form)."""
    middle = complex(path.mean())
    away = path - middle
    squared = np.abs(away) ** 2
    mean = max(float(squared.mean()), 1e-9)
    scale = 2 * np.sqrt(mean)
    _, _, axes = np.linalg.svd(np.stack([(squared - mean) / scale, away.real, away.imag], axis=1), full_matrices=False)
    bend, x, y = axes[2]
    bend = bend / scale if abs(bend) > 1e-9 else 1e-9  # noqa: PLR2004 - a straight line
    centre = complex(-x, -y) / (2 * bend)
    return centre + middle, float(np.sqrt(abs(centre) ** 2 + mean))
