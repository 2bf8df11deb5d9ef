"""`evaluate-classifier`: how good a checkpoint or a bundle is on one split, with intervals over patients."""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from common.arguments import made_folder
from common.commands import outcome, process
from common.durable import write_whole
from common.errors import UsageError
from common.terminal import say
from common.words import counted
from contract import bundle
from contract.decide import doubts_of, label_of, margins_of
from contract.manifest import TWO, Columns, Decision, InputSpec, Unknown
from contract.pixels import to_batch
from contract.signature import SHIPPED_ONLY, Trust
from contract.trust_options import trust_from
from contract.types import Crops, Tensor
from evaluation.datasets import LAYOUTS, about_of
from evaluation.datasets.crops import read_found
from evaluation.datasets.outlines import colours_by_data_set
from evaluation.datasets.sample import Sample, Split, data_sets_of, labels_of, shuffled
from evaluation.metrics import WITHOUT_INTERVAL, Labels, Numbers, bootstrap, in_sigmas, sigmoid, summary
from evaluation.overview import BY_IMAGE, BY_PATIENT, few_words, overview, patients_in_words, refuse_nobodys, split_rule
from training.judge import PREFERRED, open_judge
from training.network import BlastNet, scores_by
from training.options import evaluate_parser
from training.recipe import scale_of
from training.refit import fold_report, shown_folds

BATCH = 32
CERTAIN = 1e-9
LEAKY = "leaky split, FP32"
"""Heading of the figures that stand beside the honest ones for comparison only."""


