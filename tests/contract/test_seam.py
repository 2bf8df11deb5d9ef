"""A shift of all that follows one block is found where it begins; nothing else is taken for one."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.pictures import read_picture
from contract.seam import seam
from contract.types import Image

WIDTH, HEIGHT = 320, 240


def field(noise: float = 2, fall: float = 30) -> Image:
    """Noise on a field that is darker to one corner, with cells: the same each time."""
    rng = np.random.default_rng(5)
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    image = 200 - fall * (down / HEIGHT + right / WIDTH)[..., None] + rng.normal(0, noise, (HEIGHT, WIDTH, 3))
    picture = np.asarray(np.clip(image, 0, 255), np.uint8)
    for x, y in rng.integers(20, [WIDTH - 20, HEIGHT - 20], (12, 2)):
        cv2.circle(picture, (int(x), int(y)), 14, (150, 80, 110), -1, cv2.LINE_AA)
    return picture


def shifted(image: Image, row: int, column: int, by: tuple[int, int, int], block: int = 16) -> Image:
    """All blocks from this one on, in the order of the code, are brighter by so much."""
    after = np.zeros(image.shape[:2], bool)
    after[row * block : (row + 1) * block, column * block :] = True
    after[(row + 1) * block :] = True
    return np.asarray(np.clip(image + after[..., None] * np.array(by), 0, 255), np.uint8)


@pytest.mark.parametrize("by", [(20, 20, 20), (-9, -9, -9), (14, 0, -10)])
@pytest.mark.parametrize(("row", "column"), [(3, 7), (1, 15), (10, 2)])
def test_a_seam_is_found_where_it_begins(row: int, column: int, by: tuple[int, int, int]) -> None:
    found = seam(shifted(field(), row, column, by), "420")
    assert found is not None
    assert abs(found[0] - 16 * row) <= 16
    assert row * 20 + column == pytest.approx(found[0] / 16 * 20 + found[1] / 16, abs=2)


def test_its_blocks_are_smaller_where_colours_are_not_thinned_out() -> None:
    assert seam(shifted(field(), 5, 11, (20, 20, 20), block=8), "444") == (40, 88)


def test_a_grey_picture_may_have_one_too() -> None:
    assert seam(shifted(field(), 5, 11, (20, 20, 20), block=8)[..., :1], "Gray") == (40, 88)


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("noise", [0, 2, 12])
@pytest.mark.parametrize("fall", [0, 10, 80])
def test_a_sound_picture_has_none(quality: int, noise: float, fall: float) -> None:
    """Bright to dark, smooth or noisy, coded coarsely or finely."""
    coded = cv2.imencode(".jpg", field(noise, fall), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    assert seam(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8), "420") is None


@pytest.mark.parametrize("high", [16, 32, 200])
def test_a_bar_from_side_to_side_is_none(high: int) -> None:
    """Cameras draw the time, and black edges, into their pictures."""
    image = field()
    image[:high] = 0
    assert seam(image, "420") is None


def test_a_picture_of_few_blocks_is_not_examined() -> None:
    assert seam(field()[:32, :32], "420") is None


@pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA names no folder of real images")
def test_of_real_pictures_none_has_one() -> None:
    paths = sorted((Path(os.environ["MICROSCOPE_DATA"]) / "bccd" / "JPEGImages").glob("*.jpg"))
    assert len(paths) >= 300
    assert not [path.name for path in paths if seam(read_picture(path, whole=False), "420")]
