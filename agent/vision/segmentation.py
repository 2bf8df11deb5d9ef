"""Finding the white cells of a stained blood smear by colour.

What red cells and nuclei are like is taken from the frame itself (agent/vision/kinds.py). Pictures are made of the
optical density beside those (agent/vision/planes.py): how nuclear a pixel is, how foreign to the colour of red
cells, and where it is stained less than they are. A white cell is a patch of what is foreign, nuclear or pale that
holds enough of a nucleus.

What is found so is then drawn more closely: the body ends where foreign and density fall to a share of the cell's own
cytoplasm, and the nucleus is drawn within it (agent/vision/nucleus.py).
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light
from agent.vision.masks import (
    Mask,
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
from agent.vision.planes import Pictures, pictures_of
from agent.vision.touching import MIN_NUCLEUS_UM2, Patch, split, without_neighbours
from contract.ranks import median, medians
from contract.types import Box, Cell, Image

NUCLEUS_OPENING_UM, BODY_OPENING_UM, BODY_CLOSING_UM = 0.4, 0.5, 1.0
"""Radii: speckles are smaller than the first two, granules and vacuoles than the last."""
TAIL_UM, BROAD_TAIL_UM = 0.7, 1.4
"""Half the widths of threads that are cut off: at first, and once the cell's own cytoplasm is known."""
USUALLY_NUCLEAR = 0.55
"""What half of a cell's nucleus must have; pale nuclei have 0.7 of what the frame's usual ones have."""
NUCLEAR_BESIDE_RED = 0.77
"""The same of what is in part a red cell: folds and edges have 0.75 at most, nuclei that a red cell lies on more."""
RED_CELL_UM2 = 44.0
"""Area of a whole red cell: a nucleus that is larger is no fold."""
PALE_REACH_UM = 4.5
"""Distance from a nucleus within which what is pale may be its cytoplasm."""
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
MIN_NUCLEUS_RADIUS_UM = 0.9
"""Of the nucleus, beside its area; a lobe at the frame's border has that, granules and stain do not."""


def find_cells(image: Image, um_per_pixel: float, pictures: Pictures | None = None) -> list[Cell]:
    """Find the white cells in a frame.

    Args:
        image: (height, width, 3) uint8, at least one pixel.
        um_per_pixel: micrometres per pixel, positive; recall bears an error of a tenth.
        pictures: of this very frame, where they are made already.

    Returns:
        Cells from top to bottom, then left to right, by their boxes. A cell that the frame's border cuts has
        the flag ``edge``; it is left out if less than a recognisable part (``MIN_BODY_UM2``) shows.
    """
    seen = pictures or pictures_of(image, um_per_pixel)
    lit, um = seen.lit, seen.um
    nuclei, foreign, pale = seen.masks()
    nuclei = opened(nuclei, NUCLEUS_OPENING_UM / um)
    if not cv2.countNonZero(nuclei):
        return []
    bodies = nuclei | foreign | pale & squarely_grown(nuclei, PALE_REACH_UM / um)
    cells = [
        _cell(patch, nucleus_of(patch, seen.smooth[patch.where], lit.bare, um), lit, image.shape)
        for rough in _patches(Patch(_tidy(bodies, um), nuclei, (0, 0)), um)
        for whole in _patches(_trimmed(rough, seen), um)
        for patch in split(whole, lambda where: seen.nuclear(seen.density(where), where), um)
        if _is_cell(patch, um) and _is_nuclear(patch, seen)
    ]
    return sorted(cells, key=lambda cell: (cell.box.y, cell.box.x))


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
    _, foreign, share = seen.planes(density, rough.where)
    stain = density[..., 1] - seen.lit.shade[rough.where]
    away = np.where(rough.body, distance(rough.nucleus), 0)
    inner, outer = (pixels(reach / um) for reach in RING_UM)
    ring = (away > inner) & (away <= outer)
    if np.count_nonzero(ring) * um * um < RING_UM2:
        return rough
    middle, upper = _quantiles(foreign[ring], 0.5, 0.75)
    level = max(CYTOPLASM_SHARE * middle, min(RED_CELL_MARGIN * seen.red_level, RED_CELL_SHARE * upper))
    stained = max(CYTOPLASM_SHARE * _quantiles(stain[ring], 0.5)[0], MIN_GREEN_DENSITY)
    kept = (above(foreign, level) | seen.pale(share)) & above(stain, stained)
    body = rough.body & kept | rough.nucleus
    body = opened(filled(closed(framed(body), GRANULE_UM / um)), BROAD_TAIL_UM / um)[1:-1, 1:-1] & rough.body
    return without_neighbours(Patch(body, rough.nucleus, rough.corner), um)


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


def _is_nuclear(patch: Patch, seen: Pictures) -> bool:
    """Whether its nucleus is one for the most part: folds of red cells and stain on them are at their darkest."""
    nucleus, density = patch.nucleus > 0, seen.density(patch.where)
    nuclear = float(median(seen.nuclear(density, patch.where)[nucleus]))
    large = np.count_nonzero(nucleus) * seen.um**2 > RED_CELL_UM2
    if large or not USUALLY_NUCLEAR <= nuclear < NUCLEAR_BESIDE_RED:
        return nuclear >= USUALLY_NUCLEAR
    even = density[nucleus] - seen.lit.shade[patch.where][nucleus, None]
    return not seen.kinds.holds_red_cell(medians(even).astype(np.float64))


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
