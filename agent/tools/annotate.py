"""A frame with its report drawn in, for people."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.messages import CellReport, FrameReport
from contract.types import Image

Colour = tuple[int, int, int]
Outline: TypeAlias = NDArray[np.int32]
"""(K, 2) points in pixels of the frame."""
NO_OUTLINE: Outline = np.zeros((0, 2), np.int32)
COLOURS: dict[str, Colour] = {
    "normal": (178, 114, 0),
    "blast": (0, 94, 213),
    "uncertain": (66, 228, 240),
    "cut": (170, 160, 155),
}
"""Blue-green-red: blue, vermilion, yellow of Okabe and Ito's palette, told apart by colour-blind people; and grey."""
DARK_TEXT = {"uncertain", "cut"}
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
GROUND, LIGHT = (40, 40, 40), (225, 225, 225)
"""Of the strip below the picture, and of what is written there."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
REFERENCE_HEIGHT = 480
"""Height in pixels of the frame for which sizes are given; on larger frames lines and letters grow."""
TEXT_SCALE = 0.4
"""OpenCV's measure of letters: 9 pixels high at the reference height."""
MARGIN = 4
"""Pixels around a text at the reference height."""
ROW, SWATCH = 18, 10
"""Height of a row of the strip, and side of the patches of colour in it, at the reference height."""
BAR_SHARE = 0.16
"""Share of the frame's width that the scale bar takes at most."""


def annotate(image: Image, report: FrameReport, outlines: Sequence[Outline] = ()) -> Image:
    """Draw each cell's outline, coloured by its kind, with its name on the slide and the probability of a blast.

    Args:
        image: (height, width, 3) uint8; left as it is.
        report: what was said of this image. If the frame was refused, a banner says why.
        outlines: of the report's cells, in their order; boxes are drawn where there are none.

    Returns:
        A copy of the image, drawn upon, with a strip below it: a scale bar, what the colours mean, where it lies.
    """
    drawn = image.copy()
    size = max(1.0, image.shape[0] / REFERENCE_HEIGHT)
    for cell, outline in zip(report.cells, chain(outlines, repeat(NO_OUTLINE)), strict=False):
        _outline(drawn, cell, outline, size)
    for cell in report.cells:
        _label(drawn, cell, size)
    if not report.quality.accepted:
        _banner(drawn, report, size)
    return np.vstack([drawn, _strip(report, image.shape[1], size)])


def _outline(drawn: Image, cell: CellReport, outline: Outline, size: float) -> None:
    """A line in the kind's colour on a wider black one, so that it shows on any ground."""
    box, thick = cell.box, max(1, round(1.5 * size))
    left, top, right, bottom = box.x, box.y, box.x + box.width - 1, box.y + box.height - 1
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int32)
    points = [np.asarray(outline if len(outline) else corners, np.int32)]
    cv2.polylines(drawn, points, True, BLACK, thick + 2, cv2.LINE_AA)  # noqa: FBT003 - OpenCV's "closed"
    cv2.polylines(drawn, points, True, COLOURS[kind_of(cell)], thick, cv2.LINE_AA)  # noqa: FBT003


def _label(drawn: Image, cell: CellReport, size: float) -> None:
    """Above the box; inside it where the frame has no room above."""
    text = words_of(cell)
    width, height = _extent(text, size)
    x = min(max(cell.box.x - 1, 0), max(drawn.shape[1] - width, 0))
    y = cell.box.y - height if cell.box.y >= height else cell.box.y
    kind = kind_of(cell)
    cv2.rectangle(drawn, (x, y), (x + width, y + height), COLOURS[kind], cv2.FILLED)
    _write(drawn, text, (x, y), size, BLACK if kind in DARK_TEXT else WHITE)


def kind_of(cell: CellReport) -> str:
    """Its label; `cut` where the border cuts it, for then nobody has judged it, and `uncertain` would say that."""
    return "cut" if "edge" in cell.flags else cell.label


