"""Parting cells that touch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.masks import Mask, Plane, above, closed, depth, framed, nearest, opened, outlines, painted

MIN_NUCLEUS_UM2 = 5.0
"""Area of nucleus that a white cell shows at least."""
WAIST_UM = 2.4
"""Half the width of a waist; what hangs on a white cell by one and holds no nucleus is a red cell that touches it."""
LOBE_GAP_UM = 0.6
"""Radius of the closing that joins chromatin and lobes before the depth of a nucleus is measured."""
NECK = 0.66
"""Two peaks of depth with a pass below this share of the lower one are two cells; lobes in one cell pass higher."""
SEED_DEPTH_UM = 4.0
"""Depth of body and nucleus together that a cell of its own reaches; a small lymphocyte has 3 + 2.5."""
HEAP_DEPTH_UM, LEVEL_DEPTH_UM = 10.0, 5.0
"""Depth of a body that no single cell has, and at which such a body is levelled: in the midst of many cells that touch
the distance to their common border says nothing, and the nuclei alone tell."""
CROWDED_UM2 = 220.0
"""Body above which it is rather several cells: a disc of 17 um."""
CONVEX = 0.95
"""Share of its convex hull that a smaller body fills if it can only be one cell; two discs that touch fill 0.9."""
CROWDED_WEIGHT = 2
"""How much more the depth of the nucleus counts in such a body."""
WHOLE_NUCLEUS_UM2 = 40.0
"""Nucleus in one piece above which it is no lobe: in a crowded body each such piece is a cell."""
NUCLEUS_GAP_UM = 0.8
"""Radius of the opening that takes pieces of nucleus apart."""
MIN_PART_UM2 = 38.0
"""Body below which a part is a lobe, and belongs to its neighbour."""
MIN_PART_NUCLEUS_UM2 = 22.0
"""Nucleus below which it is a lobe too: a small lymphocyte has 25 (5.6 um across), a neutrophil's lobe 10 to 20."""
AT_ONCE = 8
"""Of so many parts that are too small the smallest is given up at a time, for its pixels may make another large."""
CORE_SHARE = 0.75
"""Bound of the level of a core, as a share of the nucleus's middle value."""
DEPTH_STEPS = 30
"""Levels at which a pass is looked for."""

Where = tuple[slice, slice]
"""Rows and columns of a part of the frame."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A white cell, or several that touch, at working scale.

    Attributes:
        body: mask of the whole cell, cytoplasm included.
        nucleus: mask of what is surely nucleus, within the body.
        corner: (x, y) of the masks' first pixel in the frame.
    """

    body: Mask
    nucleus: Mask
    corner: tuple[int, int]

    @property
    def where(self) -> Where:
        """Where in the frame it is."""
        (x, y), (height, width) = self.corner, self.body.shape
        return np.s_[y : y + height, x : x + width]

    def cropped(self, part: Mask) -> "Patch":
        """The part of it under a mask, or the largest piece of that, in a box of its own."""
        pieces = outlines(part)
        if len(pieces) > 1:
            part = part & painted(part.shape, [max(pieces, key=cv2.contourArea)])
        x, y, width, height = cv2.boundingRect(part)
        box = np.s_[y : y + height, x : x + width]
        body = np.ascontiguousarray(part[box])
        return Patch(body, body & self.nucleus[box], (self.corner[0] + x, self.corner[1] + y))


def without_neighbours(whole: Patch, um: float) -> Patch:
    """The same without what hangs on it by a waist and holds no nucleus: red cells that touch.

    Args:
        whole: one body, within the box that its pixels span or a larger one.
        um: micrometres per pixel.
    """
    pieces = opened(framed(whole.body), WAIST_UM / um)[1:-1, 1:-1]
    if cv2.connectedComponents(pieces)[0] <= 2:  # noqa: PLR2004 - background and one piece
        return whole
    owner = nearest(pieces)
    nuclear = np.bincount(owner[(pieces & whole.nucleus) > 0], minlength=int(owner.max()) + 1)
    kept = nuclear * um * um >= MIN_NUCLEUS_UM2
    if not kept.any():
        return whole
    return Patch(whole.body & (kept[owner].view(np.uint8) | whole.nucleus), whole.nucleus, whole.corner)


def split(whole: Patch, nuclear: Callable[[Where], Plane], um: float) -> list[Patch]:
    """Part cells that touch; each pixel falls to the nearest seed.

    Seeds are the large pieces of nucleus in a crowded body, and then the peaks in the depth of each body plus
    that of the nucleus within it: a waist and a gap between nuclei both tell.

    Args:
        whole: one body.
        nuclear: picture of a part of the frame.
        um: micrometres per pixel.
    """
    crowded = _crowded(whole.body, um)
    if not crowded and _is_convex(whole.body):
        return [whole]
    core = _core(whole, nuclear(whole.where))
    if not crowded:
        return _at_waists(whole, core, um)
    parts = []
    for mask in _by_nuclei(whole.body, core, um):
        part = whole.cropped(mask)
        (x, y), (left, top), (height, width) = part.corner, whole.corner, part.body.shape
        parts += _at_waists(part, core[y - top : y - top + height, x - left : x - left + width] & part.body, um)
    return parts


