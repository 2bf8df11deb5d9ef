"""A slide's share of blasts: corrected for the model's known error, and tested at every look."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.slides.statistics import ACUTE_LEUKEMIA, DESIGN_EFFECT, corrected, excludes
from contract.known_error import ModelError, PatientRate
from contract.shares import wilson

LOOKS, STREAMS = 400, 300
FIELDS = int(DESIGN_EFFECT)
Dice = np.random.Generator


def error_of(
    sensitivity: float, specificity: float, spread: tuple[float, float] = (0.0, 0.0), patients: int = 10
) -> ModelError:
    return ModelError(
        sensitivity=PatientRate(mean=sensitivity, std=spread[0], patients=patients),
        specificity=PatientRate(mean=specificity, std=spread[1], patients=patients),
    )


# One look.


def test_the_share_is_that_of_rogan_and_gladen() -> None:
    """(0.30 + 0.95 - 1) / (0.90 + 0.95 - 1) = 0.25 / 0.85."""
    found = corrected(30, 100, error_of(0.9, 0.95))
    assert found is not None
    assert found.fraction == pytest.approx(0.25 / 0.85, abs=1e-6)


def test_the_interval_of_a_model_without_spread_is_that_of_the_draw_of_half_as_many_cells() -> None:
    """Of 50 cells: q = (15 + 1.9207) / 53.8415 = 0.31427, variance 0.0040026, middle 0.31091, half width 0.14588."""
    found = corrected(30, 100, error_of(0.9, 0.95))
    assert found is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.16503, 0.45679), abs=2e-5)
    assert found.interval.level == 0.95


def test_how_patients_differ_counts_in_full() -> None:
    """0.31091^2 * 0.00275 + 0.68909^2 * 0.00275 + 0.0040026 = 0.0055743 with 157 degrees of freedom, t = 1.9752."""
    found = corrected(30, 100, error_of(0.9, 0.95, (0.05, 0.05)))
    assert found is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.13742, 0.48439), abs=3e-5)


def test_more_cells_do_not_shrink_the_interval_below_how_patients_differ() -> None:
    found = corrected(30_000, 100_000, error_of(0.9, 0.95, (0.05, 0.05), patients=1000))
    assert found is not None
    assert found.interval.high - found.interval.low > 2 * 1.96 * 0.05 * (1 - 0.294) / 0.85


@pytest.mark.parametrize(("blasts", "of"), [(5, 50), (30, 100), (150, 300), (90, 100)])
def test_the_interval_is_wider_than_wilsons(blasts: int, of: int) -> None:
    drawn, found = wilson(blasts, of), corrected(blasts, of, error_of(1.0, 1.0))
    assert drawn is not None
    assert found is not None
    assert found.interval.low < drawn.low < drawn.high < found.interval.high


@pytest.mark.parametrize(("blasts", "share"), [(0, 0.0), (1, 0.0), (99, 1.0)])
def test_the_share_stays_within_0_and_1(blasts: int, share: float) -> None:
    found = corrected(blasts, 100, error_of(0.9, 0.95, (0.05, 0.05)))
    assert found is not None
    assert found.fraction == share
    assert 0 <= found.interval.low <= share <= found.interval.high <= 1


def test_labels_like_those_of_a_coin_can_not_be_corrected() -> None:
    assert corrected(30, 100, error_of(0.55, 0.5)) is None
    assert corrected(30, 100, error_of(0.3, 0.5)) is None


def test_nothing_is_said_where_no_share_of_blasts_would_give_what_is_seen() -> None:
    """A model that calls a fifth of the normal cells blast, of every patient alike, calls some of 2,000 blast."""
    assert corrected(0, 2000, error_of(0.9, 0.8, (0.01, 0.01))) is None
    assert corrected(2000, 2000, error_of(0.8, 0.9, (0.01, 0.01))) is None


def test_nothing_is_said_without_cells_or_without_a_known_error() -> None:
    assert corrected(0, 0, error_of(0.9, 0.95)) is None
    assert corrected(30, 100, None) is None


def rate_of(dice: Dice, mean: float, std: float, size: int | None = None) -> NDArray[np.float64]:
    """Sensitivity or specificity of patients: a beta distribution."""
    size_of = mean * (1 - mean) / std**2 - 1
    return np.asarray(dice.beta(mean * size_of, (1 - mean) * size_of, size))


def measured(dice: Dice, mean: float, std: float, patients: int) -> PatientRate:
    """As an export measures it, on 60 cells of each patient."""
    shares = dice.binomial(60, rate_of(dice, mean, std, patients)) / 60
    chance = np.sqrt((shares.mean() * 60 * patients + 2) / (60 * patients + 4) * (1 - shares.mean()) / 60)
    return PatientRate(mean=shares.mean(), std=max(shares.std(ddof=1), chance), patients=patients)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("patients", [5, 13])
def test_the_interval_holds_for_a_new_patient(share: float, patients: int) -> None:
    """Each slide is of a patient of its own, and each model was measured on few others."""
    dice, sure = np.random.default_rng(7), []
    for _ in range(600):
        error = ModelError(
            sensitivity=measured(dice, 0.93, 0.05, patients), specificity=measured(dice, 0.96, 0.03, patients)
        )
        sensitivity, specificity = rate_of(dice, 0.93, 0.05), rate_of(dice, 0.96, 0.03)
        of = int(dice.integers(50, 500))
        found = corrected(int(dice.binomial(of, share * sensitivity + (1 - share) * (1 - specificity))), of, error)
        sure.append(found is not None and found.interval.low <= share <= found.interval.high)
    assert np.mean(sure) >= 0.92


# A look after each cell.


def streams(share: float, *, alike: int = 1, seed: int = 11) -> Iterator[NDArray[np.int64]]:
    """Counts of cells called blast after each cell; so many cells in a row are alike."""
    dice = np.random.default_rng(seed)
    for _ in range(STREAMS):
        yield np.cumsum(np.repeat(dice.random(LOOKS // alike) < share, alike), dtype=np.int64)


def ever(stream: NDArray[np.int64], says: Callable[[int, int], bool]) -> bool:
    return any(says(int(blasts), of) for of, blasts in enumerate(stream, start=1))


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.97])
@pytest.mark.parametrize("alike", [1, FIELDS])
def test_the_sequence_seldom_excludes_the_truth_at_any_look(share: float, alike: int) -> None:
    wrong = [ever(stream, lambda blasts, of: excludes(share, blasts, of)) for stream in streams(share, alike=alike)]
    assert np.mean(wrong) <= 0.05


def test_an_interval_for_one_look_misses_the_truth_at_some_look_of_many() -> None:
    """So it is of no use to somebody who waits until it says what is hoped for."""

    def misses(blasts: int, of: int) -> bool:
        interval = wilson(blasts, of)
        return interval is not None and not interval.low <= 0.2 <= interval.high

    assert np.mean([ever(stream, misses) for stream in streams(0.2)]) > 0.2


@pytest.mark.parametrize("share", [0.05, ACUTE_LEUKEMIA, 0.6])
def test_the_corrected_sequence_seldom_excludes_the_true_share_of_a_new_patient(share: float) -> None:
    dice, wrong = np.random.default_rng(13), []
    error = error_of(0.93, 0.96, (0.05, 0.03), patients=30)
    for _ in range(STREAMS):
        sensitivity, specificity = rate_of(dice, 0.93, 0.05), rate_of(dice, 0.96, 0.03)
        called = share * sensitivity + (1 - share) * (1 - specificity)
        stream = np.cumsum(dice.random(LOOKS) < called, dtype=np.int64)
        wrong.append(ever(stream, lambda blasts, of: excludes(share, blasts, of, error)))
    assert np.mean(wrong) <= 0.05


@pytest.mark.parametrize("share", [0.05, ACUTE_LEUKEMIA, 0.6])
def test_nor_for_patients_about_whom_the_model_is_nearly_always_right(
    share: float,
) -> None:
    """Their specificity is 0.99, the mean over all patients 0.94 with a standard deviation of 0.21."""
    dice, wrong = np.random.default_rng(17), []
    error = error_of(0.9, 0.94, (0.2, 0.21), patients=16)
    for _ in range(STREAMS):
        called = share * rate_of(dice, 0.9, 0.2) + (1 - share) * 0.01
        stream = np.cumsum(dice.random(LOOKS) < called, dtype=np.int64)
        wrong.append(ever(stream, lambda blasts, of: excludes(share, blasts, of, error)))
    assert np.mean(wrong) <= 0.05


def test_such_a_model_may_still_say_that_enough_of_a_healthy_slide_is_seen() -> None:
    """It can not be righter than right about healthy cells, so a slide without blasts is none of leukemia."""
    error = error_of(0.9, 0.94, (0.2, 0.21), patients=16)
    assert excludes(ACUTE_LEUKEMIA, 0, 300, error)
    assert not excludes(ACUTE_LEUKEMIA, 60, 300, error)
    assert not excludes(ACUTE_LEUKEMIA, 150, 300, error)


@pytest.mark.parametrize(("blasts", "of"), [(4, 300), (180, 300)])
def test_a_few_hundred_cells_far_from_the_limit_are_enough(blasts: int, of: int) -> None:
    found = corrected(blasts, of, error_of(0.95, 0.98, (0.03, 0.02)))
    assert found is not None
    assert found.enough


@pytest.mark.parametrize(("blasts", "of"), [(0, 10), (5, 5), (60, 300), (6000, 30_000), (100, 400)])
def test_few_cells_or_a_share_near_the_limit_are_not_enough(blasts: int, of: int) -> None:
    found = corrected(blasts, of, error_of(0.95, 0.98, (0.03, 0.02)))
    assert found is not None
    assert not found.enough


def test_a_share_of_none_or_of_all_is_excluded_by_one_cell_of_the_other_kind() -> None:
    assert excludes(0.0, 1, 50)
    assert excludes(1.0, 49, 50)
    assert not excludes(0.0, 0, 50)
    assert not excludes(0.2, 0, 0), "no cell says nothing"
