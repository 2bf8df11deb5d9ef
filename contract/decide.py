"""The only thresholding, abstention included."""

import numpy as np
from numpy.typing import NDArray

from contract.manifest import Decision, Manifest, Precision
from contract.types import Cells, Label, Prediction, Tensor


def blast_probability(scores: Tensor, manifest: Manifest, precision: Precision) -> NDArray[np.float64]:
    """Calibrated probability of a blast for each row of scores.

    Args:
        scores: (N, 2) logits in the order of ``manifest.classes``.
        manifest: names the blast column and, for each precision, the temperature (Guo et al. 2017).
        precision: in which the scores were computed.

    Returns:
        (N,) in 0 to 1.
    """
    blast = manifest.blast_column
    margin = (scores[:, blast].astype(np.float64) - scores[:, 1 - blast]) / manifest.decisions.of(precision).temperature
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -60, 60))))


def label_of(probability: float, decision: Decision) -> Label:
    """Name a probability: ``normal`` below the band of uncertainty, ``blast`` above it."""
    if probability < decision.uncertain_from:
        return "normal"
    return "blast" if probability > decision.uncertain_to else "uncertain"


def decide(cells: Cells, scores: Tensor, manifest: Manifest, precision: Precision) -> list[Prediction]:
    """Give each cell its label; row k of ``scores`` belongs to cell k.

    A cell that the frame's border cuts is always ``uncertain``: part of the evidence is missing.
    """
    if len(cells) != len(scores):
        raise ValueError(f"{len(cells)} cells, but {len(scores)} rows of scores")
    decision = manifest.decisions.of(precision)
    return [
        Prediction(cell, "uncertain" if "edge" in cell.flags else label_of(p, decision), float(p))
        for cell, p in zip(cells, blast_probability(scores, manifest, precision), strict=True)
    ]
