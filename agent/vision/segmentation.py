"""Finding the white cells of a stained blood smear by colour.

Two pictures are made of the optical density, which is how much light the smear takes away at each pixel.

*Nuclear* is red + green - 2 * blue, less what the frame's own red cells have of it: the stain's azure binds
to a nucleus far more than to anything else and takes red and green, haemoglobin takes blue, shade takes all
three alike. *Foreign* is what remains of a pixel's density beside the colour of the frame's own red cells:
near zero in a red cell of any thickness and in the bare background, high in a white cell's nucleus and
cytoplasm alike. A white cell is a patch of foreign that holds enough of a nucleus.

What is found so is then drawn more closely: the body ends where foreign and density fall to a share of the
cell's own cytoplasm, and the nucleus is drawn within it (agent/vision/nucleus.py).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light
from agent.vision.masks import (
    Mask,
    Plane,
    above,
    closed,
    depth,
    distance,
    filled,
    framed,
    opened,
    outlines,
    painted,
    pixels,
    squarely_grown,
)
from agent.vision.nucleus import nucleus_of
from agent.vision.touching import Patch, Where, split
from contract.types import Box, Cell, Image

WORKING_UM = 0.2
"""Micrometres per pixel to work at: the lobes of a nucleus (2 um) stay apart, at a small part of the pixels."""
BLUR_PIXELS = 1.0
"""Standard deviation of the blur against noise and colour fringes; twice that still leaves a 2 um lobe."""
NUCLEAR_WEIGHTS = np.array([[-2, 1, 1]], np.float32)
"""Blue, green, red: they sum to zero, so that shade does not count."""
NUCLEAR_DENSITY = 0.13
"""Nuclear picture above which a pixel is nucleus; pale nuclei have 0.2, cytoplasm up to 0.12."""
SURE_SHARE, SURELY_NUCLEAR_DENSITY = 0.5, (0.2, 0.45)
"""The same before the red cells are known: a share of what stained pixels have in all three colours, and its bounds."""
STAINED_DENSITY = 0.12
"""Sum of three densities above which a pixel is not bare; red cells have 0.25 and more."""
CYTOPLASM_REACH_UM = 5.0
"""Distance from a sure nucleus within which pixels are not asked for the colour of red cells."""
RED_CELLS_UM2 = 30.0
"""Stained area below which the frame's own red cells say nothing: less than one of them (44 um2)."""
RED_CELL_DENSITY = (0.45, 0.77, 0.45)
"""Direction (blue, green, red) of the red cells' density where a frame shows none: the mean of two laboratories."""
SPARSE, SPARSE_PIXELS = 2, 40_000
"""The red cells' colour is sought in every other row and column, and in large frames at about so many places."""
ENOUGH = 5000
"""It is taken from no more than about so many pixels."""
BAND_PIXELS = 30_000
"""Of the frame at a time, so that its planes (36 bytes a pixel) stay in the cache."""
FOREIGN_SHARE = 0.9
"""Share of the red cells' pixels that foreign is to leave out; openings take care of the rest."""
FOREIGN_DENSITY = (0.02, 0.035)
"""Bounds of the level above which a pixel is foreign; pale cytoplasm has 0.04, a good camera's noise 0.01."""
NUCLEUS_OPENING_UM, BODY_OPENING_UM, BODY_CLOSING_UM = 0.4, 0.5, 1.0
"""Radii: speckles are smaller than the first two, granules and vacuoles than the last."""
TAIL_UM, BROAD_TAIL_UM = 0.7, 1.4
"""Half the widths of threads that are cut off: at first, and once the cell's own cytoplasm is known."""
RING_UM = (0.4, 1.5)
"""Distances from the nucleus between which the cytoplasm is measured."""
RING_UM2 = 4.0
"""Area of that ring below which a cell shows no cytoplasm."""
CYTOPLASM_SHARE = 0.4
"""Share of the cytoplasm's foreign and density at which a cell ends: somewhat below half, for they fall outwards."""
RED_CELL_MARGIN, RED_CELL_SHARE = 1.3, 0.7
"""Foreign of red cells that touch: their usual times this, yet at most this share of the cytoplasm's upper quartile."""
MIN_GREEN_DENSITY = 0.04
"""Density of the green below which no pixel belongs to a cell: pale cytoplasm has 0.06."""
GRANULE_UM = 0.5
"""Radius of the closing over granules and vacuoles at a cell's border."""
MIN_BODY_UM2 = 25.0
"""What the frame must show of a cell; the largest common platelets have 12, small lymphocytes 45."""
MAX_BODY_UM2 = 1000.0
"""What no cell of the blood has (36 um across): a clump that was not parted, a fold, or no smear at all. Of 2,200 cells
in four data sets the largest has 524."""
MIN_NUCLEUS_UM2, MIN_NUCLEUS_RADIUS_UM = 5.0, 0.9
"""What it must show of the nucleus; a lobe at the frame's border has that, granules and stain do not."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a frame is searched in, drawn part by part: fresh memory for whole planes costs more than the work.

    Attributes:
        lit: the frame at working scale, and its light.
        smooth: the same without noise.
        axes: rows nuclear, and two at right angles to the red cells' colour, of which the first does not see shade.
        lean: how much of shade the second sees.
        floor: how nuclear the red cells are.
        level: foreign above which a pixel may belong to a white cell.
        red_level: foreign that the frame's red cells reach, unbounded.
    """

    lit: light.Light
    smooth: Image
    axes: NDArray[np.float32]
    lean: float
    floor: float
    level: float
    red_level: float

    @property
    def um(self) -> float:
        """Micrometres per pixel."""
        return self.lit.um_per_pixel

    def density(self, where: Where) -> Plane:
        """Of a part of the smoothed frame, the uneven light left in it."""
        return self.lit.shaded_density(self.smooth[where])

    def planes(self, density: Plane, where: Where) -> tuple[Plane, Plane]:
        """Nuclear and foreign, of the part that has this density."""
        nuclear, across, along = cv2.split(cv2.transform(density, self.axes))
        nuclear -= np.float32(self.floor)
        along = cv2.scaleAdd(self.lit.shade[where], -self.lean, along)
        return np.asarray(nuclear, np.float32), np.asarray(cv2.magnitude(across, along), np.float32)

    def nuclear(self, where: Where) -> Plane:
        """Of a part of the frame."""
        return self.planes(self.density(where), where)[0]


