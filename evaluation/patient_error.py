"""The error that a model makes on patients that did not train it, by patient: a slide is of one patient."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from contract.decide import doubts_of, label_of, margins_of
from contract.known_error import MIN_PATIENTS, ModelError, PatientRate
from contract.manifest import Columns, Decision, Unknown
from contract.types import Tensor
from evaluation.datasets.sample import Sample
from evaluation.metrics import sigmoid

DIGITS = 5
"""After the point, in the manifest."""
MIN_CELLS = 5
"""Cells of a class that are called normal or blast, below which a patient's share is that of chance."""


def known_error(
    samples: Sequence[Sample], scores: Tensor, decision: Decision, *, columns: Columns, unknown: Unknown | None
) -> ModelError | None:
    """Sensitivity and specificity among the cells that are called normal or blast, over patients.

    Each patient weighs alike, and the spread is that between patients, the draw of their cells included. Cells of
    which nobody knows whose they are, cells of neither class, and patients with fewer than ``MIN_CELLS`` cells of a
    class are left out.

    Args:
        samples: (N,) cells of patients that did not train the model.
        scores: (N, columns.width).
        decision: how they become labels.
        columns: what stands where in the scores.
        unknown: from where on a cell is too unlike the training's to be judged.

    Returns:
        None with fewer than ``MIN_PATIENTS`` patients of a class.
    """
    labels = [
        "uncertain" if why else label_of(p, decision)
        for p, why in zip(
            sigmoid(margins_of(scores, columns) / decision.temperature),
            doubts_of(scores, columns, unknown),
            strict=True,
        )
    ]
    judged = [
        (sample, label == sample.kind)
        for sample, label in zip(samples, labels, strict=True)
        if sample.labelled and not sample.by_image and label in {"normal", "blast"}
    ]
    sensitivity, specificity = (
        _rate([(sample.patient, right) for sample, right in judged if sample.kind == kind])
        for kind in ("blast", "normal")
    )
    if sensitivity is None or specificity is None:
        return None
    return ModelError(sensitivity=sensitivity, specificity=specificity)


def _rate(found: Sequence[tuple[str, bool]]) -> PatientRate | None:
    """How often cells are called what they are.

    The spread is no less than the binomial one of a patient's cells, with two hits and two misses added (Agresti and
    Coull 1998): of few patients, all may do alike by chance.

    Args:
        found: of each cell of a class its patient, and whether it is called what it is.
    """
    of = Counter(patient for patient, _ in found)
    hits = Counter(patient for patient, right in found if right)
    patients = [patient for patient, cells in of.items() if cells >= MIN_CELLS]
    if len(patients) < MIN_PATIENTS:
        return None
    shares = [hits[patient] / of[patient] for patient in patients]
    cells = sum(of[patient] for patient in patients)
    pulled = (sum(hits[patient] for patient in patients) + 2) / (cells + 4)
    chance = math.sqrt(pulled * (1 - pulled) * len(patients) / cells)
    return PatientRate(
        mean=round(statistics.fmean(shares), DIGITS),
        std=round(max(statistics.stdev(shares), chance), DIGITS),
        patients=len(patients),
    )
