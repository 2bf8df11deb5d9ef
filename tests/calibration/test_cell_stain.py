"""Hue and strength of a stain mean what they say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.cell_stain import stains
from contract.types import Image

AZURE, EOSIN = np.array([0.1, 0.3, 0.5]), np.array([0.2, 0.6, 0.05])
"""Optical densities in blue, green and red, of about the two dyes."""


def stained(density: NDArray[np.float64], amount: float) -> Image:
    """White, with a disc that holds so much of a dye."""
    rows, columns = np.mgrid[:32, :32]
    disc = (rows - 16) ** 2 + (columns - 16) ** 2 < 100
    light = np.where(disc[..., None], 10 ** (-amount * density), 1.0)
    return np.asarray(np.rint(255 * light), np.uint8)


def test_azure_has_a_larger_hue_than_eosin_and_more_dye_only_more_strength() -> None:
    crops = np.array([stained(dye, amount) for dye in (EOSIN, AZURE) for amount in (0.5, 1.0)])
    found = stains(crops)
    hue, strength = found[:, 0], found[:, 1]
    assert hue[0] == pytest.approx(hue[1], abs=1)
    assert hue[2] == pytest.approx(hue[3], abs=1)
    assert hue[0] + 30 < hue[2]
    assert strength[1::2] / strength[::2] == pytest.approx(2, rel=0.05)


def test_the_hue_is_the_angle_of_the_two_densities() -> None:
    [[hue, strength]] = stains(np.array([stained(AZURE, 1.0)]))
    assert hue == pytest.approx(np.degrees(np.arctan2(0.5, 0.3)), abs=1)
    assert strength == pytest.approx(np.hypot(0.5, 0.3), rel=0.02)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_plain_crop_has_a_stain_too_and_no_crop_has_none(grey: int) -> None:
    assert np.isfinite(stains(np.full((2, 8, 8, 3), grey, np.uint8))).all()
    assert stains(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 2)
