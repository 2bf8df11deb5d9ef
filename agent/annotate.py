"""A frame with its report drawn in, for people."""

from collections.abc import Iterator

import cv2
import numpy as np

from contract.messages import CellReport, FrameReport
from contract.types import Image

Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {"normal": (178, 114, 0), "blast": (0, 94, 213), "uncertain": (66, 228, 240)}
"""Blue-green-red: blue, vermilion, yellow of Okabe and Ito's palette, which colour-blind people tell apart."""
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
REFERENCE_HEIGHT = 480
"""Height in pixels of the frame for which sizes are given; on larger frames lines and letters grow."""
TEXT_SCALE = 0.45
"""OpenCV's measure of letters: 10 pixels high at the reference height."""
MARGIN = 4
"""Pixels around a text at the reference height."""


def annotate(image: Image, report: FrameReport) -> Image:
    """Draw a box around each cell, coloured by label, with the probability of a blast and the cell's flags.

    Args:
        image: (height, width, 3) uint8; left as it is.
        report: what was said of this image. If the frame was refused, a banner says why.

    Returns:
        A copy of the image of the same shape, drawn upon.
    """
    drawn = image.copy()
    size = max(1.0, image.shape[0] / REFERENCE_HEIGHT)
    for cell in report.cells:
        _box(drawn, cell, size)
    for cell in report.cells:
        _label(drawn, cell, size)
    if not report.quality.accepted:
        _banner(drawn, report, size)
    return drawn


def _box(drawn: Image, cell: CellReport, size: float) -> None:
    """A line in the label's colour between two thin black ones, so that it shows on any ground."""
    box, thick = cell.box, max(2, round(2 * size))
    corners = (box.x, box.y), (box.x + box.width - 1, box.y + box.height - 1)
    cv2.rectangle(drawn, *corners, BLACK, thick + 2)
    cv2.rectangle(drawn, *corners, COLOURS[cell.label], thick)


def _label(drawn: Image, cell: CellReport, size: float) -> None:
    """Above the box; inside it where the frame has no room above."""
    text = " ".join([cell.label, f"{cell.probability:.2f}", *cell.flags])
    width, height = _extent(text, size)
    x = min(max(cell.box.x - 1, 0), max(drawn.shape[1] - width, 0))
    y = cell.box.y - height if cell.box.y >= height else cell.box.y
    ground = COLOURS[cell.label]
    cv2.rectangle(drawn, (x, y), (x + width, y + height), ground, cv2.FILLED)
    _write(drawn, text, (x, y), size, BLACK if cell.label == "uncertain" else WHITE)


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
