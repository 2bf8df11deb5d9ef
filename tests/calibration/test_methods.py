"""What holds for every calibration method, and for the histogram that all of them read."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.histogram import BINS, Histogram
from calibration.methods import KL_BINS, KL_LEVELS, METHODS, _divergence, _rebinned, percentile, range_of
from common.errors import CheckError

VALUES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30)
EVERY = st.sampled_from(sorted(METHODS))


def seen(values: list[float] | NDArray[np.float32], batches: int = 1) -> Histogram:
    """The histogram of values that came in several batches."""
    histogram = Histogram()
    for part in np.array_split(np.array(values, np.float32), batches):
        histogram.add(part)
    return histogram


def bell(count: int = 20_000) -> NDArray[np.float32]:
    """A normal distribution."""
    return np.random.default_rng(0).normal(size=count).astype(np.float32)


@given(VALUES, EVERY)
def test_a_range_is_never_wider_than_what_was_seen_and_never_reversed(values: list[float], method: str) -> None:
    low, high = range_of(seen(values), method)
    assert min(values) <= low <= high <= max(values)


@given(VALUES, EVERY)
def test_a_range_reaches_to_both_signs_that_were_seen(values: list[float], method: str) -> None:
    low, high = range_of(seen(values), method)
    assert (low < 0) == (min(values) < 0)
    assert (high > 0) == (max(values) > 0)


@given(VALUES, EVERY)
def test_a_range_gives_a_scale_over_zero_unless_all_values_are_zero(values: list[float], method: str) -> None:
    low, high = range_of(seen(values), method)
    assert (max(abs(low), abs(high)) > 0) == any(values)


@given(VALUES, EVERY, st.integers(1, 5), st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_size_of_batches_matters(
    values: list[float], method: str, batches: int, chance: Random
) -> None:
    mixed = list(values)
    chance.shuffle(mixed)
    assert range_of(seen(values), method) == range_of(seen(mixed, batches), method)


def test_a_batch_of_zeros_does_not_widen_the_bins() -> None:
    assert seen([0.0, 6.9e-31], batches=2).exponent == seen([0.0, 6.9e-31]).exponent


@given(VALUES, EVERY)
def test_reading_a_histogram_leaves_it_as_it_was(values: list[float], method: str) -> None:
    histogram = seen(values)
    first = range_of(histogram, method)
    assert range_of(histogram, method) == first
    assert histogram.counts.sum() == len(values)


@given(VALUES)
def test_minmax_covers_everything_and_no_more(values: list[float]) -> None:
    assert range_of(seen(values), "minmax") == (min(values), max(values))


@given(VALUES, st.floats(50, 100))
def test_percentile_covers_the_share_that_it_promises(values: list[float], share: float) -> None:
    reach = percentile(seen(values), share=share)
    assert np.mean(np.abs(np.array(values, np.float32)) <= reach) >= share / 100 - 1e-9


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30), st.integers(1, 6))
def test_a_histogram_has_bins_over_all_that_was_seen(values: list[float], batches: int) -> None:
    histogram = seen(values, batches)
    assert histogram.counts.sum() == len(values)
    assert histogram.magnitude == max(map(abs, values))
    assert 1 <= histogram.used <= BINS
    assert not histogram.counts[histogram.used :].any()


def test_every_magnitude_lies_in_its_bin() -> None:
    values = bell()
    histogram = seen(values, 7)
    edges = np.arange(BINS + 1) * histogram.width
    assert histogram.counts.tolist() == np.histogram(np.abs(values), edges)[0].tolist()
    assert histogram.used > BINS / 2


def test_percentile_and_mse_leave_out_a_single_outlier_and_minmax_does_not() -> None:
    histogram = seen(np.append(bell(200_000), np.float32(100)))
    assert range_of(histogram, "minmax")[1] == 100
    assert range_of(histogram, "percentile", {"share": 99.99})[1] < 6
    assert range_of(histogram, "mse")[1] < 50


def test_mse_finds_the_range_with_the_least_error_of_rounding() -> None:
    """Against the error on the values themselves, over the same candidates."""
    values = bell()
    most = float(np.abs(values).max())
    edges = most * np.arange(1, 257) / 256
    errors = []
    for edge in edges:
        scale = edge / 127
        errors.append(float(np.mean((values - np.clip(np.rint(values / scale), -127, 127) * scale) ** 2)))
    best = float(edges[int(np.argmin(errors))])
    assert METHODS["mse"](seen(values)) == pytest.approx(best, rel=0.05)


def test_entropy_clips_rare_large_values_that_minmax_keeps() -> None:
    """Its known weakness: zeros by the thousand outweigh the few values that a network decides by."""
    values = np.concatenate([np.zeros(90_000), np.abs(bell(9_900)), np.full(100, 8.0)]).astype(np.float32)
    assert METHODS["entropy"](seen(values)) < 8 <= METHODS["minmax"](seen(values))


@pytest.mark.parametrize("shape", ["bell", "few", "one", "level", "tail"])
def test_entropy_cuts_where_the_plain_sum_over_every_cut_is_least(shape: str) -> None:
    numbers = np.random.default_rng(7)
    values = {
        "bell": bell(),
        "few": numbers.uniform(0, 9, 12).astype(np.float32),
        "one": np.full(30, 3.0, np.float32),
        "level": np.linspace(0, 1, 50_000, dtype=np.float32),
        "tail": numbers.standard_t(2, 5_000).astype(np.float32),
    }[shape]
    histogram = seen(values)
    counts = _rebinned(histogram, KL_BINS)
    plain = [_divergence(counts, cut) for cut in range(KL_LEVELS, KL_BINS + 1)]
    cut = KL_LEVELS + int(np.argmin(plain))
    assert METHODS["entropy"](histogram) == histogram.magnitude * cut / KL_BINS


def test_what_is_no_number_is_refused() -> None:
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(CheckError, match="infinite or no number"):
            seen([1.0, wrong])


def test_an_empty_batch_changes_nothing() -> None:
    histogram = seen([1.0, -2.0])
    histogram.add(np.zeros((0, 3), np.float32))
    assert (histogram.low, histogram.high, histogram.counts.sum()) == (-2.0, 1.0, 2)
