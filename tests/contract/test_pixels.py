"""The road from pixels to the network's numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.manifest import CellColours, CellView, InputSpec
from contract.pixels import cut, moved, stack, to_batch

SPEC = InputSpec(um_per_pixel=0.25, size=32, mean=(0.5, 0.6, 0.7), std=(0.1, 0.2, 0.3))


def test_a_crop_covers_the_manifests_field_whatever_the_scale_of_the_frame() -> None:
    """A disc of 4 um is 16 crop pixels wide at 0.25 um, at three camera scales."""
    widths = []
    for scale in (0.05, 0.1, 0.2):
        side = round(40 / scale)
        y, x = np.mgrid[:side, :side]
        disc = (np.hypot(x - side / 2, y - side / 2) * scale < 2).astype(np.uint8) * 255
        crop = cut(np.repeat(disc[..., None], 3, 2), (side / 2, side / 2), scale, SPEC)
        widths.append(int((crop[16, :, 0] > 127).sum()))
    assert all(abs(width - 16) <= 1 for width in widths), widths


def test_a_field_over_the_border_is_continued_with_the_borders_own_pixels() -> None:
    image = np.full((40, 40, 3), 7, np.uint8)
    image[:, 0] = 200
    crop = cut(image, (0, 20), 0.25, SPEC)
    assert crop.shape == (32, 32, 3)
    assert (crop[:, :15] == 200).all()
    assert (crop[:, 20:] == 7).all()


def test_a_field_that_misses_the_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside"):
        cut(np.zeros((40, 40, 3), np.uint8), (500, 20), 0.25, SPEC)


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    scale=st.floats(0.02, 2),
)
def test_any_centre_within_any_frame_gives_a_crop(height: int, width: int, x: float, y: float, scale: float) -> None:
    crop = cut(np.zeros((height, width, 3), np.uint8), (x * width, y * height), scale, SPEC)
    assert crop.shape == (32, 32, 3)


def test_to_batch_swaps_to_red_green_blue_and_normalises() -> None:
    crops = np.zeros((1, 32, 32, 3), np.uint8)
    crops[..., 0], crops[..., 1], crops[..., 2] = 255, 51, 0  # blue, green, red
    batch = to_batch(crops, SPEC)
    assert batch.shape == (1, 3, 32, 32)
    assert batch.dtype == np.float32
    expected = [(0 - 0.5) / 0.1, (0.2 - 0.6) / 0.2, (1 - 0.7) / 0.3]
    np.testing.assert_allclose(batch[0, :, 0, 0], expected, rtol=1e-5)


def test_no_crops_make_an_empty_batch() -> None:
    assert to_batch(stack([], SPEC), SPEC).shape == (0, 3, 32, 32)


def test_crops_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        to_batch(np.zeros((1, 31, 32, 3), np.uint8), SPEC)


def test_cut_does_not_write_into_the_frame() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    before = image.copy()
    cut(image, (3, 3), 0.25, SPEC)[:] = 0
    np.testing.assert_array_equal(image, before)


GOAL = CellColours(mean=(0.5, 0.3, 0.6), std=(0.1, 0.2, 0.05))
ALONE = SPEC.model_copy(update={"cell": CellView(colours=GOAL, surroundings=(1, 0, 0.2))})
SQUARE = np.array([[16, 16], [47, 16], [47, 47], [16, 47]], np.int32)


@pytest.mark.parametrize("um_per_pixel", [0.25, 0.125, 0.0625])
def test_a_cell_alone_keeps_its_pixels_and_loses_its_surroundings(um_per_pixel: float) -> None:
    """Whatever the scale: a square of 8 um at 0.25 um per pixel has 32 pixels a side, and its field the same."""
    grow = round(0.125 / um_per_pixel) if um_per_pixel < 0.125 else 1
    shrink = round(um_per_pixel / 0.125) if um_per_pixel > 0.125 else 1
    outline = (SQUARE * grow / shrink).astype(np.int32)
    side = 64 * grow // shrink
    image = np.full((side, side, 3), 90, np.uint8)
    crop = cut(image, (side / 2, side / 2), um_per_pixel, ALONE, outline=outline)
    within = (crop == 90).all(axis=2)
    outside = (crop == (51, 0, 255)).all(axis=2)
    assert (within | outside).all()
    assert abs(within.sum() - 256) < 70
    assert within[10:22, 10:22].all()


def test_without_an_outline_the_surroundings_stay() -> None:
    crop = cut(np.full((64, 64, 3), 90, np.uint8), (32, 32), 0.25, ALONE)
    assert (crop == 90).all()


def test_a_laboratorys_colours_are_moved_to_the_trainings() -> None:
    rng = np.random.default_rng(0)
    site = CellColours(mean=(0.3, 0.4, 0.5), std=(0.05, 0.1, 0.1))
    pixels = np.clip(rng.normal(site.mean, site.std, (200, 200, 3))[..., ::-1] * 255, 0, 255).astype(np.uint8)
    found = moved(pixels, site, GOAL)[..., ::-1].reshape(-1, 3) / 255
    np.testing.assert_allclose(found.mean(axis=0), GOAL.mean, atol=0.01)
    np.testing.assert_allclose(found.std(axis=0), GOAL.std, atol=0.015)


def test_the_trainings_own_colours_stay_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    assert (moved(pixels, GOAL, GOAL) == pixels).all()
