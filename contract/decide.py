"""The only thresholding, abstention included."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.labels import Label
from contract.manifest import OTHER, TWO, Columns, Decision, Manifest, Precision, Unknown
from contract.types import Cells, Doubt, Prediction, Tensor

Numbers = NDArray[np.float64]


def margins_of(scores: Tensor, columns: Columns = TWO) -> Numbers:
    """Score of the blasts less that of normal, (N,) from (N, columns.width).

    Kinds of blasts count together, by the logarithm of their summed exponentials.
    """
    rows = np.asarray(scores, np.float64)
    return np.asarray(np.logaddexp.reduce(rows[:, list(columns.blasts)], axis=1) - rows[:, columns.normal])


def blast_probability(scores: Tensor, manifest: Manifest, precision: Precision) -> Numbers:
    """Calibrated probability of a blast for each row of scores.

    Args:
        scores: (N, width) in the order of ``manifest.columns``.
        manifest: names the columns and, for each precision, the temperature (Guo et al. 2017).
        precision: in which the scores were computed.

    Returns:
        (N,) in 0 to 1.
    """
    return _logistic(margins_of(scores, manifest.columns) / manifest.decisions.of(precision).temperature)


def class_probabilities(scores: Tensor, columns: Columns, temperature: float) -> Numbers:
    """Probability of each class but `other`, (N, classes) in the order of ``columns.names``, `other` left at 0.

    That of the blasts is shared out among their kinds as their scores, divided by the temperature, say.
    """
    rows = np.asarray(scores, np.float64)
    blast = _logistic(margins_of(scores, columns) / temperature)
    kinds = rows[:, list(columns.blasts)] / temperature
    shares = np.exp(kinds - np.logaddexp.reduce(kinds, axis=1)[:, None])
    found = np.zeros((len(rows), len(columns.names)))
    found[:, columns.normal] = 1 - blast
    found[:, list(columns.blasts)] = shares * blast[:, None]
    return found


def doubts_of(scores: Tensor, columns: Columns, unknown: Unknown | None) -> list[tuple[Doubt, ...]]:
    """Why each cell can not be judged, by what it is like; nothing for a cell like those of the training."""
    if unknown is None or columns.other is None:
        return [()] * len(scores)
    rows = np.asarray(scores, np.float64)
    other = _logistic(rows[:, columns.other]) > unknown.other
    far = rows[:, -1] > unknown.distance
    return [(*(("other",) if o else ()), *(("unlike_training",) if f else ())) for o, f in zip(other, far, strict=True)]


def label_of(probability: float, decision: Decision) -> Label:
    """Name a probability: ``normal`` below the band of uncertainty, ``blast`` above it."""
    if probability < decision.uncertain_from:
        return "normal"
    return "blast" if probability > decision.uncertain_to else "uncertain"


def decide(
    cells: Cells, scores: Tensor, manifest: Manifest, precision: Precision, *, doubts: Sequence[Doubt] = ()
) -> list[Prediction]:
    """Give each cell its label; row k of ``scores`` belongs to cell k.

    A cell that the frame's border cuts is ``not_judged`` and has no probability: part of the evidence is missing. One
    that is unlike the training's cells is ``uncertain``, and so is every cell of a frame that is in doubt as a whole.

    Args:
        cells: of one frame.
        scores: (N, width) in the order of ``manifest.columns``.
        manifest: says how scores become labels.
        precision: in which the scores were computed.
        doubts: why no cell of the frame can be judged.
    """
    if len(cells) != len(scores):
        raise ValueError(f"{len(cells)} cells, but {len(scores)} rows of scores")
    decision, columns = manifest.decisions.of(precision), manifest.columns
    kinds = class_probabilities(scores, columns, decision.temperature)
    unlike = doubts_of(scores, columns, manifest.unknown)
    found = []
    for cell, p, shares, why in zip(cells, blast_probability(scores, manifest, precision), kinds, unlike, strict=True):
        if "edge" in cell.flags:
            found.append(Prediction(cell, "not_judged", None))
            continue
        all_doubts = (*why, *doubts)
        label = "uncertain" if all_doubts else label_of(p, decision)
        classes: dict[str, float] = {
            name: float(share) for name, share in zip(columns.names, shares, strict=True) if name != OTHER
        }
        found.append(Prediction(cell, label, float(p), classes=classes, doubts=all_doubts))
    return found


def _logistic(values: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))))
