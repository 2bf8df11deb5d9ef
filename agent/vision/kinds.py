"""What red cells and nuclei are like in one frame: everything else is held against these two.

The stain's azure, which binds to a nucleus far more than to anything else, takes red and green out of the light in
every laboratory. Red cells are of any colour: haemoglobin, eosin, azure and light have a say in it. So a nucleus is
known by what it has beside *this* frame's red cells, and by how much the red cells themselves differ (R. A. Fisher,
Annals of Eugenics 7, 1936: the direction in which two kinds lie the farthest apart, measured by their own spread).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.masks import Mask, Plane, above, opened, squarely_grown
from contract.ranks import medians, quantile

AZURE = np.array([[-2, 1, 1]], np.float32)
"""Blue, green, red: they sum to zero, so that shade does not count. Nuclei have more of it than red cells, always."""
EXPECTED_NUCLEI = np.array([0.2, 0.84, 0.5])
"""Direction of the density of nuclei where a frame shows none; of eight laboratories' none is 15 degrees off."""
EXPECTED_RED = np.array([0.11, 0.19, 0.10])
"""Density of red cells where a frame shows none: the mean of three laboratories."""
TIMES_RED, LEAST_NUCLEI = 2.2, 0.35
"""Length of the density of nuclei in that of red cells, and at least, where a frame shows none."""
STAINED_DENSITY = 0.12
"""Sum of three densities above which a pixel is not bare; red cells have 0.2 and more."""
FAR, LEAST_APART = 4.5, 0.12
"""Standard deviations of red cells from which a pixel is none, and azure that a nucleus has beside theirs, at least."""
THICKNESS = 0.5
"""Standard deviation of the thickness of red cells, in theirs: over one another they have two of it, folded three."""
SPECK_UM = 0.4
"""Radius of what is no nucleus."""
HUE_FAR, HUE_APART = 3.0, 0.025
"""Standard deviations of red cells, and azure beside their colour at least, from which a large patch is a nucleus where
no pixel is far enough: a pale one, or one of nearly the hue of red cells."""
LARGE_SPECK_UM, LARGE_UM2 = 1.2, 20.0
"""Radius of what does not count in such a patch, and its least area."""
DEVIATION, ROUNDS = 1.48, 3
"""Standard deviation of a normal distribution, by the median distance from its middle; and rounds of the fit."""
HAEMOGLOBIN, SURELY = 0.4, 0.025
"""Density of red cells that no nucleus holds beside its own, in that of one, and what of it is across the colour of
nuclei at least, for uneven light may have less. In 33 of 37 folds and edges of red cells that were called nuclei it is
0.4 to 2, in 1,755 of 1,756 white cells less."""
REACH_UM = 5.0
"""Distance from a nucleus up to which pixels may be its cell's, and are not asked for the colour of red cells."""
RED_CELLS_UM2, NUCLEI_UM2 = 30.0, 5.0
"""Area below which a frame says nothing of its red cells (one has 44 um2) or of its nuclei."""
LONE_CELL_UM2 = 250.0
"""Stained area below which all of it may be one white cell, if nothing in it differs from the rest as nuclei do."""
ENOUGH = 5000
"""Pixels from which a kind is measured."""
ODD_SHARE = 0.1
"""Of the red cells' pixels, those that are least like the others are left out of their spread."""
NOISE, SHADE = 0.015, 0.02
"""Standard deviation of a camera's noise and of what is left of uneven light, which every kind has at least."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Red cells and nuclei of a frame, in optical density (blue, green, red).

    Attributes:
        red: the usual density of red cells.
        nuclei: that of nuclei.
        chromatin: that of the half of their pixels with the most azure: an eosinophil's granules count as nuclei too.
        axis: scores a density: 0 for the usual red cell, 1 for the usual nucleus, once ``offset`` is subtracted.
        offset: the score of the usual red cell along ``axis``.
        red_pixels: (N, 3) densities of red cells, some of them; N is 0 where the frame shows none.
        red_spread: (3, 3) covariance of these, their thickness and the camera's noise in it.
        own_nuclei: whether the nuclei are the frame's own, not what is expected.
    """

    red: Numbers
    nuclei: Numbers
    chromatin: Numbers
    axis: Numbers
    offset: float
    red_pixels: Plane
    red_spread: Numbers
    own_nuclei: bool

    def are_far(self, density: Plane) -> NDArray[np.bool_]:
        """Which of (N, 3) densities lie far from red cells of any thickness."""
        return np.asarray(_far(density[None], self.red, self.red_spread)[0], np.bool_)

    def holds_red_cell(self, density: Numbers) -> bool:
        """Whether a density (3,) is in part that of a red cell; never where a frame shows only one of both kinds."""
        if not self.own_nuclei or not len(self.red_pixels):
            return False
        (red, _), *_ = np.linalg.lstsq(np.column_stack([self.red, self.nuclei]), density, rcond=None)
        along = self.nuclei / np.linalg.norm(self.nuclei)
        across = float(np.linalg.norm(self.red - (self.red @ along) * along))
        return bool(red > HAEMOGLOBIN and red * across > SURELY)


