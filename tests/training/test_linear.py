"""Linear scores: the regression is at its minimum; the discriminant is Fisher's, and serves all people."""

import numpy as np
import pytest

from evaluation.metrics import Labels, Numbers, auroc, sigmoid
from training.linear import discriminant, logistic


def test_the_regression_is_at_its_minimum() -> None:
    """The gradient of the penalised log loss is zero there."""
    rng = np.random.default_rng(0)
    rows, truth, share = rng.normal(size=(200, 5)), rng.integers(0, 2, 200), rng.random(200)
    share /= share.sum()
    slope, bias = logistic(rows, truth, share, penalty=0.01)
    rest = share * (sigmoid(rows @ slope + bias) - truth)
    np.testing.assert_allclose(rows.T @ rest + 2 * 0.01 * slope, 0, atol=1e-5)
    assert rest.sum() == pytest.approx(0, abs=1e-5)


def drawn(rng: np.random.Generator, each: int) -> tuple[Numbers, Labels]:
    """Feature 0 tells the classes, and so does 1, which varies with 2."""
    truth = np.repeat([0, 1], each)
    rows = rng.normal(size=(2 * each, 4))
    rows[:, 1] += 3 * rows[:, 2] + 1.5 * truth
    rows[:, 0] += 1.5 * truth
    return rows, truth


def halves(truth: Labels) -> Numbers:
    return np.asarray(0.5 / np.bincount(truth)[truth], np.float64)


def test_the_discriminant_has_fishers_direction() -> None:
    rows, truth = drawn(np.random.default_rng(0), 20_000)
    slope, _ = discriminant(rows, truth, halves(truth), np.zeros(len(rows), np.int64))
    within = np.mean([np.cov(rows[truth == k].T, bias=True) for k in (0, 1)], axis=0)
    means = [rows[truth == k].mean(axis=0) for k in (0, 1)]
    expected = np.linalg.solve(within + 0.05 * np.eye(4), means[1] - means[0])
    cosine = slope @ expected / np.linalg.norm(slope) / np.linalg.norm(expected)
    assert cosine > 0.999


def test_its_score_is_a_log_odds() -> None:
    rows, truth = drawn(np.random.default_rng(0), 20_000)
    slope, bias = discriminant(rows, truth, halves(truth), np.zeros(len(rows), np.int64))
    chance = sigmoid(rows @ slope + bias)
    for low in (0.2, 0.4, 0.6):
        near = (chance > low) & (chance < low + 0.2)
        assert truth[near].mean() == pytest.approx(low + 0.1, abs=0.04)


def test_what_must_not_count_does_not() -> None:
    rows, truth = drawn(np.random.default_rng(0), 2_000)
    owners = np.zeros(len(rows), np.int64)
    nuisance = np.diag([100.0, 0, 0, 0])
    slope, _ = discriminant(rows, truth, halves(truth), owners, nuisance=nuisance)
    free, _ = discriminant(rows, truth, halves(truth), owners)
    assert abs(slope[0]) < 0.05 * abs(free[0])
    assert slope[1] == pytest.approx(free[1], rel=0.3)


def test_people_on_whom_it_does_badly_count_for_more() -> None:
    """Nine people's blasts are known by feature 0, the tenth's by 3 alone."""
    rng = np.random.default_rng(0)
    owners = np.tile(np.repeat(np.arange(10), 100), 2)
    truth = np.repeat([0, 1], 1000)
    rows = rng.normal(size=(2000, 4))
    odd = owners == 9
    rows[truth == 1, 0] += np.where(odd[truth == 1], -1, 2)
    rows[(truth == 1) & odd, 3] += 3
    alike, _ = discriminant(rows, truth, halves(truth), owners)
    together, _ = discriminant(rows, truth, halves(truth), np.zeros(len(rows), np.int64))
    tenth = odd | (truth == 0)
    known = [auroc(truth[tenth], rows[tenth] @ slope) for slope in (alike, together)]
    assert known[0] > known[1] + 0.05
    assert auroc(truth, rows @ alike) > 0.8
