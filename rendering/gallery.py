"""The gallery of a slide's cells, all at one scale: one picture, or one page with every cell's figures."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from common.words import counted
from contract.labels import Label
from contract.messages import BoxReport
from contract.pixels import BEYOND
from contract.types import Image
from rendering.html import fill
from rendering.legend import COLOURS, FONT, TEXT_SCALE, Colour, bar_um

FIELD_UM = 22.0
"""Side of what is shown of each cell: the largest white cells, with a rim; all at one scale, so that sizes compare."""
TILE = 144
"""Side of a cell's picture in pixels."""
COLUMNS, GAP, CAPTION, HEAD = 8, 10, 38, 76
"""Of the picture: cells in a row, and pixels between them, below each and above all."""
PAPER, INK, FAINT, WARNING = (250, 250, 250), (40, 40, 40), (120, 120, 120), (0, 0, 190)
JPEG_QUALITY = 92
NUMBER = "The number is the probability of a blast."
RESEARCH_ONLY = "Research use only; not for diagnosis."


@dataclass(frozen=True, slots=True)
class GalleryCell:
    """What is shown of one cell.

    Attributes:
        words: its name, and what it is called.
        label: which colour it has.
        source: name of the frame that is shown.
        views: how many frames show the cell.
        area_um2: of the whole cell, square micrometres.
        picture: (TILE, TILE, 3) uint8; None if there is none.
    """

    words: str
    label: Label
    source: str
    views: int
    area_um2: float
    picture: Image | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is shown: cells in order, and whether their pictures are to one scale.

    ``warning`` says what is not shown: frames that nobody judged, and cells that were taken back.
    """

    cells: tuple[GalleryCell, ...]
    title: str
    note: str
    warning: str
    to_scale: bool


def cell_picture(image: Image, box: BoxReport, um_per_pixel: float) -> Image:
    """A square of ``FIELD_UM`` around a cell, (TILE, TILE, 3) uint8.

    Args:
        image: the frame as captured, (height, width, 3) uint8.
        box: of the cell, in pixels of the frame.
        um_per_pixel: of the frame.
    """
    scale = TILE * um_per_pixel / FIELD_UM
    middle = box.x + box.width / 2, box.y + box.height / 2
    shift = [[scale, 0, TILE / 2 - scale * middle[0]], [0, scale, TILE / 2 - scale * middle[1]]]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.warpAffine(image, np.array(shift), (TILE, TILE), flags=how, borderValue=BEYOND)
    return np.asarray(tile, np.uint8)


def sheet(gallery: Gallery) -> Image:
    """All cells in one picture, (height, width, 3) uint8."""
    rows = max(1, -(-len(gallery.cells) // COLUMNS))
    size = HEAD + rows * (TILE + CAPTION) + GAP, GAP + COLUMNS * (TILE + GAP), 3
    drawn = np.full(size, PAPER, np.uint8)
    _write(drawn, gallery.title, (GAP, 22), INK)
    _write(drawn, f"{gallery.note} {NUMBER} {RESEARCH_ONLY}", (GAP, 42), FAINT)
    _write(drawn, gallery.warning, (GAP, 62), WARNING)
    if gallery.to_scale:
        _scale(drawn)
    for number, cell in enumerate(gallery.cells):
        row, column = divmod(number, COLUMNS)
        _tile(drawn, cell, (GAP + column * (TILE + GAP), HEAD + row * (TILE + CAPTION)))
    return drawn


def page(gallery: Gallery) -> str:
    """All cells on one page of HTML that needs no other file."""
    um = bar_um(FIELD_UM / 2)
    return fill(
        "gallery",
        gallery=gallery,
        cells=map(_figure, gallery.cells),
        number=NUMBER,
        research=RESEARCH_ONLY,
        tile=TILE,
        um=f"{um:g}",
        bar=round(um / FIELD_UM * TILE),
        warning_colour=_css(WARNING),
        colours={name: _css(colour) for name, colour in COLOURS.items()},
    )


def _figure(cell: GalleryCell) -> dict[str, str]:
    return {
        "words": cell.words,
        "label": cell.label,
        "source": cell.source,
        "views": counted(cell.views, "view"),
        "area": f"{cell.area_um2:.0f}",
        "jpeg": "" if cell.picture is None else _jpeg(cell.picture),
    }


def _jpeg(picture: Image) -> str:
    """A picture as text."""
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _css(colour: Colour) -> str:
    blue, green, red = colour
    return f"rgb({red}, {green}, {blue})"


def _tile(drawn: Image, cell: GalleryCell, corner: tuple[int, int]) -> None:
    x, y = corner
    if cell.picture is not None:
        drawn[y : y + TILE, x : x + TILE] = cell.picture
    cv2.rectangle(drawn, (x, y + TILE), (x + TILE - 1, y + TILE + 3), COLOURS[cell.label], cv2.FILLED)
    _write(drawn, cell.words, (x, y + TILE + 17), INK)
    _write(drawn, _shortened(cell.source), (x, y + TILE + 31), FAINT)


def _scale(drawn: Image) -> None:
    um = bar_um(FIELD_UM / 2)
    right = drawn.shape[1] - GAP
    left = right - round(um / FIELD_UM * TILE)
    cv2.rectangle(drawn, (left, 30), (right, 32), INK, cv2.FILLED)
    _write(drawn, f"{um:g} um", (left, 22), INK)


def _shortened(name: str) -> str:
    """The end of a name, which tells frames apart, as wide as a tile."""
    while len(name) > 1 and cv2.getTextSize(name, FONT, TEXT_SCALE, 1)[0][0] > TILE:
        name = name[1:]
    return name


def _write(drawn: Image, text: str, at: tuple[int, int], colour: Colour) -> None:
    cv2.putText(drawn, text, at, FONT, TEXT_SCALE, colour, 1, cv2.LINE_AA)