def kinds_of(density: NDArray[np.float32], um: float) -> Kinds:
    """Measure what a frame shows.

    Args:
        density: (height, width, 3) of the frame, or of every so many of its rows and columns.
        um: micrometres per pixel of these.
    """
    total = np.asarray(cv2.transform(density, np.ones((1, 3), np.float32)), np.float32)
    azure = np.asarray(cv2.transform(density, AZURE), np.float32)
    stained = above(total, STAINED_DENSITY)
    where = np.flatnonzero(stained)
    lower = _red(density.reshape(-1, 3).take(where, axis=0), azure.take(where))
    sure = _nuclei(density, azure, lower, um) & stained
    own = cv2.countNonZero(sure) * um * um > NUCLEI_UM2
    if not own:
        sure = _pale_nuclei(density, stained, lower, um) & stained
        own = cv2.countNonZero(sure) * um * um > LARGE_UM2
    red_pixels = _red_pixels(density, stained, sure, um)
    red = _middle(red_pixels) if len(red_pixels) else EXPECTED_RED
    if not own and len(lower) * um * um < LONE_CELL_UM2:
        red, red_pixels = EXPECTED_RED, np.zeros((0, 3), np.float32)
        sure = _nuclei(density, azure, EXPECTED_RED[None].astype(np.float32), um) & stained
        own = cv2.countNonZero(sure) * um * um > NUCLEI_UM2
    nuclei, chromatin = _nuclear(density.reshape(-1, 3).take(np.flatnonzero(sure), axis=0)) if own else _expected(red)
    spread = _spread(red_pixels, red)
    axis: Numbers = np.linalg.solve(spread, nuclei - red).astype(np.float64)
    axis = axis / (axis @ (nuclei - red))
    return Kinds(red, nuclei, chromatin, axis, float(axis @ red), red_pixels, spread, own)


def _red(stained: Plane, azure: Plane) -> Plane:
    """What is stained and has the colour, at any thickness, of the kind that has less azure, of two (Otsu)."""
    if not len(stained):
        return stained
    levels = np.asarray(cv2.convertScaleAbs(np.clip(azure + 0.5, 0, 2), alpha=127), np.uint8).reshape(-1, 1)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    lower = levels[:, 0] <= max(level, int(levels.min()))  # Otsu parts nothing where all are of one level
    along = medians(stained.compress(lower, axis=0))
    along /= np.float32(max(float(np.linalg.norm(along)), 1e-6))
    off = _beside(stained, along)
    usual = off <= max(quantile(off[lower], 1 - ODD_SHARE), 2 * NOISE)
    return np.asarray(stained.compress(usual, axis=0), np.float32)


