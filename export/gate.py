"""The gate: INT8 must answer as FP32 does on cells that calibration has not seen, or nothing is exported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import onnx

from common.errors import GateError
from common.words import counted
from contract.manifest import Decision, Decisions
from evaluation.judgement import agreement, called_blast
from evaluation.metrics import Labels, Numbers, auroc, fit_temperature, in_sigmas, sigmoid

REFERENCE = "fp32"
MOST_SHOWN = 10
"""Times a whole, beyond which the digits of a share say nothing."""
FAR = 1000.0
"""Times what is needed, beyond which nothing is needed."""
FEW_CELLS = 300
"""Held-out cells among which none changed bounds the share that changes by 1 %, the gate's limit (95 %)."""
UNITS = {
    "flip_share": "of the decisions flipped",
    "rmse_over_sigma": "of sigma between the margins",
    "accuracy_drop": "of accuracy lost",
    "auroc_drop": "of AUROC lost",
}
"""What each limit bounds, in words."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What INT8 may cost.

    Attributes:
        flip_share: share of decisions that change.
        accuracy_drop: accuracy of FP32 less that of INT8.
        auroc_drop: the same of the area under the ROC curve.
        rmse_over_sigma: distance of the margins, in units of their own spread; min-max calibration of a good model
            costs 0.006 of it, one that flips decisions half of it.
        range_ratio: a calibrated range by the one that the held-out cells need; 4 wastes two of the eight bits.
    """

    flip_share: float = 0.01
    accuracy_drop: float = 0.005
    auroc_drop: float = 0.003
    rmse_over_sigma: float = 0.1
    range_ratio: float = 4.0


@dataclass(frozen=True, slots=True)
class Held:
    """Scores of the held-out cells.

    Attributes:
        margins: by engine, (N,) logit of blast less logit of normal; ``fp32`` is the reference.
        labels: (N,) 1 for a blast, 0 for a normal cell; None if nobody knows.
    """

    margins: Mapping[str, Numbers]
    labels: Labels | None


def fit_decisions(fp32: Decision, fit: Held, *, engine: str) -> Decisions:
    """The decision of each precision; INT8's keeps the operating point that was chosen for FP32.

    INT8's margins lie about a straight line over FP32's. Each bound moves along that line, and so does the temperature;
    with labels, it is fitted again by log loss (Guo et al. 2017). Bounds are not chosen on labels, nor for as many
    cells to lie above them: either moves them by the chance of a few cells, and flips more decisions than INT8 does.

    Args:
        fp32: chosen on the validation split at training.
        fit: cells that are not held out.
        engine: which margins are INT8's; if one of them is no number, it keeps FP32's decision, for the gate to refuse.
    """
    reference, other = fit.margins[REFERENCE], fit.margins[engine]
    if not np.isfinite(other).all():
        return Decisions(fp32=fp32, int8=fp32)
    slope, offset = _line(reference, other)
    temperature = round(fp32.temperature * slope if fit.labels is None else fit_temperature(fit.labels, other), 4)

    def moved(bound: float) -> float:
        if not 0 < bound < 1:
            return bound
        margin = fp32.temperature * np.log(bound / (1 - bound))
        probability = float(sigmoid(np.array((slope * margin + offset) / temperature)))
        return min(max(round(probability, 6), 1e-6), 1 - 1e-6)

    int8 = Decision(
        temperature=temperature,
        threshold=moved(fp32.threshold),
        uncertain_from=moved(fp32.uncertain_from),
        uncertain_to=moved(fp32.uncertain_to),
    )
    return Decisions(fp32=fp32, int8=int8)


def _line(reference: Numbers, other: Numbers) -> tuple[float, float]:
    """Slope and offset of the least-squares line of INT8's margins over FP32's; 1 and 0 where there is none.

    A slope that no sound INT8 has is held within bounds, for the gate to refuse in its own words.
    """
    spread = float(np.var(reference))
    if not spread > 0:
        return 1.0, 0.0
    slope = float(np.mean((reference - reference.mean()) * other)) / spread
    slope = min(max(slope, 0.1), 10.0)
    return slope, float(other.mean() - slope * reference.mean())


def figures(held: Held, decisions: Decisions) -> dict[str, dict[str, Any]]:
    """What INT8 costs, by engine: flips, distance and, where labels are known, accuracy and AUROC of both."""
    return {name: _cost(held, name, decisions) for name in held.margins if name != REFERENCE}


