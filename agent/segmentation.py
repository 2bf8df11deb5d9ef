"""Finding the white cells of a stained blood smear by colour.

Two pictures are made of the optical density, which is how much light the smear takes away at each pixel.

*Nuclear* is red + green - 2 * blue, less what the frame's own red cells have of it: the stain's azure binds
to a nucleus far more than to anything else and takes red and green, haemoglobin takes blue, shade takes all
three alike. *Foreign* is what remains of a pixel's density beside the colour of the frame's own red cells:
near zero in a red cell of any thickness and in the bare background, high in a white cell's nucleus and
cytoplasm alike. A white cell is a patch of foreign that holds enough of a nucleus.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agent import light
from contract.types import Box, Cell, Image

WORKING_UM = 0.2
"""Micrometres per pixel to work at: the lobes of a nucleus (2 um) stay apart, at a small part of the pixels."""
BLUR_PIXELS = 1.0
"""Standard deviation of the blur against noise and colour fringes; twice that still leaves a 2 um lobe."""
NUCLEAR_WEIGHTS = np.array([[-2, 1, 1]], np.float32)
"""Blue, green, red: they sum to zero, so that shade does not count."""
NUCLEAR_DENSITY = 0.15
"""Nuclear picture above which a pixel is nucleus; pale nuclei have 0.25, cytoplasm up to 0.12."""
SURELY_NUCLEAR_DENSITY = 0.3
"""The same before the red cells are known; red cells in dark stains reach 0.25."""
STAINED_DENSITY = 0.12
"""Sum of three densities above which a pixel is not bare; red cells have 0.25 and more."""
CYTOPLASM_REACH_UM = 3.0
"""Distance from a sure nucleus within which pixels are not asked for the colour of red cells."""
RED_CELLS_UM2 = 30.0
"""Stained area below which the frame's own red cells say nothing: less than one of them (44 um2)."""
RED_CELL_DENSITY = (0.45, 0.77, 0.45)
"""Direction (blue, green, red) of the red cells' density where a frame shows none: the mean of two laboratories."""
FOREIGN_PERCENTILE = 90
"""Share of the red cells' pixels that foreign is to leave out; openings take care of the rest."""
FOREIGN_DENSITY = (0.02, 0.035)
"""Bounds of the level above which a pixel is foreign; pale cytoplasm has 0.04, a good camera's noise 0.01."""
NUCLEUS_OPENING_UM, BODY_OPENING_UM, BODY_CLOSING_UM = 0.4, 0.5, 1.0
"""Radii: speckles are smaller than the first two, granules and vacuoles than the last."""
TAIL_UM = 0.7
"""Half the width of a thread that is cut off: stain, fringes of red cells."""
LOBE_GAP_UM = 0.6
"""Radius of the closing that joins chromatin and lobes before the depth of a nucleus is measured."""
NECK = 0.66
"""Two peaks of depth with a pass below this share of the lower one are two cells; lobes in one cell pass higher."""
SEED_DEPTH_UM = 4.0
"""Depth of body and nucleus together that a cell of its own reaches; a small lymphocyte has 3 + 2.5."""
CROWDED_UM2 = 220.0
"""Body above which it is rather several cells: a disc of 17 um."""
CROWDED_WEIGHT = 2
"""How much more the depth of the nucleus counts in such a body."""
MIN_PART_UM2 = 38.0
"""Body below which a part is a lobe, and the whole is one cell."""
DEPTH_STEPS = 30
"""Levels at which a pass is looked for."""
MIN_BODY_UM2 = 25.0
"""What the frame must show of a cell; the largest common platelets have 12, small lymphocytes 45."""
MIN_NUCLEUS_UM2, MIN_NUCLEUS_RADIUS_UM = 5.0, 0.9
"""What it must show of the nucleus; a lobe at the frame's border has that, granules and stain do not."""
MAX_RADIUS_PIXELS = 64
"""Bound of every radius, for absurd scales."""

Plane = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Patch:
    """One white cell at working scale: masks of body and nucleus, and where their corner lies (x, y)."""

    body: Mask
    nucleus: Mask
    corner: tuple[int, int]


