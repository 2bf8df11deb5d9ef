"""From a checkpoint to a bundle: the steps in order."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from calibration.methods import AUTO, METHODS
from calibration.ranges import Table, calibrate, calibrate_by, key_of, read_table
from common.errors import CheckError, UsageError
from contract import bundle
from contract.manifest import Calibration, ClassSpec, Decisions, Gate, Manifest
from contract.types import Crops
from evaluation.datasets import about_of, described
from evaluation.datasets.crops import read_crops
from evaluation.datasets.sample import data_sets_of
from evaluation.judgement import PREFERRED, counts, judgement
from evaluation.readable import table as readable
from export.card import model_card
from export.cells import Chosen, Wanted, choose
from export.compiled import Check, compile_graphs
from export.gate import Limits, caveat, enforce, faults, figures, fit_decisions, range_faults, refuse_if_blind
from export.golden import golden_batch
from export.lint import lint
from export.lint import readable as findings_in_words
from export.model_error import known_error_of
from export.page import report_page
from export.pick import Row, cells_to_pick_on, ranked
from export.quantize import quantize
from export.scored import ENGINES, Scored, score, with_reference
from export.sensitivity import sensitivity
from export.to_onnx import write_onnx
from export.training_profile import aligned, reference_of
from training.checkpoint import Classifier, read_classifier
from training.recipe import data_sets_in

TASK = "Tells blasts from other white blood cells."
TERMS = "Research use only: not a medical device, never a diagnosis."
GRAPHS = (bundle.FP32, bundle.INT8, bundle.INT8_CPU)
RANGE_CELLS = 256
"""Held-out cells on which the ranges are measured again, to see whether the table fits them."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to export.

    Attributes:
        model: checkpoint of train-classifier.
        out: the bundle; its name is the model's, a hyphen, and the version.
        cells: which cells calibrate and which gate.
        method: key of ``calibration.methods.METHODS``; ``AUTO``: the one that answers nearest to FP32.
        keep_float: names of Conv nodes that stay in floating point.
        sensitivity: measure what each layer costs in INT8, for the report.
        table: a `calibration.json` to use again, or None; one of another model, sample or method is refused. ``AUTO``
            takes one of any method.
        gated: False: whoever exports this takes it on trust, and the manifest says so.
        key: signs the bundle; None: it stays unsigned, and agents open it only where they are told to.
        replace: a bundle that lies at ``out`` goes.
        leaky: reports of evaluate-classifier on the same recipe trained on a random split.
        check: whether NVIDIA's compiler has to take the graphs.
    """

    model: Path
    out: Path
    cells: Wanted
    method: str = AUTO
    keep_float: tuple[str, ...] = ()
    sensitivity: bool = False
    table: Path | None = None
    gated: bool = True
    key: Ed25519PrivateKey | None = None
    replace: bool = False
    leaky: Sequence[Path] = ()
    check: Check = "auto"


def export(order: Order, *, quiet: bool = False) -> bundle.Bundle:
    """Make a bundle.

    Raises:
        UsageError: the model is no checkpoint, something lies at ``out``, there are no cells, or a report is none.
        CheckError: the exported graph does not compute what the network computes, or TensorRT would refuse it.
        GateError: INT8 does not answer as FP32 does, or NVIDIA's compiler refuses a graph; nothing is written.
        MissingError: NVIDIA's compiler is asked for and not installed.
    """
    name = _name(order.out)
    bundle.refuse_to_replace(order.out, bundles=order.replace)
    classifier = read_classifier(order.model)
    chosen = choose(order.cells, classifier, quiet=quiet)
    leaky = [_leaky(path) for path in order.leaky]
    with tempfile.TemporaryDirectory(prefix="export-") as workshop:
        files = {name: Path(workshop) / name for name in bundle.FILES}
        write_onnx(classifier.network, classifier.input, files[bundle.FP32])
        table, methods = _table(order, classifier, chosen, files[bundle.FP32], quiet=quiet)
        files[bundle.CALIBRATION].write_text(table.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_int8(files, table, order.keep_float)
        compiled = compile_graphs(files, order.check)
        trial = try_out(classifier, chosen, files, quiet=quiet)
        if order.gated:
            refuse_if_blind(trial.gate.held())
            enforce([*faults(trial.costs, Limits()), *_range_faults(trial, table, files)], len(trial.gate.judged()))
        golden = golden_batch(classifier.input, classifier.columns.names, {n: files[n] for n in GRAPHS})
        bundle.write_golden(files[bundle.GOLDEN], golden)
        manifest = _manifest(name, order, classifier, table, trial)
        layers = _sensitivity(files[bundle.FP32], table, trial, quiet=quiet) if order.sensitivity else []
        ranges = _calibration(order, table, chosen, methods)
        report = _report(order, trial, leaky) | {"calibration": ranges, "sensitivity": layers, "compiled": compiled}
        report["sensitivity_cells"] = len(_few_crops(trial.fit))
        files[bundle.REPORT].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        pictures = about_of(data_sets_of(trial.gate.samples)).storable
        page = report_page(manifest, report, trial.gate, pictures=pictures)
        files[bundle.REPORT_PAGE].write_text(page, encoding="utf-8")
        files[bundle.MODEL_CARD].write_text(model_card(manifest, report), encoding="utf-8")
        return bundle.write_bundle(order.out, manifest, files, key=order.key, replace=order.replace)


def _table(
    order: Order, classifier: Classifier, chosen: Chosen, graph: Path, *, quiet: bool
) -> tuple[Table, list[Row]]:
    """The ranges, and how the methods did that they were picked from; none where nothing was to pick."""
    spec, scale = classifier.input, chosen.um_per_pixel
    colours = classifier.colours
    crops = read_crops(chosen.calibration, spec, um_per_pixel=scale, colours=colours, quiet=quiet)
    if order.table is not None:
        free = order.method == AUTO
        key = key_of(graph, crops, spec, method="minmax" if free else order.method)
        return read_table(order.table, key, by_any_method=free), []
    if order.method != AUTO:
        return calibrate(graph, crops, spec, method=order.method, quiet=quiet), []
    tables = calibrate_by(sorted(METHODS), graph, crops, spec, quiet=quiet)
    unseen = read_crops(cells_to_pick_on(chosen.fit), spec, um_per_pixel=scale, colours=colours, quiet=quiet)
    model, decision = onnx.load(graph), classifier.decision
    rows = ranked(
        model,
        tables,
        unseen,
        spec,
        decision=decision,
        columns=classifier.columns,
        keep_float=order.keep_float,
        quiet=quiet,
    )
    return tables[rows[0].method], rows


def _calibration(order: Order, table: Table, chosen: Chosen, methods: Sequence[Row]) -> dict[str, Any]:
    return {
        "method": table.method,
        "asked": order.method,
        "fit_on": chosen.fit_on,
        "methods": [asdict(row) for row in methods],
        "sampling": asdict(chosen.sampling),
    }


def write_int8(files: Mapping[str, Path], table: Table, keep_float: Sequence[str] = ()) -> None:
    """Write both INT8 graphs from the FP32 graph and one table; CheckError if TensorRT would refuse its one."""
    model = onnx.load(files[bundle.FP32])
    onnx.save(quantize(model, table.ranges, "tensorrt", keep_float=keep_float), files[bundle.INT8])
    onnx.save(quantize(model, table.ranges, "cpu", keep_float=keep_float), files[bundle.INT8_CPU])
    findings = lint(files[bundle.INT8])
    if any(finding.severity == "refused" for finding in findings):
        raise CheckError(f"TensorRT would refuse the INT8 graph: {findings_in_words(findings)}")


@dataclass(frozen=True, slots=True)
class Trial:
    """How the graphs did.

    Attributes:
        classifier: what they were made of.
        chosen: which cells were used for what.
        fit: the cells that INT8's decision was fitted on.
        gate: the held-out cells.
        decisions: of both precisions.
        costs: what INT8 costs on the held-out cells, by engine.
    """

    classifier: Classifier
    chosen: Chosen
    fit: Scored
    gate: Scored
    decisions: Decisions
    costs: dict[str, dict[str, Any]]


def try_out(classifier: Classifier, chosen: Chosen, files: Mapping[str, Path], *, quiet: bool) -> Trial:
    """Run the cells that calibration has not seen through every graph, fit INT8's decision, and count the cost."""
    spec = classifier.input
    fit, gate = (
        score(
            cells,
            chosen.um_per_pixel,
            spec,
            files,
            columns=classifier.columns,
            colours=classifier.colours,
            quiet=quiet,
        )
        for cells in (chosen.fit, chosen.held)
    )
    held = gate.held()
    decisions = fit_decisions(classifier.decision, fit.held(), engine=PREFERRED)
    some = with_reference(gate, spec, files).held()
    return Trial(classifier, chosen, fit, gate, decisions, figures(some, decisions) | figures(held, decisions))


