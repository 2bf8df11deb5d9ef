"""Where engines disagree: figures, and the cells behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contract.bundle import Bundle
from contract.decide import blast_probability, label_of, margins_of
from contract.manifest import Decision, Manifest, Precision
from contract.types import Crops
from engines.scoring import Scored
from evaluation.metrics import Labels, Numbers, auroc, in_sigmas

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DISTANCES = (0.5, 0.9, 0.99, 1.0)
FLOATING: Mapping[str, Precision] = {"fp32": "fp32", "tensorrt-fp16": "fp16", "tensorrt-fp32": "fp32"}
"""Engines that compute in floating point; all others compute in INT8."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What goes through every engine.

    Attributes:
        names: of the image files, below the folder that was named.
        crops: (N, size, size, 3) uint8.
        labels: (N,) 1 for a blast, 0 for a normal cell; None if nobody knows.
        warning: why accuracies on them say little; "" if they are enough, or nobody knows what they are.
    """

    names: Sequence[str]
    crops: Crops = field(repr=False)
    labels: Labels | None = field(repr=False)
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One engine's words on all cells: (N,) each."""

    scored: Scored
    margins: Numbers = field(repr=False)
    probabilities: Numbers = field(repr=False)
    blast: Labels = field(repr=False)
    labels: Sequence[str] = field(repr=False)


def compare(bundle: Bundle, cells: Cells, scored: Mapping[str, Scored]) -> tuple[dict[str, Any], dict[str, Verdicts]]:
    """Hold every engine against the reference.

    Args:
        bundle: the model.
        cells: what was scored.
        scored: by engine; the first is the reference.

    Returns:
        Figures by engine, ready for JSON; and what each said of each cell.
    """
    verdicts = {name: _verdicts(name, s, bundle.manifest) for name, s in scored.items()}
    reference = next(iter(verdicts.values()))
    return {name: _figures(v, reference, cells.labels) for name, v in verdicts.items()}, verdicts


def flipped(verdicts: Mapping[str, Verdicts]) -> list[int]:
    """Cells whose decision is not the same in all engines, the widest disagreement first."""
    blast = np.stack([v.blast for v in verdicts.values()])
    odd = np.flatnonzero((blast != blast[0]).any(axis=0))
    return sorted((int(k) for k in odd), key=lambda k: (-_spread(verdicts, k), k))


def furthest(verdicts: Mapping[str, Verdicts], count: int) -> list[int]:
    """The cells on which the engines' probabilities lie furthest apart."""
    said = np.stack([v.probabilities for v in verdicts.values()])
    return [int(k) for k in np.argsort(-np.ptp(said, axis=0), kind="stable")[:count]]


def _spread(verdicts: Mapping[str, Verdicts], k: int) -> float:
    said = [v.probabilities[k] for v in verdicts.values()]
    return float(max(said) - min(said))


def words(k: int, cells: Cells, verdicts: Mapping[str, Verdicts]) -> dict[str, Any]:
    """What is known of one cell and what each engine said of it, ready for JSON."""
    truth = None if cells.labels is None else ("normal", "blast")[cells.labels[k]]
    said = {
        name: {"probability": float(v.probabilities[k]), "label": v.labels[k], "blast": bool(v.blast[k])}
        for name, v in verdicts.items()
    }
    return {"file": cells.names[k], "truth": truth, "said": said}


def decision_of(manifest: Manifest, engine: str) -> Decision:
    """The decision that belongs to an engine's precision."""
    return manifest.decisions.of(precision_of(engine))


def precision_of(engine: str) -> Precision:
    """In which precision an engine computes."""
    return FLOATING.get(engine, "int8")


def _verdicts(name: str, scored: Scored, manifest: Manifest) -> Verdicts:
    decision = decision_of(manifest, name)
    probabilities = np.asarray(blast_probability(scored.scores, manifest, precision_of(name)), np.float64)
    labels = [label_of(float(p), decision) for p in probabilities]
    return Verdicts(
        scored,
        margins_of(scored.scores, manifest.columns),
        probabilities,
        (probabilities >= decision.threshold).astype(np.int64),
        labels,
    )


def _figures(said: Verdicts, reference: Verdicts, labels: Labels | None) -> dict[str, Any]:
    distance = np.abs(said.margins - reference.margins)
    flips = int((said.blast != reference.blast).sum())
    rmse = float(np.sqrt(np.mean(distance**2)))
    figures = {
        "runtime": said.scored.name,
        "flips": flips,
        "flip_share": flips / len(distance),
        "label_changes": sum(a != b for a, b in zip(said.labels, reference.labels, strict=True)),
        "rmse": rmse,
        "rmse_over_sigma": in_sigmas(rmse, reference.margins),
        "distance_quantiles": {str(q): float(np.quantile(distance, q)) for q in DISTANCES},
        "margin_quantiles": {str(q): float(np.quantile(said.margins, q)) for q in QUANTILES},
        "ms_alone": said.scored.alone_ms,
        "ms_together": said.scored.together_ms,
    }
    if labels is not None:
        area = auroc(labels, said.margins)
        figures["accuracy"] = float((said.blast == labels).mean())
        figures["auroc"] = None if np.isnan(area) else area
    return figures
