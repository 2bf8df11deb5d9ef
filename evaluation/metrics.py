"""How good scores are: small numpy functions, each with its source.

``labels`` are (N,) 0 or 1 (blast); ``probabilities`` are (N,) of a blast; ``patients`` are (N,) numbers
of patients.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]


LEAST_SPREAD = 1e-3
"""In logits: margins that differ by less are alike."""


def in_sigmas(distance: float, margins: Numbers) -> float | None:
    """A distance between margins in units of their own spread; None where these are alike."""
    spread = float(margins.std()) if len(margins) else 0.0
    return distance / spread if spread > LEAST_SPREAD else None


def of_sigma(found: Mapping[str, float | None]) -> str:
    """The distance of the margins in units of their spread, as text."""
    share = found["rmse_over_sigma"]
    return "n/a" if share is None else f"{share:.4f}"


def auroc(labels: Labels, scores: Numbers) -> float:
    """Area under the ROC curve: the chance that a blast scores above a normal cell, ties counting half.

    Mann and Whitney 1947. NaN if one class is missing.
    """
    positive = int(labels.sum())
    negative = len(labels) - positive
    if positive == 0 or negative == 0:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    wins = rank[place][labels == 1].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * negative))


def log_loss(labels: Labels, margins: Numbers) -> float:
    """Mean negative log-likelihood of the labels, from margins (logit of blast minus logit of normal)."""
    return float(np.logaddexp(0, np.where(labels == 1, -margins, margins)).mean())


def sigmoid(margins: Numbers) -> Numbers:
    """Probability of a blast from its margin."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -60, 60))))


def fit_temperature(labels: Labels, margins: Numbers) -> float:
    """The temperature with the least log loss (Guo et al. 2017), by golden-section search on its logarithm."""
    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_loss(labels, margins / np.exp(left)) < log_loss(labels, margins / np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def expected_calibration_error(labels: Labels, probabilities: Numbers, bins: int = 15) -> float:
    """Mean distance between the probability of a blast and the share of blasts, over equal bins (Naeini 2015)."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    sums = np.bincount(place, labels - probabilities, minlength=bins)
    return float(np.abs(sums).sum() / len(labels))


def sensitivity(labels: Labels, called: Labels) -> float:
    """Share of blasts that are called blast; NaN without blasts."""
    return _share(called[labels == 1] == 1)


def specificity(labels: Labels, called: Labels) -> float:
    """Share of normal cells that are called normal; NaN without normal cells."""
    return _share(called[labels == 0] == 0)


def accuracy(labels: Labels, called: Labels) -> float:
    """Share of cells that are called what they are."""
    return _share(called == labels)


def weighted_f1(labels: Labels, called: Labels) -> float:
    """F1 of each class, weighted by its number of cells."""
    total = 0.0
    for kind in (0, 1):
        hits = int(((labels == kind) & (called == kind)).sum())
        size, found = int((labels == kind).sum()), int((called == kind).sum())
        total += size * (2 * hits / (size + found) if size + found else 0.0)
    return total / len(labels)


def per_patient_accuracy(labels: Labels, called: Labels, patients: Labels) -> tuple[float, float]:
    """Mean and worst accuracy over patients."""
    _, place = np.unique(patients, return_inverse=True)
    right = np.bincount(place, called == labels) / np.bincount(place)
    return float(right.mean()), float(right.min())


def summary(labels: Labels, probabilities: Numbers, patients: Labels, *, threshold: float) -> dict[str, float]:
    """Every figure that is reported, by name."""
    called = (probabilities >= threshold).astype(np.int64)
    mean, worst = per_patient_accuracy(labels, called, patients)
    return {
        "auroc": auroc(labels, probabilities),
        "accuracy": accuracy(labels, called),
        "weighted_f1": weighted_f1(labels, called),
        "sensitivity": sensitivity(labels, called),
        "specificity": specificity(labels, called),
        "ece": expected_calibration_error(labels, probabilities),
        "patient_accuracy_mean": mean,
        "patient_accuracy_worst": worst,
    }


WITHOUT_INTERVAL = ("patient_accuracy_worst",)
"""The bootstrap says nothing of an extreme (Bickel and Freedman 1981): no draw has a patient worse than the worst."""


def bootstrap(
    patients: Labels,
    measure: Callable[[Labels, Labels], Mapping[str, float]],
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of figures over patients drawn with replacement (Efron 1979).

    Args:
        patients: (N,) whose each cell is; a patient comes with all cells, so that the interval holds for new patients.
        measure: figures of the cells with the given indices and owners; a patient drawn twice is two owners.
        draws: number of resamples.
        seed: of the draws.
        confidence: of the interval.

    Returns:
        Lower and upper bound of each figure; resamples in which a figure is NaN are left out.
    """
    names, place = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        drawn = [members[k] for k in rng.integers(len(names), size=len(names))]
        owners = np.repeat(np.arange(len(drawn)), [len(d) for d in drawn])
        for name, value in measure(np.concatenate(drawn), owners).items():
            found.setdefault(name, []).append(value)
    tail = 100 * (1 - confidence) / 2
    return {name: _interval(values, tail) for name, values in found.items()}


def _interval(values: list[float], tail: float) -> tuple[float, float]:
    sound = [v for v in values if not np.isnan(v)]
    if not sound:
        return float("nan"), float("nan")
    low, high = np.percentile(sound, [tail, 100 - tail])
    return float(low), float(high)


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
