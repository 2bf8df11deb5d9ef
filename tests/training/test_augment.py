"""Augmentation changes what may differ between two pictures of a cell, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.augment import Jitter, augment, degrade, move, stain

STILL = Jitter(shift_um=0, scale=0, stain=0, background=0, blur_px=0, noise=0)


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
    wide = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
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