def find_cells(image: Image, um_per_pixel: float) -> list[Cell]:
    """Find the white cells in a frame.

    Args:
        image: (height, width, 3) uint8, at least one pixel.
        um_per_pixel: micrometres per pixel, positive.

    Returns:
        Cells from top to bottom, then left to right, by their boxes. A cell that the frame's border cuts has
        the flag ``edge``; it is left out if less than a recognisable part (``MIN_BODY_UM2``) shows.
    """
    lit = light.measure(image, um_per_pixel, working_um=WORKING_UM)
    um = lit.um_per_pixel
    density = np.asarray(cv2.GaussianBlur(lit.density(), (0, 0), BLUR_PIXELS), np.float32)
    nuclear, foreign = _pictures(density, um)
    nuclei = _open(_above(nuclear, NUCLEAR_DENSITY), NUCLEUS_OPENING_UM / um)
    if not nuclei.any():
        return []
    bodies = _tidy(_above(foreign, 0) | nuclei, um)
    cells = [
        _cell(patch, lit, image.shape)
        for whole in _bodies(bodies, nuclei, um)
        for patch in _split(whole, nuclear, um)
        if _is_cell(patch, um)
    ]
    return sorted(cells, key=lambda cell: (cell.box.y, cell.box.x))


def _pictures(density: Plane, um: float) -> tuple[Plane, Plane]:
    """The nuclear picture, and the foreign one less its level."""
    nuclear = np.asarray(cv2.transform(density, NUCLEAR_WEIGHTS), np.float32)
    sure = _open(_above(nuclear, SURELY_NUCLEAR_DENSITY), NUCLEUS_OPENING_UM / um)
    near = cv2.dilate(sure, _square(CYTOPLASM_REACH_UM / um))
    red = (near == 0) & (_sum(density) > STAINED_DENSITY)
    known = np.count_nonzero(red) * um * um > RED_CELLS_UM2
    colour = np.median(density[red], axis=0) if known else np.array(RED_CELL_DENSITY)
    away = np.asarray(cv2.transform(density, _away_from(colour)), np.float32)
    foreign = np.sqrt(_sum(away * away))
    level = np.percentile(foreign[red], FOREIGN_PERCENTILE) if known else FOREIGN_DENSITY[0]
    floor = np.percentile(nuclear[red], FOREIGN_PERCENTILE) if known else 0.0
    return nuclear - np.float32(max(0.0, floor)), foreign - np.float32(np.clip(level, *FOREIGN_DENSITY))


def _away_from(density: NDArray[np.floating]) -> NDArray[np.float32]:
    """The matrix that takes a colour's direction out of a density."""
    direction = density / max(float(np.linalg.norm(density)), 1e-6)
    return (np.eye(3) - np.outer(direction, direction)).astype(np.float32)


def _tidy(bodies: Mask, um: float) -> Mask:
    closed = _close(_open(bodies, BODY_OPENING_UM / um), BODY_CLOSING_UM / um)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.asarray(cv2.drawContours(np.zeros_like(closed), outlines, -1, (1,), cv2.FILLED), np.uint8)
    return _open(filled, TAIL_UM / um)


