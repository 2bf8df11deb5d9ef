"""Augmentation changes what may differ between two pictures of a cell, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.augment import LIGHT, Jitter, alone, augment, degrade, move, stain, tint

STILL = Jitter(shift_um=0, scale=0, stain=0, background=0, blur_px=0, noise=0, tint=0, alone=0)


def dotted(side: int = 63) -> np.ndarray:
    """A black square with a white dot in the middle."""
    image = np.zeros((side, side, 3), np.uint8)
    middle = side // 2
    image[middle - 1 : middle + 2, middle - 1 : middle + 2] = 255
    return image


def centre_of(image: np.ndarray) -> np.ndarray:
    light = image[..., 0].astype(float)
    y, x = np.indices(light.shape)
    return np.array([(x * light).sum() / light.sum(), (y * light).sum() / light.sum()])


@given(st.integers(0, 2**32))
def test_turning_keeps_the_middle_in_the_middle(seed: int) -> None:
    view = move(dotted(), 31, 0, 0.08, np.random.default_rng(seed))
    assert np.abs(centre_of(view) - 15).max() < 0.2


@given(st.integers(0, 2**32))
def test_a_shift_is_no_longer_than_asked(seed: int) -> None:
    view = move(dotted(), 31, 4, 0, np.random.default_rng(seed))
    assert np.hypot(*(centre_of(view) - 15)) < 4 * np.sqrt(2) + 0.3


@given(st.integers(0, 2**32))
def test_without_jitter_colours_stay(seed: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    rng = np.random.default_rng(seed)
    same = degrade(stain(crop, STILL, rng), STILL, rng)
    assert np.abs(same.astype(int) - crop).max() <= 1


def test_the_same_chance_gives_the_same_views_and_leaves_the_crops_alone() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 4), np.uint8)
    before = wide.copy()
    first = augment(wide, 32, 0.2, Jitter(), np.random.default_rng(5))
    second = augment(wide, 32, 0.2, Jitter(), np.random.default_rng(5))
    other = augment(wide, 32, 0.2, Jitter(), np.random.default_rng(6))
    assert first.shape == (4, 32, 32, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(wide, before)


def test_some_views_keep_their_pixels_exactly() -> None:
    """Turned by right angles alone, a crop keeps its values: the network sees pixels as sharp as the agent's."""
    crop = np.random.default_rng(0).integers(0, 256, (33, 33, 3), np.uint8)
    views = [move(crop, 33, 0, 0.08, np.random.default_rng(k)) for k in range(60)]
    turned = [np.rot90(m, k) for m in (crop, crop[:, ::-1]) for k in range(4)]
    exact = [v for v in views if any(np.array_equal(v, t) for t in turned)]
    assert 5 <= len(exact) <= 30


def test_a_cell_alone_keeps_its_pixels_and_loses_its_surroundings_along_a_wavering_outline() -> None:
    crop = np.full((60, 60, 3), 100, np.uint8)
    y, x = np.indices((60, 60))
    away = np.hypot(y - 30, x - 30)
    mask = np.where(away < 15, 255, 0).astype(np.uint8)
    rng, sizes, light = np.random.default_rng(0), set(), 0
    for _ in range(60):
        view = alone(crop, mask, Jitter(alone=1), rng)
        assert (view[away < 11] == 100).all()
        assert (view[away > 20] != 100).all()
        sizes.add(int((view == 100).all(axis=2).sum()))
        light += bool(np.abs(view[0, 0, ::-1] / 255 - LIGHT).max() < 0.08)
    assert len(sizes) > 3
    assert 40 < light < 60, "now and then it lies on black"


def test_a_cell_without_an_outline_keeps_its_surroundings() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    assert np.array_equal(alone(crop, np.zeros((20, 20), np.uint8), Jitter(alone=1), np.random.default_rng(0)), crop)


def test_a_tint_moves_each_colour_as_a_whole() -> None:
    """What was equal stays equal, and what was lighter stays lighter."""
    crop = np.random.default_rng(0).integers(60, 190, (20, 20, 3), np.uint8)
    view = tint(crop, Jitter(), np.random.default_rng(3))
    assert not np.array_equal(view, crop)
    for plane in range(3):
        order = np.argsort(crop[..., plane], axis=None, kind="stable")
        assert (np.diff(view[..., plane].reshape(-1)[order].astype(int)) >= 0).all()
    assert np.array_equal(tint(crop, Jitter(tint=0), np.random.default_rng(3)), crop)