def _sensitivity(graph: Path, table: Table, trial: Trial, *, quiet: bool) -> list[dict[str, Any]]:
    """What each layer costs in INT8, measured on some of the cells that the decision was fitted on."""
    spec, columns = trial.classifier.input, trial.classifier.columns
    rows = sensitivity(onnx.load(graph), table, _few_crops(trial.fit), spec, columns=columns, quiet=quiet)
    return [asdict(row) for row in rows]


def _few_crops(scored: Scored) -> Crops:
    """As many cells as are enough where every one of them takes long."""
    return scored.crops[:: max(1, len(scored.crops) // RANGE_CELLS)]


def _range_faults(trial: Trial, table: Table, files: Mapping[str, Path]) -> list[str]:
    some = _few_crops(trial.gate)
    by, given = table.method, table.key.parameters
    needed = calibrate(files[bundle.FP32], some, trial.classifier.input, method=by, parameters=given).ranges
    return range_faults(onnx.load(files[bundle.FP32]), table.ranges, needed, Limits())


def _name(out: Path) -> tuple[str, int]:
    """Model and version, from the name of the folder."""
    parts = re.fullmatch(r"([a-z0-9][a-z0-9.-]{0,50})-(\d{1,9})", out.resolve().name)
    if not parts:
        raise UsageError(f"{out} can not be a bundle: name it by model and version in lower case, for example lab-1")
    return parts[1], int(parts[2])


def _manifest(name: tuple[str, int], order: Order, classifier: Classifier, table: Table, trial: Trial) -> Manifest:
    data_sets = data_sets_in(classifier.recipe)
    return Manifest(
        id=f"{name[0]}-{name[1]}",
        model=name[0],
        version=name[1],
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        task=TASK,
        terms=TERMS,
        input=aligned(
            classifier.input,
            trial.chosen.calibration,
            data_sets_in(classifier.recipe),
            um_per_pixel=trial.chosen.um_per_pixel,
        ),
        classes=tuple(
            ClassSpec(name=name, description=described(data_sets, name)) for name in classifier.columns.names
        ),
        unknown=classifier.unknown,
        decisions=trial.decisions,
        calibration=Calibration(
            method=table.method,
            cells=table.cells,
            sample_sha256=table.sample_sha256,
            keep_float=tuple(sorted(order.keep_float)),
        ),
        gate=Gate(state="passed" if order.gated else "skipped", cells=len(trial.gate.judged()), on=trial.chosen.on),
        reference=reference_of(
            trial.chosen.calibration,
            trial.gate,
            trial.decisions,
            um_per_pixel=trial.chosen.um_per_pixel,
            on=trial.chosen.on,
        ),
        known_error=known_error_of(trial.fit, trial.decisions, classifier.unknown, on=trial.chosen.fit_on),
        files={},
    )


def _report(order: Order, trial: Trial, leaky: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    classifier, layout = trial.classifier, order.cells.layout
    parts = {"validation": trial.fit, "test": trial.gate} if layout and order.cells.gate else {}
    return {
        "schema_version": 1,
        "training": {
            "layout": classifier.recipe["layout"],
            "datasets": data_sets_in(classifier.recipe),
            "terms": about_of(data_sets_in(classifier.recipe)).terms,
            "parameters": sum(p.numel() for p in classifier.network.parameters()),
            "epoch": classifier.epoch,
            "recipe": dict(classifier.recipe),
            "colours": {name: found.model_dump() for name, found in classifier.colours.items()},
            "validation": dict(classifier.validation),
        },
        "gate": {
            "state": "passed" if order.gated else "skipped",
            "on": trial.chosen.on,
            "cells": len(trial.gate.judged()),
            "caveat": caveat(len(trial.gate.judged()), trial.costs[PREFERRED]["flips"]) if order.gated else "",
            "ms_per_cell": dict(trial.gate.ms_per_cell),
            "costs": trial.costs,
        },
        "evaluations": [
            _evaluation(one, name, part.of(one), trial)
            for name, part in parts.items()
            for one in data_sets_of(part.samples) or [str(layout)]
        ],
        "leaky": list(leaky),
    }


def _evaluation(layout: str, split: str, part: Scored, trial: Trial) -> dict[str, Any]:
    """What evaluate-classifier would say of the bundle on the same cells."""
    decisions = dict(zip(ENGINES, (trial.decisions.fp32, trial.decisions.int8), strict=True))
    return {
        "data": {
            "layout": layout,
            "split": split,
            **counts(part.samples),
            "terms": about_of(data_sets_of(part.samples)).terms,
        },
        **judgement(
            part.samples,
            part.scores,
            decisions,
            columns=part.columns,
            unknown=trial.classifier.unknown,
            missed=part.missed,
        ),
    }


def _leaky(path: Path) -> dict[str, Any]:
    """Read a report of evaluate-classifier on a random split."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        readable(report)  # what can not be shown is no report
        random = report["model"]["trained_on_split"] == "random"
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise UsageError(f"{path} is no report of evaluate-classifier; write one with it") from cause
    if not random:
        raise UsageError(f"{path} reports on a model that was not trained on a random split")
    return report