def _nuclei(density: NDArray[np.float32], azure: Plane, red: Plane, um: float) -> Mask:
    """What has more azure than red cells, and lies far from them by their own spread."""
    if not len(red):
        return np.zeros(azure.shape, np.uint8)
    usual = _middle(red)
    far = _far(density, usual, _spread(red[:: 1 + len(red) // ENOUGH], usual)).view(np.uint8)
    return opened(far & above(azure, float(AZURE[0] @ usual) + LEAST_APART), SPECK_UM / um)


def _pale_nuclei(density: NDArray[np.float32], stained: Mask, red: Plane, um: float) -> Mask:
    """Large patches with more azure than red cells of any thickness: over an area a colour is known more finely."""
    if not len(red):
        return np.zeros(stained.shape, np.uint8)
    along = _middle(red)
    along /= max(float(np.linalg.norm(along)), 1e-6)
    beside = AZURE[0] - (AZURE[0] @ along) * along
    beside /= max(float(np.linalg.norm(beside)), 1e-6)
    azure = np.asarray(cv2.transform(density, beside[None].astype(np.float32)), np.float32)
    where = np.flatnonzero(stained)
    where = where[:: 1 + len(where) // ENOUGH]
    down, right = np.divmod(where, azure.shape[1])
    (usual, by_row, by_column), level = _evened(down, right, azure.ravel()[where])
    y, x = np.ogrid[: azure.shape[0], : azure.shape[1]]
    light = (usual + by_row * y + by_column * x).astype(np.float32)
    return opened(above(azure - light, level), LARGE_SPECK_UM / um)


def _evened(rows: NDArray[np.intp], columns: NDArray[np.intp], azure: Plane) -> tuple[Numbers, float]:
    """The plane through what most pixels have (its height at 0, its slopes), and how much above it none of these is.

    Light is not of one colour all over a frame, and what is above the level has no say in the next round.
    """
    terms = np.column_stack([np.ones(len(rows)), rows, columns])
    usual = np.ones(len(rows), np.bool_)
    for _ in range(ROUNDS):
        plane, *_ = np.linalg.lstsq(terms[usual], azure[usual], rcond=None)
        off = azure - terms @ plane
        level = max(HUE_FAR * DEVIATION * quantile(np.abs(off[usual]), 0.5), HUE_APART)
        usual = off < level
    return np.asarray(plane), level


def _far(density: NDArray[np.float32], usual: Numbers, spread: Numbers) -> NDArray[np.bool_]:
    """By Mahalanobis's distance from red cells."""
    whiten = np.linalg.cholesky(np.linalg.inv(spread)).T
    away = cv2.transform(density, np.column_stack([whiten, -whiten @ usual]).astype(np.float32))
    return np.asarray(np.einsum("ijk,ijk->ij", away, away) > FAR**2)


def _red_pixels(density: NDArray[np.float32], stained: Mask, sure: Mask, um: float) -> Plane:
    near = squarely_grown(sure, REACH_UM / um)
    red = np.flatnonzero(stained & (1 - near))
    if len(red) * um * um <= RED_CELLS_UM2:
        return np.zeros((0, 3), np.float32)
    return np.asarray(density.reshape(-1, 3)[red[:: 1 + len(red) // ENOUGH]], np.float32)


def _middle(pixels: Plane) -> Numbers:
    return medians(pixels).astype(np.float64)


def _nuclear(pixels: Plane) -> tuple[Numbers, Numbers]:
    """All of a nucleus's pixels, and the half of them with the most azure."""
    azure = pixels @ AZURE[0]
    return _middle(pixels), _middle(pixels.compress(azure >= quantile(azure, 0.5), axis=0))


def _expected(red: Numbers) -> tuple[Numbers, Numbers]:
    nuclei = np.asarray(EXPECTED_NUCLEI * max(TIMES_RED * float(np.linalg.norm(red)), LEAST_NUCLEI))
    return nuclei, nuclei


def _beside(pixels: Plane, along: Plane) -> Plane:
    """How far each density lies from the line through 0 in a direction of length 1."""
    blue, green, red = pixels.T
    squares = blue * blue + green * green + red * red - np.square(pixels @ along)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)


def _spread(pixels: Plane, red: Numbers) -> Numbers:
    """(3, 3): covariance of the red cells' pixels, their thickness and the camera's noise in it."""
    least = NOISE**2 * np.eye(3) + SHADE**2 * np.ones((3, 3)) + THICKNESS**2 * np.outer(red, red)
    if not len(pixels):
        return np.asarray(least)
    off = _beside(pixels, (red / np.linalg.norm(red)).astype(np.float32))
    usual = pixels.compress(off <= quantile(off, 1 - ODD_SHARE), axis=0).T - red[:, None]
    return np.asarray(usual @ usual.T / max(1, usual.shape[1]) + least)