def find_cells(image: Image, um_per_pixel: float) -> list[Cell]:
    """Find the white cells in a frame.

    Args:
        image: (height, width, 3) uint8, at least one pixel.
        um_per_pixel: micrometres per pixel, positive; recall bears an error of a tenth.

    Returns:
        Cells from top to bottom, then left to right, by their boxes. A cell that the frame's border cuts has
        the flag ``edge``; it is left out if less than a recognisable part (``MIN_BODY_UM2``) shows.
    """
    lit = light.measure(image, um_per_pixel, working_um=WORKING_UM)
    seen = _pictures(lit)
    um = seen.um
    nuclei, foreign = _masks(seen)
    nuclei = opened(nuclei, NUCLEUS_OPENING_UM / um)
    if not cv2.countNonZero(nuclei):
        return []
    cells = [
        _cell(patch, nucleus_of(patch, seen.smooth[patch.where], lit.bare, um), lit, image.shape)
        for rough in _patches(Patch(_tidy(foreign | nuclei, um), nuclei, (0, 0)), um)
        for whole in _patches(_trimmed(rough, seen), um)
        for patch in split(whole, seen.nuclear, um)
        if _is_cell(patch, um)
    ]
    return sorted(cells, key=lambda cell: (cell.box.y, cell.box.x))


def _pictures(lit: light.Light) -> Pictures:
    smooth = np.asarray(cv2.GaussianBlur(lit.small, (0, 0), BLUR_PIXELS), np.uint8)
    red = _red_cells(lit, smooth)
    axes, lean = _axes(np.median(red, axis=0) if len(red) else np.array(RED_CELL_DENSITY))
    floor, red_level = _reach(red @ axes.T) if len(red) else (0.0, FOREIGN_DENSITY[0])
    level = float(np.clip(red_level, *FOREIGN_DENSITY))
    return Pictures(lit=lit, smooth=smooth, axes=axes, lean=lean, floor=floor, level=level, red_level=red_level)


