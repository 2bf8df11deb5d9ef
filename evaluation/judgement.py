"""What scores of labelled cells say of a model: figures of each engine, their agreement, and what is left uncertain."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decide import doubts_of, label_of, margins_of
from contract.manifest import TWO, Columns, Decision, Unknown
from contract.types import Tensor
from evaluation.datasets.sample import Sample, labels_of
from evaluation.metrics import WITHOUT_INTERVAL, Labels, Numbers, bootstrap, in_sigmas, sigmoid, summary
from evaluation.overview import few_words, split_rule

PREFERRED = "int8-cpu"
"""The engine whose behaviour on cells of no class is reported."""
CERTAIN = 1e-9


def judgement(
    samples: Sequence[Sample],
    scores: Mapping[str, Tensor],
    decisions: Mapping[str, Decision],
    *,
    columns: Columns = TWO,
    unknown: Unknown | None = None,
    missed: Sequence[Sample] = (),
) -> dict[str, Any]:
    """Figures of each engine, agreement with the first of them, and what becomes of cells of neither class.

    Args:
        samples: (N,) cells of any kind.
        scores: by engine, (N, columns.width).
        decisions: by engine, temperature and thresholds.
        columns: what stands where in the scores.
        unknown: from where on a cell is too unlike the training's to be judged.
        missed: samples in whose images no cell was found, so that nothing is scored there.
    """
    known = np.array([s.labelled for s in samples])
    cells = [s for s in samples if s.labelled]
    margins = {name: margins_of(rows, columns) for name, rows in scores.items()}
    reference = next(iter(margins))
    preferred = PREFERRED if PREFERRED in margins else reference
    decision = decisions[preferred]
    probabilities = sigmoid(margins[preferred] / decision.temperature)
    doubted = np.array([bool(why) for why in doubts_of(scores[preferred], columns, unknown)], np.bool_)
    given = np.where(doubted, "uncertain", [label_of(p, decision) for p in probabilities])
    return {
        "decisions": {name: decisions[name].model_dump() for name in margins},
        "engines": {name: _figures(cells, values[known], decisions[name]) for name, values in margins.items()},
        "agreement": {
            name: agreement(margins[reference][known], values[known], decisions[reference], decisions[name])
            for name, values in margins.items()
            if name != reference
        },
        "abstention": _abstention(labels_of(cells), given[known], probabilities[known], doubted[known], decision),
        "not_found": sum(s.labelled for s in missed),
        "rare": _apart(samples, given, "rare", missed),
        "reject": _apart(samples, given, "reject", missed),
    }


def agreement(reference: Numbers, other: Numbers, first: Decision, second: Decision) -> dict[str, Any]:
    """How far one engine's margins are from another's: flipped decisions and root mean square distance.

    Each engine decides by its own temperature and threshold. ``rmse_over_sigma`` is in units of the spread of the
    reference's margins, so that networks can be compared; None where these are all alike.
    """
    flips = int((called_blast(reference, first) != called_blast(other, second)).sum())
    rmse = float(np.sqrt(np.mean((other - reference) ** 2)))
    return {
        "cells": len(reference),
        "flips": flips,
        "flip_share": flips / max(len(reference), 1),
        "rmse": rmse,
        "rmse_over_sigma": in_sigmas(rmse, reference),
    }


def called_blast(margins: Numbers, decision: Decision) -> NDArray[np.bool_]:
    """Which cells a decision calls blasts where no abstention is allowed."""
    return np.asarray(sigmoid(margins / decision.temperature) >= decision.threshold)


def counts(samples: Sequence[Sample]) -> dict[str, Any]:
    """How many labelled cells, blasts and patients, by what they were split, and a warning if they are few."""
    cells = [s for s in samples if s.labelled]
    return {
        "cells": len(cells),
        "blasts": sum(s.kind == "blast" for s in cells),
        "patients": len({s.patient for s in cells if not s.by_image}),
        "split_by": split_rule(cells),
        "warning": few_words(cells),
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(value) else value


def _figures(cells: Sequence[Sample], margins: Numbers, decision: Decision) -> dict[str, dict[str, float | None]]:
    labels = labels_of(cells)
    _, patients = np.unique([s.patient for s in cells], return_inverse=True)
    probabilities = sigmoid(margins / decision.temperature)

    def measure(rows: Labels, owners: Labels) -> dict[str, float]:
        return summary(labels[rows], probabilities[rows], owners, threshold=decision.threshold)

    values = measure(np.arange(len(cells)), patients)
    bare = values if few_words(cells) else WITHOUT_INTERVAL
    intervals = ({} if bare is values else bootstrap(patients, measure)) | dict.fromkeys(bare, (np.nan, np.nan))
    return {
        name: {"value": _number(value), "low": _number(intervals[name][0]), "high": _number(intervals[name][1])}
        for name, value in values.items()
    }


def _abstention(
    labels: Labels, given: NDArray[np.str_], probabilities: Numbers, doubted: NDArray[np.bool_], decision: Decision
) -> dict[str, float | None]:
    """What the band of uncertainty and what is unlike the training take away, and how right the rest is."""
    decided = given != "uncertain"
    right = ((given == "blast") == (labels == 1))[decided]
    return {
        "uncertain_share": float(1 - decided.mean()),
        "accuracy_of_the_rest": float(right.mean()) if len(right) else None,
        "accuracy_of_nine_tenths": _nine_tenths(labels, probabilities, doubted, decision),
        "accuracy_of_nine_tenths_by_score": _nine_tenths(labels, probabilities, np.zeros_like(doubted), decision),
    }


def _nine_tenths(labels: Labels, probabilities: Numbers, first: NDArray[np.bool_], decision: Decision) -> float | None:
    """Accuracy where a tenth is `uncertain`: these first, then what is nearest to the threshold."""
    odds = np.log(np.clip(probabilities, CERTAIN, 1 - CERTAIN) / np.clip(1 - probabilities, CERTAIN, 1 - CERTAIN))
    clear = np.abs(odds - np.log(decision.threshold / (1 - decision.threshold)))
    kept = np.argsort(np.where(first, -1.0, clear), kind="stable")[len(labels) - 9 * len(labels) // 10 :]
    right = ((probabilities >= decision.threshold) == (labels == 1))[kept]
    return float(right.mean()) if len(right) else None


def _apart(
    samples: Sequence[Sample], given: NDArray[np.str_], kind: str, missed: Sequence[Sample]
) -> dict[str, dict[str, float]]:
    """What becomes of cells of no class, by what their data set calls them; some are never found."""
    groups: dict[str, list[str]] = defaultdict(list)
    for sample, label in zip(samples, given, strict=True):
        if sample.kind == kind:
            groups[sample.group].append(str(label))
    for sample in missed:
        if sample.kind == kind:
            groups[sample.group].append("not found")
    return {group: _shares(labels) for group, labels in sorted(groups.items())}


def _shares(labels: Sequence[str]) -> dict[str, float]:
    share = {name: labels.count(name) / len(labels) for name in ("blast", "uncertain", "not found")}
    return {
        "cells": len(labels),
        "called_blast": share["blast"],
        "uncertain": share["uncertain"],
        "not_found": share["not found"],
    }
