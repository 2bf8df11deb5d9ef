"""A frame with its report drawn in, for people."""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.messages import CellReport, FrameReport
from contract.types import Image
from rendering.captions import words_of
from rendering.legend import BLACK, COLOURS, REFERENCE_HEIGHT, WHITE, extent, strip, write

Outline: TypeAlias = NDArray[np.int32]
"""(K, 2) points in pixels of the frame."""
NO_OUTLINE: Outline = np.zeros((0, 2), np.int32)
DARK_TEXT = {"uncertain", "not_judged"}
Rectangle = tuple[int, int, int, int]
"""Left, upper, right, lower edge, in pixels."""


def annotate(image: Image, report: FrameReport, outlines: Sequence[Outline] = ()) -> Image:
    """Draw each cell's outline, coloured by its kind, with its name on the slide and the probability of a blast.

    Args:
        image: (height, width, 3) uint8; left as it is.
        report: what was said of this image.
        outlines: of the report's cells, in their order; boxes are drawn where there are none.

    Returns:
        A copy of the image, drawn upon, with a strip below it: a scale bar, what the colours mean or else why the
        frame was refused, where it lies.
    """
    drawn = image.copy()
    size = max(1.0, image.shape[0] / REFERENCE_HEIGHT)
    for cell, outline in zip(report.cells, chain(outlines, repeat(NO_OUTLINE)), strict=False):
        _outline(drawn, cell, outline, size)
    taken = [_edges(cell) for cell in report.cells]
    for cell in report.cells:
        taken.append(_label(drawn, cell, taken, size))
    return np.vstack([drawn, strip(report, image.shape[1], size)])


def _outline(drawn: Image, cell: CellReport, outline: Outline, size: float) -> None:
    """A line in the kind's colour on a wider black one, so that it shows on any ground."""
    thick = max(1, round(1.5 * size))
    left, top, right, bottom = _edges(cell)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int32)
    points = [np.asarray(outline if len(outline) else corners, np.int32)]
    cv2.polylines(drawn, points, True, BLACK, thick + 2, cv2.LINE_AA)  # noqa: FBT003 - OpenCV's "closed"
    cv2.polylines(drawn, points, True, COLOURS[cell.label], thick, cv2.LINE_AA)  # noqa: FBT003


def _edges(cell: CellReport) -> Rectangle:
    box = cell.box
    return box.x, box.y, box.x + box.width - 1, box.y + box.height - 1


def _label(drawn: Image, cell: CellReport, taken: Iterable[Rectangle], size: float) -> Rectangle:
    """Where it hides least: above the cell if it may; returns where it stands."""
    text, label = words_of(cell), cell.label
    width, height = extent(text, size)
    x, y = min(
        _corners(_edges(cell), (width, height), drawn.shape),
        key=lambda corner: sum(_shared((*corner, corner[0] + width, corner[1] + height), other) for other in taken),
    )
    cv2.rectangle(drawn, (x, y), (x + width, y + height), COLOURS[label], cv2.FILLED)
    write(drawn, text, (x, y), size, BLACK if label in DARK_TEXT else WHITE)
    return x, y, x + width, y + height


def _corners(edges: Rectangle, extent: tuple[int, int], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Upper left corners around a cell where a label lies in the frame, the best first."""
    (left, top, right, bottom), (width, height) = edges, extent
    places = [
        *(
            (x, y)
            for y in (top - height - 1, bottom + 1)
            for x in (left - 1, right - width, (left + right - width) // 2)
        ),
        *((x, y) for x in (right + 1, left - width - 1) for y in (top, bottom - height)),
    ]
    room = max(shape[1] - width - 1, 0), max(shape[0] - height - 1, 0)
    return [(min(max(x, 0), room[0]), min(max(y, 0), room[1])) for x, y in places]


def _shared(a: Rectangle, b: Rectangle) -> int:
    """Pixels that two rectangles share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
