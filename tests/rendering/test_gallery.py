"""The gallery shows each cell at one scale, above the colour of its label."""

import re

import numpy as np
import pytest

from contract.labels import LABELS
from contract.messages import BoxReport
from contract.pixels import BEYOND
from contract.types import Image
from rendering.gallery import (
    COLUMNS,
    FIELD_UM,
    GAP,
    HEAD,
    TILE,
    Gallery,
    GalleryCell,
    cell_picture,
    page,
    sheet,
)
from rendering.legend import COLOURS

GREY: Image = np.full((TILE, TILE, 3), 128, np.uint8)


def gallery(*cells: GalleryCell, warning: str = "", to_scale: bool = True) -> Gallery:
    return Gallery(cells, title="Slide <7>", note="a note & more", warning=warning, to_scale=to_scale)


def gallery_cell(label: str = "blast", picture: Image | None = GREY, views: int = 2) -> GalleryCell:
    known = next(name for name in LABELS if name == label)
    return GalleryCell(f"c1 {label} <0.9>", known, "a&b.png", views, 104.6, picture)


@pytest.mark.parametrize("um_per_pixel", [0.05, 0.1, 0.4])
def test_a_cells_picture_is_as_wide_as_the_field_at_every_scale(um_per_pixel: float) -> None:
    """A bright disc of 8 um in the middle of the box."""
    side = round(40 / um_per_pixel)
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - side / 2, y - side / 2) * um_per_pixel < 4
    image = np.where(disc, 255, 0)[..., None].repeat(3, axis=2).astype(np.uint8)
    width = round(10 / um_per_pixel)
    box = BoxReport(x=side // 2 - width // 2, y=side // 2 - width // 2, width=width, height=width)
    shown = cell_picture(image, box, um_per_pixel)
    assert shown.shape == (TILE, TILE, 3)
    assert (shown[TILE // 2, :, 0] > 127).sum() == pytest.approx(8 / FIELD_UM * TILE, abs=4)


def test_beyond_the_frames_border_a_picture_is_light_grey() -> None:
    shown = cell_picture(np.zeros((100, 100, 3), np.uint8), BoxReport(x=0, y=0, width=0, height=0), 0.1)
    assert tuple(shown[10, 10]) == BEYOND
    assert not shown[-10, -10].any()


def test_the_sheet_has_a_row_for_every_so_many_cells_each_above_its_colour() -> None:
    drawn = sheet(gallery(*[gallery_cell(label) for label in LABELS * 3]))
    assert len(sheet(gallery())) == len(sheet(gallery(*[gallery_cell()] * COLUMNS)))
    assert len(drawn) > len(sheet(gallery(gallery_cell())))
    assert tuple(drawn[HEAD + TILE + 2, GAP + TILE // 2]) == COLOURS[LABELS[0]]
    assert (drawn[HEAD : HEAD + TILE, GAP : GAP + TILE] == GREY).all()
    assert (drawn == COLOURS["not_judged"]).all(axis=2).sum() == 3 * TILE * 4


def test_the_scale_is_shown_only_where_pictures_are_to_scale() -> None:
    scaled, other = (gallery(gallery_cell(), to_scale=to_scale) for to_scale in (True, False))
    assert "10 &micro;m" in page(scaled)
    assert "&micro;m</p>" not in page(other)
    assert not np.array_equal(sheet(scaled), sheet(other))


def test_the_page_says_everything_and_no_text_becomes_markup() -> None:
    text = page(gallery(gallery_cell(), gallery_cell("normal", None, 1), warning="<i>"))
    assert re.findall("<h1>(.*)</h1>", text) == ["Slide &lt;7&gt;"]
    assert '<p class="warning">&lt;i&gt;</p>' in text
    assert re.findall("<figcaption class=.(.*?).>(.*?)<br><small>(.*?)</small>", text) == [
        ("blast", "c1 blast &lt;0.9&gt;", "a&amp;b.png<br>2 views, 105 &micro;m&sup2;"),
        ("normal", "c1 normal &lt;0.9&gt;", "a&amp;b.png<br>1 view, 105 &micro;m&sup2;"),
    ]
    assert (text.count("data:image/jpeg;base64,"), text.count('<div class="none"></div>')) == (1, 1)