def blind(held: Held) -> str:
    """Why held-out cells can not show what INT8 costs, in words; "" if they can."""
    reference = held.margins[REFERENCE]
    cells = counted(len(reference), "held-out cell")
    if not np.isfinite(reference).all():
        return f"FP32 itself gives some of {cells} a score that is no number; train the network again"
    if in_sigmas(0.0, reference) is not None:
        return ""
    alike = ", for FP32 scores all of them alike" if len(reference) > 1 else ""
    return f"{cells} can not show what INT8 costs{alike}; give --gate DIR with {FEW_CELLS} or more, of both classes"


def faults(found: Mapping[str, Mapping[str, Any]], limits: Limits) -> list[str]:
    """Every limit that is not kept, in words."""
    lines = []
    for engine, cost in found.items():
        for name, unit in UNITS.items():
            value, limit = cost.get(name), getattr(limits, name)
            if value is not None and not value <= limit:
                lines.append(f"{engine}: {_percent(value)} {unit}, at most {100 * limit:.1f} % may be")
    return lines


def caveat(cells: int, flips: int) -> str:
    """What a gate that let pass on few cells does not show, in words; "" if there were enough."""
    if cells >= FEW_CELLS:
        return ""
    return (
        f"{cells} cells show little: {flips or 'none'} changed, and yet INT8 may change up to "
        f"{100 * most_flips(cells, flips):.0f} % of all decisions (95 % bound); give --gate DIR with {FEW_CELLS} or "
        "more"
    )


def most_flips(cells: int, flips: int, *, doubt: float = 0.05) -> float:
    """Upper bound of the share that changes, where so many of some cells did (Clopper & Pearson 1934).

    Exact for cells that are independent; those of one patient are not quite, and bound it less closely.
    """
    low, high = flips / cells, 1.0
    for _ in range(40):
        share = (low + high) / 2
        chance = sum(comb(cells, k) * share**k * (1 - share) ** (cells - k) for k in range(flips + 1))
        low, high = (share, high) if chance > doubt else (low, share)
    return high


def range_faults(
    model: onnx.ModelProto,
    table: Mapping[str, tuple[float, float]],
    needed: Mapping[str, tuple[float, float]],
    limits: Limits,
) -> list[str]:
    """Every activation whose calibrated range is far wider than the held-out cells need, with its node.

    Args:
        model: the FP32 graph.
        table: calibrated ranges by tensor name.
        needed: ranges of the held-out cells, by the same method.
        limits: how far is too far.
    """
    producer = {name: node for node in model.graph.node for name in node.output}
    lines = []
    for name, (low, high) in table.items():
        if name not in needed:
            continue
        need = max(abs(v) for v in needed[name])
        ratio = max(abs(low), abs(high)) / max(need, 1e-12)
        if ratio > limits.range_ratio:
            node = producer.get(name)
            place = f"{node.op_type} {node.name}" if node else "the input"
            times = f"{ratio:.1f} times what held-out cells need" if ratio <= FAR else "used by no held-out cell"
            lines.append(f"the range of {name} ({place}) is {times}")
    return lines


def refuse_if_blind(held: Held) -> None:
    """Raise GateError if these cells can not show what INT8 costs."""
    if why := blind(held):
        raise GateError(f"INT8 is refused, and nothing was written: {why}")


def enforce(lines: Sequence[str], cells: int) -> None:
    """Raise GateError with all of them, if there are any."""
    if lines:
        raise GateError(
            f"INT8 is refused on {cells} held-out cells, and nothing was written: {'; '.join(lines)}. Calibrate on "
            "more or other cells, choose another --method, or leave the costliest layers in --keep-float"
        )


def _percent(value: float) -> str:
    """A share in words."""
    if not np.isfinite(value):
        return "no number"
    return f"{100 * value:.2f} %" if value <= MOST_SHOWN else f"more than {100 * MOST_SHOWN} %"


def _cost(held: Held, engine: str, decisions: Decisions) -> dict[str, Any]:
    reference, other = held.margins[REFERENCE], held.margins[engine]
    cost: dict[str, Any] = agreement(reference, other, decisions.fp32, decisions.int8)
    if held.labels is not None:
        before = float(np.mean(called_blast(reference, decisions.fp32) == held.labels))
        after = float(np.mean(called_blast(other, decisions.int8) == held.labels))
        cost |= {"accuracy_fp32": before, "accuracy": after, "accuracy_drop": before - after}
        if len(np.unique(held.labels)) > 1:
            areas = auroc(held.labels, reference), auroc(held.labels, other)
            cost |= {"auroc_fp32": areas[0], "auroc": areas[1], "auroc_drop": areas[0] - areas[1]}
    return cost