def evaluate(
    model: Path,
    data: Path,
    layout: str,
    split: Split,
    *,
    um_per_pixel: float | None = None,
    trust: Trust = SHIPPED_ONLY,
    patients: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on one split.

    Args:
        model: a checkpoint of train-classifier or a bundle.
        data: folder of images.
        layout: key of ``LAYOUTS``.
        split: which cells. A checkpoint that was trained on a random split gets the images that were left out of its
            training by chance: its figures are the leaky ones.
        um_per_pixel: scale of all images, if not the one that the training was told or each image's own.
        trust: whose signature is good enough for a bundle.
        patients: ``none`` takes images of which nobody knows whose they are.
        quiet: draw no progress bar, and say nothing of the cells.

    Returns:
        The report, ready for JSON.

    Raises:
        UsageError: the model or the data are not what they should be.
    """
    judge = open_judge(model, trust)
    samples = LAYOUTS[layout].find(data)
    refuse_nobodys(samples, data, patients=patients)
    leaks = judge.recipe.get("split") == "random"
    if leaks:
        samples = shuffled(samples, judge.recipe["seed"])
    scale = um_per_pixel or scale_of(layout, judge.recipe)
    if not quiet:
        say(*overview(samples, um_per_pixel=scale), to=sys.stderr)
    chosen = sorted((s for s in samples if s.split == split), key=lambda s: s.path)
    if not {"normal", "blast"} <= {s.kind for s in chosen}:
        raise UsageError(f"the {split} split of {data} does not hold both classes; choose another split")
    foreign = [s for s in chosen if judge.spec.cell is not None and s.dataset not in judge.home]
    colours = {**judge.colours, **colours_by_data_set(foreign, um_per_pixel=scale, quiet=quiet)}
    crops, found = read_found(chosen, judge.spec, um_per_pixel=scale, colours=colours, quiet=quiet)
    missed = [s for s, there in zip(chosen, found, strict=True) if not there]
    chosen, crops = [s for s, there in zip(chosen, found, strict=True) if there], crops[found]
    scores = {name: scores_of(engine, crops, judge.spec) for name, engine in judge.engines.items()}
    return {
        "schema_version": 1,
        "model": dict(judge.origin),
        "data": {
            "layout": layout,
            "split": split,
            **counts(chosen),
            **({"split_by": BY_IMAGE} if leaks else {}),
            "terms": about_of(data_sets_of(chosen)).terms,
        },
        **judgement(chosen, scores, judge.decisions, columns=judge.columns, unknown=judge.unknown, missed=missed),
        "leaky": _leaky(model, layout, split),
    }


def _leaky(model: Path, layout: str, split: Split) -> dict[str, Any]:
    """The figures that a bundle keeps of the same recipe trained on a random split; empty where it keeps none."""
    if not model.is_dir():
        return {}
    kept = json.loads((model / bundle.REPORT).read_text()).get("leaky", [])
    same = (r for r in kept if r["data"]["layout"] == layout and r["data"]["split"] == split)
    return next((next(iter(report["engines"].values())) for report in same), {})


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
        "abstention": _abstention(labels_of(cells), given[known])
        | {
            name: _nine_tenths(labels_of(cells), probabilities[known], first, decision)
            for name, first in (
                ("accuracy_of_nine_tenths", doubted[known]),
                ("accuracy_of_nine_tenths_by_score", np.zeros(len(cells), np.bool_)),
            )
        },
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


def scores_of(
    engine: Path | BlastNet,
    crops: Crops,
    spec: InputSpec,
    *,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> Tensor:
    """Scores of crops by a graph in ONNX Runtime on CPU, or by a network in torch; (N, 2) float32."""
    if isinstance(engine, BlastNet):
        return scores_by(engine, crops, spec)
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(str(engine), options, providers=["CPUExecutionProvider"])
    batches = (to_batch(crops[k : k + BATCH], spec) for k in range(0, len(crops), BATCH))
    rows = [session.run(None, {spec.name: batch})[0] for batch in batches]
    return np.concatenate(rows) if rows else np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)


def shown(figure: Mapping[str, float | None], *, few: bool = False) -> str:
    """A figure, with its interval where it has one, rounded if its cells are few; `n/a` for what they can not tell."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "n/a"
    if low is None or high is None:
        return f"{value:.2f}" if few else f"{value:.4f}"
    return f"{value:.4f} ({low:.3f} to {high:.3f})"


def table(report: Mapping[str, Any]) -> str:
    """The report for a reader at a terminal."""
    data = report["data"]
    whose = patients_in_words(data["patients"])
    title = f"{data['layout']}, {data['split']} split: {counted(data['cells'], 'cell')} of {whose}"
    columns = dict(report["engines"])
    if report.get("leaky"):
        columns[LEAKY] = report["leaky"]
    few = bool(data.get("warning"))
    lines = [
        f"{title}, {data['blasts']} blasts; split {data.get('split_by', BY_PATIENT)}",
        *([f"watch out: {data['warning']}"] if few else []),
        "figure, with 95 % interval over patients".ljust(40) + "".join(n.rjust(25) for n in columns),
    ]
    for name in next(iter(report["engines"].values())):
        row = [engine[name] for engine in columns.values()]
        lines.append(name.ljust(40) + "".join(shown(figure, few=few).rjust(25) for figure in row))
    if report.get("leaky"):
        lines.append(
            f"{LEAKY}: the same recipe trained on a split by image, which flatters it; not this model's figures"
        )
    for name, found in report["agreement"].items():
        lines.append(f"{name} flips {found['flips']} of {found['cells']} decisions ({100 * found['flip_share']:.2f} %)")
    for part in ("rare", "reject"):
        for group, found in report[part].items():
            share = f"{100 * found['called_blast']:5.1f} % blast, {100 * found['uncertain']:5.1f} % uncertain"
            if found.get("not_found"):
                share += f", {100 * found['not_found']:.1f} % not found"
            lines.append(f"{part:7} {group:26} {found['cells']:5d} cells: {share}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = evaluate_parser().parse_args(arguments)

    def work() -> int:
        scale, trust = given.um_per_pixel, trust_from(given)
        if given.folds:
            judge = open_judge(given.model, trust)
            samples = LAYOUTS[given.layout].find(given.data)
            refuse_nobodys(samples, given.data, patients=given.patients)
            say(*overview(samples, um_per_pixel=scale), to=sys.stderr)
            found = fold_report(judge, samples, um_per_pixel=scale)
            report = {"schema_version": 1, "model": dict(judge.origin), **found}
            text = shown_folds(report)
        else:
            report = evaluate(
                given.model,
                given.data,
                given.layout,
                given.split,
                um_per_pixel=scale,
                trust=trust,
                patients=given.patients,
            )
            text = table(report)
        _write(given.out, report)
        say(*text.split("\n"))
        return 0

    return outcome("evaluate-classifier", work)


def _write(out: Path, report: Mapping[str, Any]) -> None:
    made_folder(out.parent)
    try:
        write_whole(out, (json.dumps(report, indent=1) + "\n").encode())
    except OSError as cause:
        raise UsageError(f"the report can not be written to {out} ({cause.strerror}); choose another --out") from cause


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


def _abstention(labels: Labels, given: NDArray[np.str_]) -> dict[str, float | None]:
    """What the band of uncertainty and what is unlike the training take away, and how right the rest is."""
    decided = given != "uncertain"
    right = ((given == "blast") == (labels == 1))[decided]
    return {
        "uncertain_share": float(1 - decided.mean()),
        "accuracy_of_the_rest": float(right.mean()) if len(right) else None,
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


if __name__ == "__main__":
    raise SystemExit(process("evaluate-classifier", main))
