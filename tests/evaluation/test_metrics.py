"""Figures against brute force and known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contract.decide import margins_of
from evaluation.decision import choose_decision
from evaluation.metrics import (
    accuracy,
    auroc,
    bootstrap,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    per_patient_accuracy,
    sensitivity,
    sigmoid,
    specificity,
    summary,
    weighted_f1,
)

both = (
    st.integers(4, 30)
    .flatmap(
        lambda n: st.tuples(
            arrays(np.int64, n, elements=st.integers(0, 1)), arrays(np.float64, n, elements=st.integers(-5, 5))
        )
    )
    .filter(lambda pair: 0 < pair[0].sum() < len(pair[0]))
)


@given(both)
def test_auroc_is_the_share_of_pairs_in_order(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = pair
    blasts, others = scores[labels == 1], scores[labels == 0]
    wins = [(b > o) + 0.5 * (b == o) for b in blasts for o in others]
    assert auroc(labels, scores) == pytest.approx(np.mean(wins))


@given(both)
def test_auroc_turns_over_with_the_labels_and_ignores_the_scale(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = pair
    assert auroc(1 - labels, scores) == pytest.approx(1 - auroc(labels, scores))
    assert auroc(labels, np.exp(scores)) == pytest.approx(auroc(labels, scores))


def test_auroc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(auroc(np.ones(3, np.int64), np.arange(3.0)))


def test_shares_of_a_known_table() -> None:
    """40 blasts of which 30 are found, 60 others of which 54 are left in peace."""
    labels = np.repeat([1, 0], [40, 60])
    called = np.concatenate([np.repeat([1, 0], [30, 10]), np.repeat([1, 0], [6, 54])])
    assert sensitivity(labels, called) == 0.75
    assert specificity(labels, called) == 0.9
    assert accuracy(labels, called) == 0.84
    blast, normal = 60 / 76, 108 / 124
    assert weighted_f1(labels, called) == pytest.approx(0.4 * blast + 0.6 * normal)


def test_calibration_error_of_known_bins() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    assert expected_calibration_error(labels, np.array([0.75, 0.75, 0.75, 0.75, 0.0])) == pytest.approx(0)
    assert expected_calibration_error(labels, np.array([0.5, 0.5, 0.5, 0.5, 1.0])) == pytest.approx((4 * 0.25 + 1) / 5)


def test_patients_count_alike_however_many_cells_they_have() -> None:
    labels = np.ones(5, np.int64)
    mean, worst = per_patient_accuracy(labels, np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 1]))
    assert (mean, worst) == (0.5, 0.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_scores_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, 20000)
    labels = (rng.random(20000) < sigmoid(margins)).astype(np.int64)
    found = fit_temperature(labels, margins * temperature)
    assert found == pytest.approx(temperature, rel=0.05)
    assert log_loss(labels, margins * temperature / found) <= log_loss(labels, margins * temperature) + 1e-9


def test_intervals_are_over_patients_not_over_cells() -> None:
    """Many cells of few patients tell little about new patients."""
    rng = np.random.default_rng(0)
    level = rng.random(8)
    few = np.repeat(np.arange(8), 200)
    right = (rng.random(1600) < level[few]).astype(float)

    def mean(rows: np.ndarray, _owners: np.ndarray) -> dict[str, float]:
        return {"share": float(right[rows].mean())}

    by_patient = bootstrap(few, mean, draws=300)["share"]
    by_cell = bootstrap(np.arange(1600), mean, draws=300)["share"]
    assert by_patient[1] - by_patient[0] > 4 * (by_cell[1] - by_cell[0])
    assert by_patient[0] < right.mean() < by_patient[1]


def test_a_patient_drawn_twice_counts_twice() -> None:
    seen: list[int] = []

    def note(rows: np.ndarray, owners: np.ndarray) -> dict[str, float]:
        seen.append(len(np.unique(owners)))
        return {"cells": float(len(rows))}

    assert bootstrap(np.array([4, 4, 9, 9]), note, draws=20)["cells"] == (4.0, 4.0)
    assert set(seen) == {2}


def test_the_summary_of_a_perfect_classifier() -> None:
    labels = np.array([0, 0, 1, 1])
    found = summary(labels, labels.astype(float), np.array([0, 1, 0, 1]), threshold=0.5)
    assert found.pop("ece") == 0
    assert set(found.values()) == {1.0}


@given(st.integers(0, 2**32))
def test_a_decision_is_in_order_and_keeps_its_promises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [300, 150])
    margins = rng.normal(np.where(labels == 1, 2, -2), 1.5)
    decision = choose_decision(labels, margins)
    probabilities = sigmoid(margins / decision.temperature)
    clear = (probabilities > 0.02) & (probabilities < 0.98)
    assert decision.uncertain_from <= decision.threshold <= decision.uncertain_to
    assert (clear & (labels == 1) & (probabilities < decision.uncertain_from)).sum() <= 0.02 * 150
    assert (clear & (labels == 0) & (probabilities > decision.uncertain_to)).sum() <= 0.01 * 300


def test_the_band_reaches_the_cell_that_a_share_falls_between() -> None:
    """Of 20 blasts and 20 normal cells not one may lie beyond it, for one is more than the share that may."""
    labels = np.repeat([0, 1], 20)
    margins = np.where(labels == 1, 2.0, -2.0) + np.tile(np.linspace(-0.2, 0.2, 20), 2)
    margins[20], margins[19] = -2.05, 2.05  # the one blast amid the normal cells, and the other way round
    decision = choose_decision(labels, margins)
    probabilities = sigmoid(margins / decision.temperature)
    assert decision.uncertain_from <= probabilities[20] < decision.threshold
    assert decision.uncertain_to >= probabilities[19] > decision.threshold


def test_the_threshold_separates_what_can_be_separated() -> None:
    labels = np.repeat([0, 1], 50)
    margins = np.where(labels == 1, 3.0, -3.0) + np.linspace(-1, 1, 100)
    decision = choose_decision(labels, margins)
    called = sigmoid(margins / decision.temperature) >= decision.threshold
    assert np.array_equal(called, labels == 1)


def test_the_threshold_has_the_best_accuracy_where_classes_overlap() -> None:
    """Of few blasts amid many normal cells more are missed than by a threshold that weighs the classes alike."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [1900, 100])
    margins = rng.normal(labels * 2.0, 1)
    decision = choose_decision(labels, margins)
    called = (sigmoid(margins / decision.temperature) >= decision.threshold).astype(np.int64)
    best = max(((margins >= edge) == labels).mean() for edge in margins)
    assert (called == labels).mean() >= best - 0.002


def test_margins_are_blast_minus_normal() -> None:
    assert margins_of(np.array([[1, 4], [2, 0]], np.float32)).tolist() == [3, -2]


def test_data_sets_of_a_class_weigh_alike_in_a_decision() -> None:
    """A large one in which cells are hard to tell does not choose for a small one in which they are easy."""
    rng = np.random.default_rng(0)
    hard, easy = np.repeat([0, 1], [2000, 2000]), np.repeat([0, 1], [200, 200])
    labels = np.concatenate([hard, easy])
    margins = np.concatenate([rng.normal(hard * 1.0 - 1.5, 1), rng.normal(easy * 8.0 - 2.0, 1)])
    datasets = ["hard"] * len(hard) + ["easy"] * len(easy)
    alike, pooled = choose_decision(labels, margins, datasets=datasets), choose_decision(labels, margins)
    assert alike.threshold > pooled.threshold
    right = {}
    for name, decision in (("alike", alike), ("pooled", pooled)):
        called = sigmoid(margins / decision.temperature) >= decision.threshold
        parts = (np.mean(called[rows] == labels[rows]) for rows in (slice(4000), slice(4000, None)))
        right[name] = np.mean(list(parts))
    assert right["alike"] > right["pooled"]