def _masks(seen: Pictures) -> tuple[Mask, Mask]:
    """What is nucleus and what is foreign, in bands of some rows."""
    shape = seen.smooth.shape[:2]
    nuclei, foreign = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    rows = max(1, BAND_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        band = np.s_[top : top + rows, :]
        planes = seen.planes(seen.density(band), band)
        nuclei[band], foreign[band] = map(above, planes, (NUCLEAR_DENSITY, seen.level))
    return nuclei, foreign


def _red_cells(lit: light.Light, smooth: Image) -> Plane:
    """(N, 3) densities of pixels that are stained and far from a nucleus; N is 0 if there are too few."""
    step = max(SPARSE, round(math.sqrt(lit.shade.size / SPARSE_PIXELS)))
    um, density, shade = lit.um_per_pixel * step, lit.shaded_density(_sparse(smooth, step)), _sparse(lit.shade, step)
    total = np.asarray(cv2.scaleAdd(shade, -3, cv2.transform(density, np.ones((1, 3), np.float32))), np.float32)
    stained = total > STAINED_DENSITY
    if np.count_nonzero(stained) * um * um <= RED_CELLS_UM2:
        return np.zeros((0, 3), np.float32)
    nuclear = np.asarray(cv2.transform(density, NUCLEAR_WEIGHTS), np.float32)
    usual = _quantiles(total[stained][:: 1 + total.size // ENOUGH], 0.5)[0]
    sure = opened(above(nuclear, np.clip(SURE_SHARE * usual, *SURELY_NUCLEAR_DENSITY)), NUCLEUS_OPENING_UM / um)
    near = squarely_grown(sure, CYTOPLASM_REACH_UM / um)
    red = np.flatnonzero(stained & (near == 0))
    few = red[:: 1 + len(red) // ENOUGH] if len(red) * um * um > RED_CELLS_UM2 else red[:0]
    return np.asarray(density.reshape(-1, 3)[few] - shade.reshape(-1, 1)[few], np.float32)


def _sparse(picture: NDArray[Any], step: int) -> NDArray[Any]:
    """Of every so many rows and columns one; OpenCV takes a quarter of NumPy's time."""
    height, width = (-(-side // step) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)


def _reach(red: Plane) -> tuple[float, float]:
    """How nuclear and how foreign red cells are, by their pixels along the axes."""
    nuclear, foreign = red[:, 0], np.hypot(red[:, 1], red[:, 2])
    return max(0.0, _quantiles(nuclear, FOREIGN_SHARE)[0]), _quantiles(foreign, FOREIGN_SHARE)[0]


def _axes(colour: NDArray[np.floating]) -> tuple[NDArray[np.float32], float]:
    """Directions of density, as rows: nuclear, and two at right angles to a colour and to each other.

    The second does not see shade; how much of it the third sees is returned beside them.
    """
    colour = colour / max(float(np.linalg.norm(colour)), 1e-6)
    across = np.cross(colour, np.ones(3))
    if np.linalg.norm(across) < 1e-3:  # noqa: PLR2004 - the colour is grey, and every direction will do
        across = np.array([1.0, -1.0, 0.0])
    across = across / np.linalg.norm(across)
    along = np.cross(colour, across)
    return np.stack([NUCLEAR_WEIGHTS[0], across, along]).astype(np.float32), float(along.sum())


def _tidy(bodies: Mask, um: float) -> Mask:
    closed_up = closed(opened(bodies, BODY_OPENING_UM / um), BODY_CLOSING_UM / um)
    return opened(filled(closed_up), TAIL_UM / um)


def _patches(found: Patch, um: float) -> Iterator[Patch]:
    """The connected bodies that are large enough and hold some nucleus."""
    for outline in outlines(found.body):
        x, y, width, height = cv2.boundingRect(outline)
        if width * height * um * um < MIN_BODY_UM2:
            continue
        body = painted((height, width), [outline], (-x, -y))
        nucleus = body & found.nucleus[y : y + height, x : x + width]
        if min(cv2.countNonZero(body) / MIN_BODY_UM2, cv2.countNonZero(nucleus) / MIN_NUCLEUS_UM2) * um * um >= 1:
            yield Patch(body, nucleus, (found.corner[0] + x, found.corner[1] + y))


def _trimmed(rough: Patch, seen: Pictures) -> Patch:
    """The same without background, stain and red cells that the frame's own level let in."""
    um, density = seen.um, seen.density(rough.where)
    _, foreign = seen.planes(density, rough.where)
    stain = density[..., 1] - seen.lit.shade[rough.where]
    away = np.where(rough.body, distance(rough.nucleus), 0)
    inner, outer = (pixels(reach / um) for reach in RING_UM)
    ring = (away > inner) & (away <= outer)
    if np.count_nonzero(ring) * um * um < RING_UM2:
        return rough
    middle, upper = _quantiles(foreign[ring], 0.5, 0.75)
    level = max(CYTOPLASM_SHARE * middle, min(RED_CELL_MARGIN * seen.red_level, RED_CELL_SHARE * upper))
    stained = max(CYTOPLASM_SHARE * _quantiles(stain[ring], 0.5)[0], MIN_GREEN_DENSITY)
    body = rough.body & above(foreign, level) & above(stain, stained) | rough.nucleus
    body = opened(filled(closed(framed(body), GRANULE_UM / um)), BROAD_TAIL_UM / um)[1:-1, 1:-1]
    return Patch(body & rough.body, rough.nucleus, rough.corner)


def _quantiles(values: NDArray[np.float32], *shares: float) -> list[float]:
    """Without interpolation: a fifth of NumPy's time on some hundred values."""
    ordered = np.sort(values)
    return [float(ordered[int(share * len(ordered))]) for share in shares]


def _is_cell(patch: Patch, um: float) -> bool:
    nucleus_um2 = cv2.countNonZero(patch.nucleus) * um * um
    body_um2 = cv2.countNonZero(patch.body) * um * um
    if nucleus_um2 < MIN_NUCLEUS_UM2 or not MIN_BODY_UM2 <= body_um2 <= MAX_BODY_UM2:
        return False
    return bool(depth(patch.nucleus).max() * um >= MIN_NUCLEUS_RADIUS_UM)


def _cell(patch: Patch, nucleus: Mask, lit: light.Light, shape: tuple[int, ...]) -> Cell:
    """Back to pixels of the frame."""
    shrink, (height, width) = lit.shrink, shape[:2]
    outline = max(outlines(patch.body, patch.corner), key=cv2.contourArea)
    x, y, w, h = cv2.boundingRect(outline)
    right, lower = x + w == lit.small.shape[1], y + h == lit.small.shape[0]
    x1, y1 = width if right else (x + w) * shrink, height if lower else (y + h) * shrink
    moments = cv2.moments(patch.nucleus, binaryImage=True)
    centre = [moments[m] / moments["m00"] + c + 0.5 for m, c in zip(("m10", "m01"), patch.corner, strict=True)]
    return Cell(
        box=Box(x * shrink, y * shrink, x1 - x * shrink, y1 - y * shrink),
        centre=(centre[0] * shrink, centre[1] * shrink),
        area_um2=cv2.countNonZero(patch.body) * lit.um_per_pixel**2,
        outline=_full_size(outline, shrink),
        flags=("edge",) if right or lower or x == 0 or y == 0 else (),
        nucleus=tuple(_full_size(lobe, shrink) for lobe in outlines(nucleus, patch.corner)),
        nucleus_um2=cv2.countNonZero(nucleus) * lit.um_per_pixel**2,
    )


def _full_size(outline: NDArray[np.int32], shrink: int) -> NDArray[np.int32]:
    """Through the middle of the pixels at working scale."""
    return ((outline.reshape(-1, 2) + 0.5) * shrink).astype(np.int32)
