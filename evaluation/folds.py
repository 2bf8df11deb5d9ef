"""Out-of-fold scores and their figures, with intervals over groups of subjects.

A model is fitted once for each fold, on the cells of the other folds; each cell is scored by the model that has seen
nobody of its group. Scores are probabilities of a blast, or anything that rises with it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import UsageError
from evaluation.datasets.sample import Sample
from evaluation.metrics import Labels, Numbers, auroc, bootstrap, weighted_f1

Scorer: TypeAlias = Callable[[Labels], Numbers]
"""Scores of the cells with the given indices."""
MIN_CELLS = 10
"""Groups of fewer cells do not count where each group weighs alike."""


def fold_rows(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """(N,) the fold of each cell; UsageError if a cell has none, or a group lies in two folds."""
    if not samples or any(s.fold is None for s in samples):
        raise UsageError("not every cell has a fold; out-of-fold figures need a data set with folds, such as C-NMC's")
    places: dict[str, int | None] = {}
    for sample in samples:
        if places.setdefault(sample.patient, sample.fold) != sample.fold:
            raise UsageError(f"cells of {sample.patient} lie in more than one fold; folds must not divide a person")
    return np.array([s.fold for s in samples], np.int64)


def group_numbers(samples: Sequence[Sample]) -> Labels:
    """(N,) a number for each patient, or group of subjects that are one."""
    return np.asarray(np.unique([s.patient for s in samples], return_inverse=True)[1], np.int64)


def out_of_fold(folds: Labels, fit: Callable[[Labels], Scorer]) -> Numbers:
    """Score each cell by a model that was fitted without its fold.

    Args:
        folds: (N,) the fold of each cell.
        fit: a scorer, fitted on the cells with the given indices.

    Returns:
        (N,) scores.

    Raises:
        UsageError: there is only one fold, so that nothing is left to fit on.
    """
    names = np.unique(folds)
    if len(names) < 2:  # noqa: PLR2004 - one to fit on, one to score
        raise UsageError("all cells lie in one fold; out-of-fold figures need at least two")
    scores = np.full(len(folds), np.nan)
    for name in names:
        held = np.flatnonzero(folds == name)
        scores[held] = fit(np.flatnonzero(folds != name))(held)
    return scores


def auroc_of_groups(labels: Labels, scores: Numbers, groups: Labels) -> float:
    """AUROC where each group of ``MIN_CELLS`` or more weighs alike, whatever its number of cells.

    The chance that a blast of a group drawn at random scores above a normal cell of another one drawn so.
    """
    weights = _alike(labels, groups)
    return _weighted_auroc(labels, scores, weights)


def auroc_by_subject(labels: Labels, scores: Numbers, groups: Labels) -> float:
    """AUROC of the mean scores of groups with ``MIN_CELLS`` or more cells; a group's label is that of most cells."""
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    enough = sizes >= MIN_CELLS
    means = np.bincount(place, scores, minlength=len(names)) / sizes
    ill = (np.bincount(place, labels, minlength=len(names)) / sizes > 0.5).astype(np.int64)  # noqa: PLR2004 - most
    return auroc(ill[enough], means[enough])


def fold_figures(
    labels: Labels, scores: Numbers, groups: Labels, *, threshold: float = 0.5, beside: Numbers | None = None
) -> dict[str, dict[str, float]]:
    """Figures of out-of-fold scores, each with a 95 % bootstrap interval over groups.

    Args:
        labels: (N,) 1 for a blast.
        scores: (N,) out-of-fold scores.
        groups: (N,) whose each cell is.
        threshold: from which score on a cell is called blast.
        beside: (N,) another score of the same cells, such as the area of their masks; ``gain`` is the difference of the
            two AUROCs, paired: both are taken of the same resamples.

    Returns:
        By figure: value, low, high.
    """

    def measure(rows: Labels, owners: Labels) -> Mapping[str, float]:
        truth, found = labels[rows], scores[rows]
        figures = {
            "auroc": auroc(truth, found),
            "auroc_groups_alike": auroc_of_groups(truth, found, owners),
            "auroc_by_subject": auroc_by_subject(truth, found, owners),
            "weighted_f1": weighted_f1(truth, (found >= threshold).astype(np.int64)),
        }
        if beside is not None:
            figures["auroc_beside"] = auroc(truth, beside[rows])
            figures["gain"] = figures["auroc"] - figures["auroc_beside"]
        return figures

    values, intervals = measure(np.arange(len(labels)), groups), bootstrap(groups, measure)
    return {
        name: {"value": value, "low": intervals[name][0], "high": intervals[name][1]} for name, value in values.items()
    }


def _alike(labels: Labels, groups: Labels) -> Numbers:
    """(N,) weights that sum to one over each group and class; 0 in groups of fewer than ``MIN_CELLS``."""
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    _, kind, alike = np.unique(np.stack([place, labels]), axis=1, return_inverse=True, return_counts=True)
    return np.where(sizes[place] >= MIN_CELLS, 1 / alike[kind.reshape(-1)], 0.0)


def _weighted_auroc(labels: Labels, scores: Numbers, weights: Numbers) -> float:
    """Mann and Whitney's chance with weights, ties counting half; NaN if one class weighs nothing."""
    _, place = np.unique(scores, return_inverse=True)
    ill = np.bincount(place, weights * (labels == 1))
    healthy = np.bincount(place, weights * (labels == 0))
    total = float(ill.sum() * healthy.sum())
    if total == 0:
        return float("nan")
    below = np.cumsum(healthy) - healthy
    return float((ill * (below + healthy / 2)).sum() / total)