def _crowded(body: Mask, um: float) -> bool:
    return cv2.countNonZero(body) * um * um > CROWDED_UM2


def _is_convex(body: Mask) -> bool:
    outline = max(outlines(body), key=cv2.contourArea)
    return cv2.contourArea(outline) >= CONVEX * cv2.contourArea(cv2.convexHull(outline))


def _core(whole: Patch, nuclear: Plane) -> Mask:
    """The nucleus without dark cytoplasm, by Otsu's threshold within the body (IEEE Trans. SMC 9, 1979)."""
    values = np.asarray(cv2.convertScaleAbs(np.maximum(nuclear, 0), alpha=100), np.uint8)
    inside = values[whole.nucleus > 0]
    if not inside.size:
        return whole.nucleus
    level, _ = cv2.threshold(values[whole.body > 0].reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    return whole.nucleus & above(values, min(level, CORE_SHARE * float(np.median(inside))))


def _by_nuclei(body: Mask, core: Mask, um: float) -> Iterator[Mask]:
    """A crowded body by its large pieces of nucleus."""
    pieces = outlines(opened(core, NUCLEUS_GAP_UM / um))
    large = [piece for piece in pieces if cv2.contourArea(piece) * um * um > WHOLE_NUCLEUS_UM2]
    if len(large) < 2:  # noqa: PLR2004 - one cell
        return iter([body])
    return _parts(body, nearest(painted(body.shape, large)))


def _at_waists(whole: Patch, core: Mask, um: float) -> list[Patch]:
    core = closed(core, LOBE_GAP_UM / um)
    weight = CROWDED_WEIGHT if _crowded(whole.body, um) else 1
    deep = _levelled(depth(whole.body) * np.float32(um)) + weight * depth(core) * np.float32(um)
    seeds = np.zeros_like(whole.body)
    _seed(deep, core, seeds, level=0.0)
    while True:
        labels = nearest(seeds)
        areas, cores = (
            np.bincount(labels[m > 0], minlength=int(labels.max()) + 1)[1:] * um * um for m in (whole.body, core)
        )
        short = np.minimum(areas / MIN_PART_UM2, cores / MIN_PART_NUCLEUS_UM2)
        order = np.argsort(short, kind="stable")
        small = np.count_nonzero(short < 1)
        if len(areas) <= 1 or not small:
            break
        given_up = np.zeros(len(areas) + 1, bool)
        given_up[1 + order[: 1 + small // AT_ONCE]] = True
        seeds[given_up[labels]] = 0  # a region holds its seed; a part of the body need not
    return [whole.cropped(part) for part in _parts(whole.body, labels)] if len(areas) > 1 else [whole]


def _levelled(deep: Plane) -> Plane:
    return np.minimum(deep, np.float32(LEVEL_DEPTH_UM)) if deep.max() > HEAP_DEPTH_UM else deep


def _parts(body: Mask, labels: NDArray[np.int32]) -> Iterator[Mask]:
    """The body's pixels by their labels; one mask at a time, for a heap may have hundreds."""
    return (body & (labels == label).view(np.uint8) for label in range(1, int(labels.max()) + 1))


def _seed(deep: Plane, core: Mask, seeds: Mask, *, level: float) -> None:
    """Mark in ``seeds`` one connected patch for each cell in ``deep``, which is connected above ``level``."""
    peak = float(deep.max())
    step = max(peak / DEPTH_STEPS, 0.1)
    for higher in np.arange(level + step, peak * NECK, step):
        summits = _summits(deep, core, float(higher))
        if len(summits) > 1:
            for where, alone in summits:
                _seed(alone, core[where], seeds[where], level=float(higher))
            return
    seeds[deep > level] = 1


def _summits(deep: Plane, core: Mask, level: float) -> list[tuple[tuple[slice, slice], Plane]]:
    """The patches above a level that stand high enough above it and hold some nucleus."""
    high = above(deep, level)
    rings = outlines(high)
    if len(rings) < 2:  # noqa: PLR2004 - one summit
        return []
    found = []
    for ring in rings:
        x, y, width, height = cv2.boundingRect(ring)
        where = np.s_[y : y + height, x : x + width]
        mine = painted((height, width), [ring], (-x, -y)) & high[where]
        alone = deep[where] * mine
        if alone.max() > max(level / NECK, SEED_DEPTH_UM) and (core[where] & mine).any():
            found.append((where, alone))
    return found
