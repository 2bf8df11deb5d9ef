"""Does a choice of thresholds hold for people that it has not seen? Shown by many halves of people.

The band of `uncertain` is a class-conditional conformal bound (Vovk, ACML 2012): of the blasts that it is chosen on, at
most ``MISSED_BLASTS`` lie below it, of the normal cells at most ``FALSE_BLASTS`` above it. That carries over to other
cells where all cells are exchangeable. Cells of one person are not: so people are drawn, one half to choose by and
the other half to judge, again and again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UsageError
from contract.manifest import Decision
from evaluation.decision import FALSE_BLASTS, MISSED_BLASTS, choose_decision
from evaluation.metrics import Labels, Numbers, sigmoid

Flags = NDArray[np.bool_]
DRAWS = 200
RIGHT, TENTH = 0.98, 0.1
"""Of what is called, the share that is to be right; and the most that may be `uncertain` for that."""
STEPS, BOOTSTRAPS, SURE = 11, 200, 0.9
"""Widths of the band that are tried, from none to a tenth; how often people are drawn again, and in how many of these
draws that share is to be right."""
MIDDLE = (5, 95)
"""Percentiles of the draws between which a figure is given."""
BOUNDS: Mapping[str, tuple[float, bool]] = {
    "blasts_called_normal": (MISSED_BLASTS, True),
    "normal_called_blast": (FALSE_BLASTS, True),
    "nine_tenths_uncertain": (TENTH, True),
    "nine_tenths_accuracy": (RIGHT, False),
}
"""Of a figure: the bound, and whether that is the most; else it is the least."""


def resampled(
    labels: Labels,
    margins: Numbers,
    patients: Labels,
    datasets: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Thresholds chosen on one half of the people, judged on the other.

    Args:
        labels: (N,) of cells that no weight was fitted on, and that are like those of the training.
        margins: (N,) score of a blast less that of normal.
        patients: (N,) whose each cell is.
        datasets: (N,) where each comes from; the people of each are halved.
        draws: halvings.
        seed: of the draws.

    Returns:
        For each data set, and for each figure that it has cells for: mean, low and high (``MIDDLE``), and where
        ``BOUNDS`` has one, the bound and the share of draws in which it holds. The figures by the band:
        ``blasts_called_normal``, ``normal_called_blast``, ``uncertain``, ``accuracy``. Those that begin with
        ``nine_tenths`` are of a band around the threshold, as wide as makes ``RIGHT`` of what is called right in
        ``SURE`` of the bootstraps over the choosing people of this data set; at most ``TENTH`` of these is uncertain.

    Raises:
        UsageError: too few people for halves that hold both classes.
    """
    rng, homes = np.random.default_rng(seed), np.asarray(datasets)
    found: dict[str, list[Mapping[str, float]]] = {str(name): [] for name in np.unique(homes)}
    for _ in range(draws):
        for name, figures in _halved(labels, margins, patients, homes, rng):
            found[name].append(figures)
    if not any(found.values()):
        raise UsageError("no half of the people has blasts and normal cells; thresholds need people of both kinds")
    return {name: _summarised(rows) for name, rows in found.items()}


def _halved(
    labels: Labels, margins: Numbers, patients: Labels, homes: NDArray[np.str_], rng: np.random.Generator
) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures of one halving by data set; none where the choosing half does not hold both classes."""
    parts = {str(name): homes == name for name in np.unique(homes)}
    first = _half(rng, patients, list(parts.values()))
    if len(np.unique(labels[first])) < 2:  # noqa: PLR2004 - both classes
        return
    decision = choose_decision(labels[first], margins[first], datasets=homes[first].tolist())
    for name, part in parts.items():
        judged = part & ~first
        if judged.any():
            own = part & first
            width = _width(labels[own], margins[own], patients[own], decision, rng)
            yield name, _judged(labels[judged], margins[judged], decision, width)


def _half(rng: np.random.Generator, patients: Labels, parts: Sequence[Flags]) -> Flags:
    """Which cells are of the half of each part's people that is drawn; the odd one is drawn too."""
    drawn = np.zeros(len(patients), np.bool_)
    for part in parts:
        people = rng.permutation(np.unique(patients[part]))
        drawn |= part & np.isin(patients, people[: -(-len(people) // 2)])
    return drawn


def _odds(margins: Numbers, decision: Decision) -> Numbers:
    """Log-odds beyond the threshold."""
    return np.asarray(margins / decision.temperature - np.log(decision.threshold / (1 - decision.threshold)))


def _width(labels: Labels, margins: Numbers, people: Labels, decision: Decision, rng: np.random.Generator) -> float:
    """The least distance from the threshold that is called: see ``resampled``."""
    odds = _odds(margins, decision)
    widths = np.quantile(np.abs(odds), np.linspace(0, TENTH, STEPS))
    called = np.abs(odds)[:, None] >= widths
    right = called & ((odds >= 0) == labels)[:, None]
    _, place = np.unique(people, return_inverse=True)
    count = int(place.max()) + 1
    of_each = [
        np.stack([np.bincount(place, column, minlength=count) for column in cells.T]) for cells in (right, called)
    ]
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAPS).T
    share = (of_each[0] @ drawn) / np.maximum(of_each[1] @ drawn, 1)
    enough = np.flatnonzero((share >= RIGHT).mean(axis=1) >= SURE)
    return float(widths[enough[0]] if len(enough) else widths[-1])


def _judged(labels: Labels, margins: Numbers, decision: Decision, width: float) -> dict[str, float]:
    probabilities, odds = sigmoid(margins / decision.temperature), _odds(margins, decision)
    low, high = probabilities < decision.uncertain_from, probabilities > decision.uncertain_to
    sure = np.abs(odds) >= width
    return {
        "blasts_called_normal": _share(low[labels == 1]),
        "normal_called_blast": _share(high[labels == 0]),
        "uncertain": _share(~(low | high)),
        "accuracy": _share((high == labels)[low | high]),
        "nine_tenths_uncertain": _share(~sure),
        "nine_tenths_accuracy": _share(((odds >= 0) == labels)[sure]),
    }


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _summarised(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    figures = {}
    for name in rows[0] if rows else ():
        values = np.array([row[name] for row in rows if not np.isnan(row[name])])
        if not len(values):
            continue
        low, high = np.percentile(values, MIDDLE)
        figures[name] = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
        if name in BOUNDS:
            bound, most = BOUNDS[name]
            held = values <= bound if most else values >= bound
            figures[name] |= {"bound": bound, "held": float(held.mean())}
    return figures
