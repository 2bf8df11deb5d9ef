"""Our INT8 graphs beside those of ONNX Runtime's own quantiser, in one run: accuracy on held-out patients, and speed.

`python -m bench.quantisers CHECKPOINT --data DIR --layout deepapl --split validation`

All are made of one FP32 graph and calibrated on the same cells of the training split. All keep FP32's operating point
by one rule, fitted on the validation split (`export.gate.fit_decisions`), which also picks our calibration method.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.int8 import ratios
from bench.ort_quantiser import write_theirs
from calibration.methods import METHODS
from calibration.ranges import calibrate_by
from common.arguments import place
from contract.decide import margins_of
from contract.manifest import Decision, InputSpec
from contract.types import Crops
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.sample import Sample, labels_of
from evaluation.judgement import agreement, called_blast
from evaluation.metrics import Labels, Numbers, accuracy, auroc, bootstrap
from export.cells import Wanted, choose
from export.gate import Held, fit_decisions
from export.pick import Row, cells_to_pick_on, ranked
from export.quantize import quantize
from export.to_onnx import write_onnx
from training.checkpoint import Classifier, read_classifier
from training.evaluate import scores_of

OURS, THEIRS = "twin", "ort_default"
S8 = "s8"
"""Graphs whose name begins so run as they are written, as TensorRT computes them."""


def compare(checkpoint: Path, data: Path, layout: str, *, split: str, timed: bool) -> dict[str, Any]:
    """Make the graphs and judge them.

    Args:
        checkpoint: of train-classifier.
        data: folder of a labelled layout.
        layout: key of ``LAYOUTS``.
        split: "validation", which chose things, for every method; or "test", on which nothing was chosen, for the
            picked one alone.
        timed: measure the speed too.

    Returns:
        Figures of each graph; ours less theirs, with 95 % intervals over patients; how our methods were ranked; times.
    """
    classifier = read_classifier(checkpoint)
    chosen = choose(Wanted(data, data, layout=layout), classifier)
    spec, scale = classifier.input, chosen.um_per_pixel
    fit, judged = _labelled(chosen.fit), _labelled(chosen.fit if split == "validation" else chosen.held)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = folder / "model.onnx"
        write_onnx(classifier.network, spec, fp32)
        calibration = read_crops(chosen.calibration, spec, um_per_pixel=scale)
        unseen = read_crops(cells_to_pick_on(chosen.fit), spec, um_per_pixel=scale)
        rows, ours = _ours(fp32, calibration, unseen, classifier, every=split == "validation")
        graphs = {"fp32": fp32, **ours, **write_theirs(fp32, calibration, spec, folder)}
        fitting = _margins(graphs, read_crops(fit, spec, um_per_pixel=scale), spec)
        margins = _margins(graphs, read_crops(judged, spec, um_per_pixel=scale), spec)
        decisions = _decisions(classifier.decision, Held(fitting, labels_of(fit)))
        return {
            "split": {"name": split, "cells": len(judged), "patients": len({s.patient for s in judged})},
            "picked": [asdict(row) for row in rows],
            "graphs": _figures(margins, decisions, labels_of(judged)),
            f"{OURS}_less_{THEIRS}": _difference(margins, decisions, judged),
            "speed": ratios({"fp32": fp32, "int8": graphs[OURS], THEIRS: graphs[THEIRS]}) if timed else {},
        }


def _labelled(samples: list[Sample]) -> list[Sample]:
    return [s for s in samples if s.labelled]


def _ours(
    fp32: Path, calibration: Crops, unseen: Crops, classifier: Classifier, *, every: bool
) -> tuple[list[Row], dict[str, Path]]:
    """Both graphs by the picked method; by every other one too, and those have the method in their names."""
    spec, model = classifier.input, onnx.load(fp32)
    tables = calibrate_by(sorted(METHODS), fp32, calibration, spec)
    rows = ranked(model, tables, unseen, spec, decision=classifier.decision)
    graphs = {}
    for row in rows if every else rows[:1]:
        suffix = "" if row is rows[0] else f"_{row.method}"
        for name, on_cpu in ((OURS, True), (S8, False)):
            graphs[name + suffix] = fp32.with_name(f"{name}{suffix}.onnx")
            ranges = tables[row.method].ranges
            onnx.save(quantize(model, ranges, "cpu" if on_cpu else "tensorrt"), graphs[name + suffix])
    return rows, graphs


def _margins(graphs: Mapping[str, Path], crops: Crops, spec: InputSpec) -> dict[str, Numbers]:
    return {
        name: margins_of(scores_of(path, crops, spec, as_written=name.startswith(S8))) for name, path in graphs.items()
    }


def _decisions(fp32: Decision, fit: Held) -> dict[str, Decision]:
    """Of every graph, by the one rule."""
    others = fit.margins.keys() - {"fp32"}
    return {"fp32": fp32} | {name: fit_decisions(fp32, fit, engine=name).int8 for name in others}


def _figures(
    margins: Mapping[str, Numbers], decisions: Mapping[str, Decision], labels: Labels
) -> dict[str, dict[str, float]]:
    return {
        name: {
            "auroc": auroc(labels, found),
            "accuracy": accuracy(labels, called_blast(found, decisions[name]).astype(np.int64)),
            **agreement(margins["fp32"], found, decisions["fp32"], decisions[name]),
        }
        for name, found in margins.items()
    }


def _difference(
    margins: Mapping[str, Numbers], decisions: Mapping[str, Decision], cells: list[Sample]
) -> dict[str, dict[str, float]]:
    """Ours less theirs on the same cells, figure by figure, with intervals over patients."""
    labels = labels_of(cells)
    _, patients = np.unique([s.patient for s in cells], return_inverse=True)

    def measure(rows: Labels, _owners: Labels) -> dict[str, float]:
        some = {name: margins[name][rows] for name in ("fp32", OURS, THEIRS)}
        found = _figures(some, decisions, labels[rows])
        names = ("auroc", "accuracy", "flip_share", "rmse_over_sigma")
        return {name: found[OURS][name] - found[THEIRS][name] for name in names}

    intervals = bootstrap(patients, measure)
    values = measure(np.arange(len(cells)), patients)
    return {
        name: {"value": value, "low": intervals[name][0], "high": intervals[name][1]} for name, value in values.items()
    }


def main() -> int:
    """Entry point; prints the figures as JSON."""
    parser = argparse.ArgumentParser("python -m bench.quantisers", description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=place)
    parser.add_argument("--data", type=place, required=True)
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--no-speed", action="store_true")
    given = parser.parse_args()
    found = compare(given.checkpoint, given.data, given.layout, split=given.split, timed=not given.no_speed)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
