"""The strip below a picture, for people: scale, colours, verdict and place; and the letters of all drawing."""

from collections import Counter

import cv2
import numpy as np

from contract.labels import Label, spoken
from contract.messages import FrameReport
from contract.types import Image

Colour = tuple[int, int, int]
COLOURS: dict[Label, Colour] = {
    "normal": (178, 114, 0),
    "blast": (0, 94, 213),
    "uncertain": (66, 228, 240),
    "not_judged": (170, 160, 155),
}
"""Blue-green-red: blue, vermilion and yellow of Okabe and Ito, which colour-blind people can distinguish; and grey."""
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
GROUND, LIGHT = (40, 40, 40), (225, 225, 225)
"""Of the strip, and of what is written there."""
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
RESEARCH_ONLY = "research use only"


def strip(report: FrameReport, width: int, size: float) -> Image:
    """What stands below a picture: (height, width, 3), as high as it needs to be.

    Args:
        report: what is said of the picture. If it was refused, the reasons stand where else the colours are told.
        width: of the picture, in pixels.
        size: of letters, 1 at the reference height.
    """
    below = _Strip(width, size)
    below.bar(report.frame.um_per_pixel)
    if report.quality.accepted:
        counts: Counter[str] = Counter(cell.label for cell in report.cells)
        for label, colour in COLOURS.items():
            below.swatch(colour, f"{spoken(label)} {counts[label]}")
        below.text("number: probability of a blast")
    else:
        below.tag(f"not judged: {', '.join(report.quality.reasons)}")
        below.words(report.quality.detail)
    below.row()
    for text in (report.frame.source, report.slide_id and f"slide {report.slide_id}", _place(report), RESEARCH_ONLY):
        below.text(text)
    return below.picture()


def _place(report: FrameReport) -> str:
    at = report.position_um
    return f"part {at.part} at ({round(at.x)}, {round(at.y)}) um" if at else ""


def bar_um(wanted: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that does not exceed this many micrometres."""
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(step for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9)) * power)


def extent(text: str, size: float) -> tuple[int, int]:
    """Width and height in pixels of a text with its margin; all texts are as high."""
    (width, _), _ = cv2.getTextSize(text, FONT, TEXT_SCALE * size, _stroke(size))
    above, below = _height(size)
    return width + round(2 * MARGIN * size), above + below + round(MARGIN * size)


def write(drawn: Image, text: str, corner: tuple[int, int], size: float, colour: Colour) -> None:
    """Write a text with its margin to the right of and below a corner."""
    place = corner[0] + round(MARGIN * size), corner[1] + round(MARGIN * size / 2) + _height(size)[0]
    cv2.putText(drawn, text, place, FONT, TEXT_SCALE * size, colour, _stroke(size), cv2.LINE_AA)


def _height(size: float) -> tuple[int, int]:
    """Pixels of the highest letters above the line that they stand on, and of the lowest below it."""
    (_, above), below = cv2.getTextSize("Ag", FONT, TEXT_SCALE * size, _stroke(size))
    return above, below


def _stroke(size: float) -> int:
    return max(1, int(np.floor(size)))


class _Strip:
    """Rows that are filled from the left; what has no room any more begins another."""

    def __init__(self, width: int, size: float) -> None:
        self._width, self._size = width, size
        self._rows: list[Image] = []
        self.row()

    def row(self) -> None:
        """Begin another row."""
        self._rows.append(np.full((round(ROW * self._size), self._width, 3), GROUND, np.uint8))
        self._x = round(MARGIN * self._size)

    def bar(self, um_per_pixel: float) -> None:
        """A bar of 1, 2 or 5 times a power of ten micrometres."""
        um = bar_um(self._width * um_per_pixel * BAR_SHARE)
        pixels, middle, half = round(um / um_per_pixel), len(self._rows[-1]) // 2 + 1, round(3 * self._size)
        row, left = self._room(pixels + round(2 * MARGIN * self._size))
        left += round(MARGIN * self._size)
        cv2.line(row, (left, middle), (left + pixels, middle), WHITE, _stroke(self._size))
        for x in (left, left + pixels):
            cv2.line(row, (x, middle - half), (x, middle + half), WHITE, _stroke(self._size))
        self.text(f"{um:g} um")

    def swatch(self, colour: Colour, text: str) -> None:
        """A patch of a colour and what it means."""
        side = round(SWATCH * self._size)
        row, x = self._room(side + extent(text, self._size)[0])
        top = (len(row) - side) // 2 + 1
        cv2.rectangle(row, (x, top), (x + side, top + side), colour, cv2.FILLED)
        self._write(row, text, x + side, LIGHT)

    def tag(self, text: str) -> None:
        """A text that is not to be missed."""
        width = extent(text, self._size)[0]
        row, x = self._room(width)
        cv2.rectangle(row, (x, 1), (x + width, len(row) - 2), WHITE, cv2.FILLED)
        self._write(row, text, x, BLACK)

    def text(self, text: str) -> None:
        """A text, which is not broken."""
        if text:
            row, x = self._room(extent(text, self._size)[0])
            self._write(row, text, x, LIGHT)

    def words(self, text: str) -> None:
        """A text, which is broken where a row ends."""
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and round(MARGIN * self._size) + extent(longer, self._size)[0] > self._width:
                self.text(line)
                longer = word
            line = longer
        self.text(line)

    def picture(self) -> Image:
        """All rows."""
        return np.vstack(self._rows)

    def _room(self, width: int) -> tuple[Image, int]:
        """The row in which so many pixels are free, and where they begin."""
        if self._x + width > self._width and self._x > round(MARGIN * self._size):
            self.row()
        x = self._x
        self._x += width + round(MARGIN * self._size)
        return self._rows[-1], x

    def _write(self, row: Image, text: str, x: int, colour: Colour) -> None:
        write(row, text, (x, (len(row) - extent(text, self._size)[1]) // 2), self._size, colour)
