"""Medians and quantiles are those of NumPy, to the bit."""

import numpy as np
import pytest

from contract.ranks import median, medians, quantile

SIZES = (1, 2, 3, 10, 999, 5000)


@pytest.mark.parametrize("size", SIZES)
def test_medians_are_those_of_numpy(size: int) -> None:
    rows = np.random.default_rng(size).normal(0, 1, (size, 3)).astype(np.float32)
    assert np.array_equal(medians(rows), np.median(rows, axis=0))


@pytest.mark.parametrize("size", SIZES)
def test_a_median_is_that_of_numpy(size: int) -> None:
    values = np.random.default_rng(size).normal(0, 1, size).astype(np.float32)
    assert median(values) == np.median(values)


@pytest.mark.parametrize("size", SIZES)
def test_a_quantile_of_whole_numbers_is_that_of_numpy(size: int) -> None:
    values = np.random.default_rng(size).integers(0, 2040, size).astype(np.int16)
    assert quantile(values, 0.5) == float(np.quantile(values, 0.5))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_a_quantile_is_that_of_numpy(size: int, kind: type[np.floating], share: float) -> None:
    values = np.random.default_rng(size).normal(0, 1, size).astype(kind)
    assert quantile(values, share) == float(np.quantile(values, share))
