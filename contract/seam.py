"""Damage that fits a JPEG's code: libjpeg says nothing of it, but the picture has a seam.

A JPEG stores the mean of each block as the difference from the block before it. Where a fault in the data fits the
code, the mean of one block is wrong, and that of every later block by as much: from there on brightness or colour is
shifted. The blocks stand in rows, so the seam has the form of one stair: it runs along the upper edge of a row of
blocks from the fault to the right, and along the lower edge of that row to the left of it. Nothing in a field of view
does so.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.ranks import medians
from contract.types import Image

BLOCKS = {"420": (16, 16), "422": (8, 16), "440": (16, 8), "411": (8, 32), "441": (32, 8)}
"""Height and width, in pixels, of what is coded together, for each way to thin out the colours; else 8 by 8."""
FINEST = 2.0
"""Grey levels: a step between rows that coarse coding of a smooth field gives to many blocks of a sound picture."""
STRONGEST = 3.0
"""One block counts for at most so much, in units of the usual step: one edge of a cell is no seam."""
SEAM = 1.9
"""Mean step over the width, in the same units, from which on it is a seam.

Measured on 5,364 sound JPEGs (eight sources, camera and rendered; qualities 30 to 95; three kinds of thinning): three
of quality 30 reach it. Of 1,372 damaged ones that libjpeg takes, and in which one pixel in fifty is off by more than 7
levels, 84 in 100 do.
"""
AT_ONCE = 64
"""Edges of which the neighbours are held in floating point at a time: a large picture takes little memory more."""
LEAST_ROWS, LEAST_COLUMNS = 2, 8
"""Of blocks; in a smaller picture a seam is not looked for."""


def seam(image: Image, thinning: str) -> tuple[int, int] | None:
    """Where the seam of a decoded JPEG begins, as row and column of pixels; None without one.

    A straight edge from side to side is no seam, for a bar that a camera draws into its picture has one. In a file with
    restart markers the shift ends at the next one, and is mostly not found.

    Args:
        image: (height, width, channels) uint8, as decoded.
        thinning: of the colours, as libjpeg names it: 444, 422, 420 ...
    """
    high, wide = BLOCKS.get(thinning, (8, 8))
    edges, columns = range(high, len(image) - 1, high), image.shape[1] // wide
    if len(edges) < LEAST_ROWS or columns < LEAST_COLUMNS:
        return None
    parts = (edges[first : first + AT_ONCE] for first in range(0, len(edges), AT_ONCE))
    steps = np.concatenate([_steps(image[:, : columns * wide], part, columns) for part in parts])
    sizes = np.abs(steps).reshape(-1, steps.shape[-1])
    usual = np.maximum(1.48 * medians(sizes), FINEST)  # 1.48: from the median to the standard deviation
    steps = np.clip(steps / usual, -STRONGEST, STRONGEST)
    beyond = np.zeros_like(steps[:1])  # above the first row of blocks and below the last is nothing
    upper, lower = np.concatenate([beyond, steps]), np.concatenate([steps, beyond])
    start = np.zeros_like(upper[:, :1])
    to_left = np.concatenate([start, np.cumsum(lower, axis=1)], axis=1)
    to_right = np.concatenate([np.cumsum(upper[:, ::-1], axis=1)[:, ::-1], start], axis=1)
    stairs = np.maximum.reduce(list(np.moveaxis(np.abs(to_left + to_right), 2, 0))) / columns
    row, column = (int(at) for at in np.unravel_index(stairs.argmax(), stairs.shape))
    if stairs[row, column] < SEAM or column in {0, columns}:
        return None
    return row * high, column * wide


def _steps(image: Image, edges: range, columns: int) -> NDArray[np.float32]:
    """How much brighter each block begins than the one above it ends, beyond how the rows beside the edge change.

    Returns:
        (edges, columns, channels), in grey levels.
    """
    above2, above, below, below2 = (
        _block_means(image[edges[0] + beside : edges[-1] + beside + 1 : edges.step], columns) for beside in range(-2, 2)
    )
    return np.asarray((below - above) - ((below2 - below) + (above - above2)) / 2, np.float32)


def _block_means(rows: Image, columns: int) -> NDArray[np.float32]:
    """Of each row so many means, (rows, columns, channels)."""
    means = cv2.resize(rows.astype(np.float32), (columns, len(rows)), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(len(rows), columns, -1)
