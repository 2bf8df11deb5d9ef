"""From validation scores to a decision: temperature, threshold and the band of uncertainty."""

import math
from collections.abc import Sequence

import numpy as np

from contract.manifest import Columns, Decision, Unknown
from contract.types import Tensor
from evaluation.metrics import Labels, Numbers, fit_temperature, sigmoid

MISSED_BLASTS = 0.02
"""Share of validation blasts that may fall below the band and so be called normal."""
FALSE_BLASTS = 0.01
"""Share of validation normal cells that may rise above the band and so be called blast."""
DOUBTED, FAR, REACH = 0.02, 0.005, 1.25
"""Share of validation cells that `other` may doubt, and that may be the farthest; how much farther is unknown."""


def choose_decision(labels: Labels, margins: Numbers, *, datasets: Sequence[str] | None = None) -> Decision:
    """Choose how scores become labels.

    The threshold has the best accuracy, data sets weighing alike, and lies midway between two cells. The band reaches
    down until at most ``MISSED_BLASTS`` of the blasts lie below it and up until at most ``FALSE_BLASTS`` of the normal
    cells lie above.

    Args:
        labels: (N,) of the validation cells, both classes present.
        margins: (N,) logit of blast minus logit of normal.
        datasets: (N,) where each comes from: they weigh alike, also in the shares of a class, however many cells each
            has.
    """
    temperature = round(fit_temperature(labels, margins), 4)
    probabilities = sigmoid(margins / temperature)
    homes = datasets or [""] * len(labels)
    weights = _alike(labels, homes)
    threshold = _clear(round(_most_right(labels, probabilities, _share_of(homes)), 3))
    blast, normal = labels == 1, labels == 0
    low = _least(probabilities[blast], weights[blast], MISSED_BLASTS)
    high = -_least(-probabilities[normal], weights[normal], FALSE_BLASTS)
    return Decision(
        temperature=temperature,
        threshold=threshold,
        uncertain_from=min(_clear(math.floor(low * 1000) / 1000), threshold),
        uncertain_to=max(_clear(math.ceil(high * 1000) / 1000), threshold),
    )


def choose_unknown(scores: Tensor, columns: Columns) -> Unknown | None:
    """From where on a cell is too unlike the training's cells to be judged; None where nothing such was learnt.

    Args:
        scores: (N, columns.width) of validation cells, normal ones and blasts.
        columns: what stands where in them.
    """
    if columns.other is None or not columns.distance:
        return None
    other = sigmoid(np.asarray(scores[:, columns.other], np.float64))
    far = float(np.quantile(scores[:, -1], 1 - FAR))
    return Unknown(other=round(max(0.5, float(np.quantile(other, 1 - DOUBTED))), 3), distance=round(REACH * far, 3))


def _alike(labels: Labels, datasets: Sequence[str]) -> Numbers:
    """(N,) weights that sum to one over each class, the data sets of a class alike."""
    _, part, count = np.unique(
        [f"{label} {name}" for label, name in zip(labels, datasets, strict=True)],
        return_inverse=True,
        return_counts=True,
    )
    weights = 1 / count[part]
    return np.asarray(weights / np.bincount(labels, weights, minlength=2)[labels])


def _share_of(datasets: Sequence[str]) -> Numbers:
    """(N,) weights with which the data sets weigh alike."""
    _, place, count = np.unique(datasets, return_inverse=True, return_counts=True)
    return np.asarray(1 / count[place])


def _least(values: Numbers, weights: Numbers, share: float) -> float:
    """The largest of some values below which at most a share of their weights lies."""
    order = np.argsort(values, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weights[order])[:-1]])
    return float(values[order][np.flatnonzero(below <= share + 1e-12)[-1]])


def _most_right(labels: Labels, probabilities: Numbers, weights: Numbers) -> float:
    """The threshold with the best accuracy."""
    order = np.argsort(probabilities, kind="stable")
    ranked, truth, weighed = probabilities[order], labels[order], weights[order]
    missed = np.concatenate([[0], np.cumsum(truth * weighed)])
    refused = np.concatenate([[0], np.cumsum((1 - truth) * weighed)])
    edges = np.concatenate([[0.0], (ranked[1:] + ranked[:-1]) / 2, [1.0]])
    gain = np.where(np.diff(np.concatenate([[-1.0], ranked, [2.0]])) > 0, refused - missed, -1)
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(edges[best[len(best) // 2]])


def _clear(probability: float) -> float:
    """Not so near to 0 or 1 that rounding of scores decides."""
    return min(max(probability, 0.01), 0.99)
