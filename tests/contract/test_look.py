"""What all measuring begins with: the frame made smaller, and its bare background."""

import numpy as np
import pytest

from contract.look import bare_of, reduced
from contract.types import Image


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(200, 331), (97, 8), (9, 9)])
@pytest.mark.parametrize("times", range(1, 9))
def test_a_reduced_picture_is_the_means_of_whole_blocks(shape: tuple[int, int], times: int) -> None:
    image = noise(*shape)
    small, shrink = reduced(image, 0.1, working_um=times / 10)
    height, width = (side // times for side in shape)
    blocks = image[: height * times, : width * times].reshape(height, times, width, times, 3)
    assert shrink == times
    assert small.shape == (height, width, 3)
    assert np.abs(small - blocks.mean(axis=(1, 3))).max() <= 0.51


def test_a_picture_is_reduced_to_a_pixel_at_most() -> None:
    assert reduced(noise(3, 40), 0.001, working_um=0.2)[0].shape == (1, 13, 3)


@pytest.mark.parametrize("shape", [(30, 40), (480, 640), (1201, 1920)])
def test_the_bare_background_is_the_light_between_the_cells(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = np.where(rng.random((*shape, 1)) < 0.3, (240, 225, 233), (180, 120, 200)) + rng.integers(-2, 3, (*shape, 3))
    assert np.abs(np.subtract(bare_of(image.astype(np.uint8)), (240, 225, 233))).max() <= 1
