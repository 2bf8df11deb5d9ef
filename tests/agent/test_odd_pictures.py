"""Pictures that show no smear, or one that no one can judge: nothing breaks, and nothing absurd is called a cell."""

import threading
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from agent.sources.synthetic import SyntheticSource
from agent.vision.quality import assess
from agent.vision.segmentation import find_cells
from contract.types import Image

UM = 0.2
BARE, CYTOPLASM, NUCLEUS = (235, 225, 230), (215, 180, 200), (150, 60, 110)
"""Blue, green, red of a Giemsa-stained smear."""


def smear() -> Image:
    with SyntheticSource(frames=1, um_per_pixel=UM, seed=2).open(threading.Event()) as made:
        return next(iter(made)).image


def flat(colour: tuple[int, int, int]) -> Image:
    return np.full((480, 640, 3), colour, np.uint8)


def cell(across_um: float) -> Image:
    """A white cell in the middle of a bare frame."""
    image = flat(BARE)
    for colour, share in ((CYTOPLASM, 1.0), (NUCLEUS, 0.7)):
        cv2.circle(image, (320, 240), round(share * across_um / UM / 2), colour, cv2.FILLED)
    return image


@pytest.mark.parametrize("part", [np.s_[:1], np.s_[:, :1], np.s_[:1, :1], np.s_[:2], np.s_[:, :2]])
def test_a_frame_of_a_row_or_a_column_has_no_cells(part: tuple[slice, ...]) -> None:
    for height in range(0, 400, 40):
        assert find_cells(np.roll(smear(), height, axis=(0, 1))[part], UM) == []


@pytest.mark.parametrize(
    "colour", [BARE, CYTOPLASM, NUCLEUS, (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (255, 255, 0)]
)
def test_a_frame_of_one_colour_has_no_cells(colour: tuple[int, int, int]) -> None:
    assert find_cells(flat(colour), UM) == []


@pytest.mark.parametrize(("across_um", "found"), [(8, 1), (25, 1), (60, 0), (90, 0), (140, 0), (200, 0)])
def test_what_is_larger_than_any_cell_is_none(across_um: float, found: int) -> None:
    assert len(find_cells(cell(across_um), UM)) == found


def noise(_smear: Image) -> Image:
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def clouds(smear: Image) -> Image:
    soft = cv2.GaussianBlur(noise(smear).astype(np.float32), (0, 0), 15)
    return np.asarray(cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]


def overexposed(smear: Image) -> Image:
    return np.asarray(np.clip(smear * 1.5, 0, 255), np.uint8)


def saturated(smear: Image) -> Image:
    return np.where(smear > 128, 255, 0).astype(np.uint8)


def half_stained(_smear: Image) -> Image:
    return np.asarray(np.hstack([flat(NUCLEUS)[:, :320], flat(BARE)[:, 320:]]), np.uint8)


@pytest.mark.parametrize("um", [0.05, 0.1, UM])
@pytest.mark.parametrize("change", [noise, clouds, overexposed, saturated, half_stained])
def test_what_is_found_in_a_spoilt_picture_has_a_size_of_cells_and_is_not_judged(
    change: Callable[[Image], Image], um: float
) -> None:
    picture = change(smear())
    cells = find_cells(picture, um)
    assert all(25 <= cell.area_um2 <= 1000 for cell in cells)
    assert not (cells and assess(picture, um).accepted)