def _bodies(bodies: Mask, nuclei: Mask, um: float) -> Iterator[Patch]:
    """The connected bodies that can be cells."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bodies, connectivity=4)
    for label, (x, y, width, height, area) in enumerate(stats[1:].tolist(), start=1):
        if area * um * um < MIN_BODY_UM2:
            continue
        where = np.s_[y : y + height, x : x + width]
        body = (labels[where] == label).astype(np.uint8)
        yield Patch(body, body & nuclei[where], (x, y))


def _split(whole: Patch, nuclear: Plane, um: float) -> list[Patch]:
    """Part cells that touch.

    Seeds are sought in the depth of the body plus that of the nucleus within it: a waist and a gap between
    nuclei both tell. Each pixel falls to the nearest seed.
    """
    core = _close(_core(whole, nuclear), LOBE_GAP_UM / um)
    weight = CROWDED_WEIGHT if np.count_nonzero(whole.body) * um * um > CROWDED_UM2 else 1
    depth = (_depth(whole.body) + weight * _depth(core)) * np.float32(um)
    seeds = np.zeros_like(whole.body)
    _seed(depth, core, seeds, level=0.0)
    _, labels = cv2.distanceTransformWithLabels(1 - seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    count = int(labels.max())
    if count < 2:  # noqa: PLR2004 - one cell
        return [whole]
    parts = [(labels == label).astype(np.uint8) for label in range(1, count + 1)]
    if min(np.count_nonzero(whole.body & part) for part in parts) * um * um < MIN_PART_UM2:
        return [whole]
    return [Patch(whole.body & part, whole.nucleus & part, whole.corner) for part in parts]


def _core(whole: Patch, nuclear: Plane) -> Mask:
    """The nucleus without dark cytoplasm, by Otsu's threshold within the body (IEEE Trans. SMC 9, 1979)."""
    (x, y), (height, width) = whole.corner, whole.body.shape
    values = np.clip(nuclear[y : y + height, x : x + width] * 150, 0, 255).astype(np.uint8)
    inside = whole.nucleus > 0
    if not inside.any():
        return whole.nucleus
    level, _ = cv2.threshold(values[whole.body > 0].reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    level = min(level, 0.75 * float(np.median(values[inside])))
    return whole.nucleus & (values > level).astype(np.uint8)


def _seed(depth: Plane, core: Mask, seeds: Mask, *, level: float) -> None:
    """Mark in ``seeds`` one connected patch for each cell in ``depth``, which is connected above ``level``."""
    peak = float(depth.max())
    step = max(peak / DEPTH_STEPS, 0.1)
    for higher in np.arange(level + step, peak * NECK, step):
        summits = _summits(depth, core, float(higher))
        if len(summits) > 1:
            for where, alone in summits:
                _seed(alone, core[where], seeds[where], level=float(higher))
            return
    seeds[depth > level] = 1


def _summits(depth: Plane, core: Mask, level: float) -> list[tuple[tuple[slice, slice], Plane]]:
    """The patches above a level that stand high enough above it and hold some nucleus."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((depth > level).astype(np.uint8), connectivity=8)
    if count < 3:  # noqa: PLR2004 - the rest, and one patch
        return []
    found = []
    for label, (x, y, width, height, _area) in enumerate(stats[1:].tolist(), start=1):
        where = np.s_[y : y + height, x : x + width]
        mine = labels[where] == label
        alone = np.where(mine, depth[where], np.float32(0))
        if alone.max() > max(level / NECK, SEED_DEPTH_UM) and core[where][mine].any():
            found.append((where, alone))
    return found


def _is_cell(patch: Patch, um: float) -> bool:
    nucleus_um2 = np.count_nonzero(patch.nucleus) * um * um
    body_um2 = np.count_nonzero(patch.body) * um * um
    if nucleus_um2 < MIN_NUCLEUS_UM2 or body_um2 < MIN_BODY_UM2:
        return False
    return bool(_depth(patch.nucleus).max() * um >= MIN_NUCLEUS_RADIUS_UM)


def _cell(patch: Patch, lit: light.Light, shape: tuple[int, ...]) -> Cell:
    """Back to pixels of the frame."""
    shrink, (height, width) = lit.shrink, shape[:2]
    outlines, _ = cv2.findContours(patch.body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=patch.corner)
    outline = max(outlines, key=cv2.contourArea)
    x, y, w, h = cv2.boundingRect(outline)
    right, lower = x + w == lit.small.shape[1], y + h == lit.small.shape[0]
    x1, y1 = width if right else (x + w) * shrink, height if lower else (y + h) * shrink
    moments = cv2.moments(patch.nucleus, binaryImage=True)
    centre = [moments[m] / moments["m00"] + c + 0.5 for m, c in zip(("m10", "m01"), patch.corner, strict=True)]
    return Cell(
        box=Box(x * shrink, y * shrink, x1 - x * shrink, y1 - y * shrink),
        centre=(centre[0] * shrink, centre[1] * shrink),
        area_um2=float(np.count_nonzero(patch.body) * lit.um_per_pixel**2),
        outline=((outline.reshape(-1, 2) + 0.5) * shrink).astype(np.int32),
        flags=("edge",) if right or lower or x == 0 or y == 0 else (),
    )


def _sum(density: Plane) -> Plane:
    """Of the three colours; OpenCV is five times as fast at it as NumPy."""
    return np.asarray(cv2.transform(density, np.ones((1, 3), np.float32)), np.float32)


def _above(plane: Plane, level: float) -> Mask:
    return (plane > level).astype(np.uint8)


def _depth(mask: Mask) -> Plane:
    """Distance to the nearest pixel outside, in pixels; beyond the border is outside."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def _open(mask: Mask, radius: float) -> Mask:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(_pixels(radius))), np.uint8)


def _close(mask: Mask, radius: float) -> Mask:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(_pixels(radius))), np.uint8)


def _pixels(radius: float) -> int:
    return min(max(1, round(radius)), MAX_RADIUS_PIXELS)


@lru_cache(maxsize=32)
def _disc(radius: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _square(radius: float) -> Mask:
    side = 2 * _pixels(radius) + 1
    return np.ones((side, side), np.uint8)