def words_of(cell: CellReport) -> str:
    """Name on the slide, label and probability; of a cell that the border cuts, that it is not judged."""
    name = cell.object_id.rpartition("-")[2]
    said = "cut, not judged" if kind_of(cell) == "cut" else f"{cell.label} {cell.probability:.2f}"
    return f"{name} {said}".strip()


def _strip(report: FrameReport, width: int, size: float) -> Image:
    """Below the picture: scale and colours in one row, where the frame lies in another."""
    height = round(ROW * size)
    strip = np.full((2 * height, width, 3), GROUND, np.uint8)
    upper, lower = strip[:height], strip[height:]
    x = _scale_bar(upper, report.frame.um_per_pixel, size)
    counts = Counter(map(kind_of, report.cells))
    for kind, colour in COLOURS.items():
        side = round(SWATCH * size)
        top = (height - side) // 2 + 1
        cv2.rectangle(upper, (x, top), (x + side, top + side), colour, cv2.FILLED)
        x = _beside(upper, f"{kind} {counts[kind]}", x + side, size)
    _beside(upper, "number: probability of a blast", x, size)
    _beside(lower, _place(report), round(MARGIN * size), size)
    return strip


def _scale_bar(row: Image, um_per_pixel: float, size: float) -> int:
    """A bar of 1, 2 or 5 times a power of ten micrometres; returns where the next thing may stand."""
    um = bar_um(row.shape[1] * um_per_pixel * BAR_SHARE)
    middle, half = row.shape[0] // 2 + 1, round(3 * size)
    left = round(2 * MARGIN * size)
    right = left + round(um / um_per_pixel)
    cv2.line(row, (left, middle), (right, middle), WHITE, _stroke(size))
    for x in (left, right):
        cv2.line(row, (x, middle - half), (x, middle + half), WHITE, _stroke(size))
    return _beside(row, f"{um:g} um", right, size)


def bar_um(wanted: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that does not exceed this many micrometres."""
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(step for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9)) * power)


def _place(report: FrameReport) -> str:
    at = report.position_um
    where = f"part {at.part} at ({round(at.x)}, {round(at.y)}) um" if at else ""
    return "   ".join(
        text for text in (report.frame.source, report.slide_id and f"slide {report.slide_id}", where) if text
    )


def _beside(row: Image, text: str, x: int, size: float) -> int:
    """Write in a row to the right of x; returns where the next thing may stand."""
    width, height = _extent(text, size)
    _write(row, text, (x, (row.shape[0] - height) // 2), size, LIGHT)
    return x + width + round(MARGIN * size)


def _banner(drawn: Image, report: FrameReport, size: float) -> None:
    text = f"not judged: {', '.join(report.quality.reasons)}"
    lines = [text, *_wrapped(report.quality.detail, drawn.shape[1], size)]
    height = _extent(text, size)[1]
    cv2.rectangle(drawn, (0, 0), (drawn.shape[1], height * len(lines)), BLACK, cv2.FILLED)
    for number, line in enumerate(lines):
        _write(drawn, line, (0, number * height), size, WHITE)


def _wrapped(text: str, width: int, size: float) -> Iterator[str]:
    """Lines that fit; a word wider than the frame gets a line of its own."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _extent(longer, size)[0] > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _extent(text: str, size: float) -> tuple[int, int]:
    """Width and height in pixels of a text with its margin."""
    (width, height), below = cv2.getTextSize(text, FONT, TEXT_SCALE * size, _stroke(size))
    return width + round(2 * MARGIN * size), height + below + round(MARGIN * size)


def _write(drawn: Image, text: str, corner: tuple[int, int], size: float, colour: Colour) -> None:
    (_, height), _ = cv2.getTextSize(text, FONT, TEXT_SCALE * size, _stroke(size))
    place = corner[0] + round(MARGIN * size), corner[1] + round(MARGIN * size) + height
    cv2.putText(drawn, text, place, FONT, TEXT_SCALE * size, colour, _stroke(size), cv2.LINE_AA)


def _stroke(size: float) -> int:
    return max(1, int(np.floor(size)))
