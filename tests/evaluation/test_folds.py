"""Out-of-fold scores and their figures."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import UsageError
from evaluation.datasets.sample import Sample
from evaluation.folds import auroc_by_subject, auroc_of_groups, fold_figures, fold_rows, out_of_fold
from evaluation.metrics import Labels, Numbers, auroc

RNG = np.random.default_rng(5)


def cell(patient: str, fold: int | None) -> Sample:
    return Sample(Path("1.png"), patient, "", "normal", "training", fold=fold)


def drawn(groups: int = 20, cells: int = 30) -> tuple[Labels, Numbers, Labels]:
    owners = np.repeat(np.arange(groups), cells)
    labels = owners % 2
    scores = 1 / (1 + np.exp(-(labels - 0.5 + RNG.normal(size=len(labels)))))
    return labels, scores, owners


def test_no_model_has_seen_the_fold_that_it_scores() -> None:
    folds = np.array([0, 0, 1, 1, 2, 2])
    scores = out_of_fold(folds, lambda rows: lambda held: np.array([len(np.intersect1d(rows, held))] * len(held)) + 1.0)
    assert scores.tolist() == [1.0] * 6
    seen = out_of_fold(folds, lambda rows: lambda held: np.full(len(held), folds[rows].sum(), float))
    assert seen.tolist() == [6, 6, 4, 4, 2, 2]


def test_one_fold_leaves_nothing_to_fit_on() -> None:
    with pytest.raises(UsageError, match="at least two"):
        out_of_fold(np.zeros(4, np.int64), lambda _: lambda held: np.zeros(len(held)))


def test_cells_without_a_fold_and_divided_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="not every cell has a fold"):
        fold_rows([cell("a", 0), cell("b", None)])
    with pytest.raises(UsageError, match="cells of a lie in more than one fold"):
        fold_rows([cell("a", 0), cell("a", 1)])
    assert fold_rows([cell("a", 3), cell("b", 1)]).tolist() == [3, 1]


def test_a_group_weighs_alike_however_many_cells_it_has() -> None:
    """A large group that is scored wrong pulls the figure per cell down, not the one where groups weigh alike."""
    labels = np.array([1] * 10 + [1] * 1000 + [0] * 10)
    scores = np.array([0.9] * 10 + [0.1] * 1000 + [0.5] * 10)
    groups = np.array([0] * 10 + [1] * 1000 + [2] * 10)
    assert auroc(labels, scores) == pytest.approx(10 / 1010)
    assert auroc_of_groups(labels, scores, groups) == pytest.approx(0.5)


def test_groups_of_one_size_weigh_as_cells_do() -> None:
    labels, scores, groups = drawn()
    assert auroc_of_groups(labels, scores, groups) == pytest.approx(auroc(labels, scores))


def test_groups_of_fewer_than_ten_cells_do_not_count_by_subject() -> None:
    labels = np.array([1] * 10 + [0] * 10 + [0] * 9)
    scores = np.array([0.6] * 10 + [0.4] * 10 + [0.9] * 9)
    groups = np.repeat([0, 1, 2], [10, 10, 9])
    assert auroc_by_subject(labels, scores, groups) == auroc_of_groups(labels, scores, groups) == 1
    assert auroc(labels, scores) < 1


def test_the_gain_over_another_score_is_paired() -> None:
    """Two scores that nearly agree differ by little in every resample, though each alone varies with the groups."""
    labels, scores, groups = drawn()
    figures = fold_figures(labels, scores, groups, beside=scores + 1e-6 * RNG.normal(size=len(scores)))
    assert figures["gain"]["high"] - figures["gain"]["low"] < 0.001
    assert figures["auroc"]["high"] - figures["auroc"]["low"] > 0.02
    assert figures["gain"]["value"] == figures["auroc"]["value"] - figures["auroc_beside"]["value"]
    assert all(f["low"] <= f["value"] <= f["high"] for name, f in figures.items() if name != "gain")
