"""`report.html`: what a person must see before a model goes into the field."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from common.words import counted
from contract.manifest import Decision, Manifest
from evaluation.judgement import PREFERRED, called_blast
from evaluation.metrics import Numbers, sigmoid
from evaluation.overview import BY_PATIENT, patients_in_words
from evaluation.readable import shown
from export.compiled_page import compiled_section
from export.gate import Limits
from export.model_error import known_error_words
from export.scored import Scored
from rendering.html import Picture, page, paragraph, picture_grid, plots, section, table, verdict
from rendering.plots import Series, bars_svg, reliability, reliability_svg, scatter_svg

FLIPS_SHOWN = 48
FEW_FOR_LAYERS = 32
"""Cells; on fewer the order of the layers is that of chance."""
FIGURES = {
    "auroc": "AUROC",
    "weighted_f1": "weighted F1",
    "ece": "expected calibration error",
    "patient_accuracy_mean": "accuracy, mean of patients",
    "patient_accuracy_worst": "accuracy, worst patient",
}
"""How figures are called that are not called by their own key."""
GATE_HEAD = ("engine", "cells", "flips", "flipped, %", "RMSE / sigma", "accuracy lost, points", "AUROC lost")


def report_page(manifest: Manifest, report: Mapping[str, Any], gate: Scored, *, pictures: bool) -> str:
    """The report as one self-contained page.

    Args:
        manifest: of the bundle.
        report: `report.json`.
        gate: the held-out cells.
        pictures: whether the terms of the cells' images let them be shown.
    """
    decisions = {"fp32": manifest.decisions.fp32, PREFERRED: manifest.decisions.int8}
    held = gate.held()
    margins = {name: held.margins[name] for name in decisions}
    probabilities = {name: sigmoid(m / decisions[name].temperature) for name, m in margins.items()}
    drawn = [_scatter(margins, decisions)]
    if held.labels is not None:
        curves = [reliability(name, held.labels, p) for name, p in probabilities.items()]
        drawn.append(reliability_svg(curves, title="Is a probability what it says?"))
    drawn.append(
        bars_svg(
            report["gate"]["ms_per_cell"], title="Time for a cell, in batches", x_label="milliseconds, this machine"
        )
    )
    return page(
        f"{manifest.id}: INT8 against FP32",
        section("The gate", _said(report), _costs(report)),
        section("On the held-out cells", plots(*drawn), paragraph(known_error_words(manifest))),
        section(f"Cells whose decision {PREFERRED} changed", *_flips(gate, decisions, pictures=pictures)),
        *_evaluations(report),
        _calibration(report),
        *_sensitivity(report),
        *compiled_section(report.get("compiled")),
        lead=f"{manifest.task} {manifest.terms}",
        foot="Research use only. It assists haematologists; it never diagnoses.",
    )


def _said(report: Mapping[str, Any]) -> Markup:
    gate = report["gate"]
    if gate["state"] == "passed":
        return verdict(
            f"INT8 answers as FP32 does on {gate['cells']:,} cells, {gate['on']}", passed=True, but=gate["caveat"]
        )
    return verdict("the gate was skipped; nobody has shown that INT8 answers as FP32 does", passed=False)


def _costs(report: Mapping[str, Any]) -> Markup:
    rows = [
        (
            name,
            cost["cells"],
            cost["flips"],
            100 * cost["flip_share"],
            cost["rmse_over_sigma"],
            100 * cost["accuracy_drop"] if "accuracy_drop" in cost else None,
            cost.get("auroc_drop"),
        )
        for name, cost in report["gate"]["costs"].items()
    ]
    most = Limits()
    caption = (
        "What INT8 costs; below 0 it gains. int8-reference is the S8 graph as TensorRT computes it. At most may be: "
        f"{100 * most.flip_share:g} % flipped, {most.rmse_over_sigma:g} RMSE / sigma, {100 * most.accuracy_drop:g} "
        f"points of accuracy, {most.auroc_drop:g} of AUROC."
    )
    return table(GATE_HEAD, rows, caption=caption)


def _scatter(margins: Mapping[str, Numbers], decisions: Mapping[str, Decision]) -> Markup:
    bounds = {name: d.temperature * float(np.log(d.threshold / (1 - d.threshold))) for name, d in decisions.items()}
    return scatter_svg(
        [Series("held-out cell", margins["fp32"], margins[PREFERRED])],
        title="Score of INT8 against score of FP32",
        x_label="FP32: logit of blast less logit of normal",
        y_label="INT8",
        diagonal=True,
        x_marks={"threshold": bounds["fp32"]},
        y_marks={"threshold": bounds[PREFERRED]},
        describe="Every held-out cell; one that lies off the diagonal is scored otherwise by INT8.",
    )


def _flips(gate: Scored, decisions: Mapping[str, Decision], *, pictures: bool) -> Iterator[Markup]:
    margins, used = gate.held().margins, gate.judged()
    flipped = np.flatnonzero(
        called_blast(margins["fp32"], decisions["fp32"]) != called_blast(margins[PREFERRED], decisions[PREFERRED])
    )
    if not len(flipped):
        yield paragraph("None.")
    elif not pictures:
        yield paragraph(f"{len(flipped)}; the terms of their images do not allow to show them here.")
    else:
        yield picture_grid(_picture(gate, int(used[k]), k, margins, decisions) for k in flipped[:FLIPS_SHOWN])


def _picture(
    gate: Scored, cell: int, row: int, margins: Mapping[str, Numbers], decisions: Mapping[str, Decision]
) -> Picture:
    sample = gate.samples[cell]
    said = [f"{name} {float(sigmoid(m[row : row + 1] / decisions[name].temperature)[0]):.3f}"
            for name, m in margins.items() if name in decisions]  # fmt: skip
    known = f"is {sample.kind}" if sample.labelled else "not labelled"
    return Picture(
        gate.crops[cell], (sample.path.name, known, *said), f"{sample.path.name}, {known}: {', '.join(said)}"
    )


def _calibration(report: Mapping[str, Any]) -> Markup:
    found = report["calibration"]
    covers = found["sampling"]
    strata = "stratum" if covers["strata"] == 1 else "strata"
    (hue, most_hue), (faint, strong) = covers["hue_degrees"], covers["strength"]
    said = (
        f"{covers['cells']} cells from {covers['strata']} {strata} (patient and class), spread over the stain of "
        f"{covers['candidates']} candidates: hue {hue:.1f} to {most_hue:.1f} degrees, strength {faint:.2f} to "
        f"{strong:.2f}. Ranges by method {found['method']}; INT8's decision was fitted on {found['fit_on']}."
    )
    rows = [(r["method"], r["cells"], r["twin"], r["twin_flips"], r["s8"], r["s8_flips"]) for r in found["methods"]]
    head = ("method", "cells", "CPU graph, RMSE / sigma", "its flips", "S8 graph, RMSE / sigma", "its flips")
    caption = f"Methods against FP32 on {found['fit_on']}; the best comes first and is used."
    return section("Calibration", paragraph(said), *([table(head, rows, caption=caption)] if rows else []))


def _sensitivity(report: Mapping[str, Any]) -> Iterator[Markup]:
    if report["sensitivity"]:
        cells = report["sensitivity_cells"]
        few = "" if cells >= FEW_FOR_LAYERS else f", too few to rank layers by; {FEW_FOR_LAYERS} or more do"
        on = f"Measured on {counted(cells, 'cell')}{few}."
        yield section(
            "What each layer costs in INT8",
            table(
                ("layer", "alone in INT8, logit RMSE", "left in float, RMSE of the rest", "gain of leaving it"),
                [(row["node"], row["alone"], row["kept"], row["gain"]) for row in report["sensitivity"]],
                caption=f"Costliest first; --keep-float NAME leaves one in floating point. {on}",
            ),
        )


def _evaluations(report: Mapping[str, Any]) -> Iterator[Markup]:
    for found in report["evaluations"]:
        data, engines = found["data"], found["engines"]
        names = next(iter(engines.values()))
        few = data.get("warning", "")
        rows = [
            (FIGURES.get(name, name), *(shown(engine[name], few=bool(few)) for engine in engines.values()))
            for name in names
        ]
        yield section(
            f"{data['layout']}, {data['split']} split",
            table(
                ("figure, 95 % interval over patients", *engines),
                rows,
                caption=f"{data['cells']} cells ({data['blasts']} blasts) of {patients_in_words(data['patients'])}, "
                f"split {data.get('split_by', BY_PATIENT)}" + (f"; watch out: {few}" if few else ""),
            ),
        )
