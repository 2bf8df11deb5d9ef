"""What `compare-engines` found, as one HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from contract.manifest import Manifest
from export.differences import Cells, Verdicts, decision_of
from rendering.html import Picture, page, paragraph, picture_grid, plots, section, table
from rendering.plots import Series, bars_svg, histogram_svg, reliability, reliability_svg, scatter_svg

SHOWN = 60
"""Cells with a picture, at most: a page must open."""


def compare_page(
    report: Mapping[str, Any], cells: Cells, verdicts: Mapping[str, Verdicts], chosen: Sequence[int], manifest: Manifest
) -> str:
    """The page.

    Args:
        report: what `compare.json` holds.
        cells: what was scored.
        verdicts: what each engine said of each cell.
        chosen: cells to show: those whose decision flipped, or else those with the widest disagreement.
        manifest: of the model.
    """
    model, machine = report["model"], report["machine"]
    signed = f"signed by key {model['signed_by']}" if model["signed_by"] else "NOT SIGNED"
    return page(
        f"{model['id']}: engines compared",
        section("Figures", _figures(report), *_missing(report)),
        section("Plots", plots(*_plots(cells, verdicts, report))),
        _cells(report, cells, verdicts, chosen),
        section("How it was measured", _how(report, manifest)),
        lead=f"{len(cells.names):,} cells, every engine against {report['reference']}; model {signed}.",
        foot=f"{manifest.terms} {machine['processor']}, {machine['cores']} cores.",
    )


def _figures(report: Mapping[str, Any]) -> Markup:
    head = ["engine", "flips", "share", "other label", "RMSE", "RMSE / sigma", "99 % within"]
    head += ["accuracy", "AUROC"] if report["data"]["labelled"] else []
    rows, warning = [], report["data"].get("warning", "")
    places = 2 if warning else 4
    for name, found in report["engines"].items():
        row = [name, found["flips"], f"{100 * found['flip_share']:.2f}\u00a0%", found["label_changes"], found["rmse"]]
        row += [found["rmse_over_sigma"], found["distance_quantiles"]["0.99"]]
        if report["data"]["labelled"]:
            row += [
                found[name] if found[name] is None else round(found[name], places) for name in ("accuracy", "auroc")
            ]
        rows.append(row)
    below = [[name, *(found["margin_quantiles"].values())] for name, found in report["engines"].items()]
    quantiles = [f"{100 * float(q):g} %" for q in next(iter(report["engines"].values()))["margin_quantiles"]]
    return table(
        head,
        rows,
        caption=f"Against {report['reference']}. Flips: a blast to one and not to the other. Other label: normal, "
        "uncertain or blast. RMSE: of the margin, logit of blast minus logit of normal; sigma is its spread."
        + (f" Watch out: {warning}." if warning else ""),
    ) + table(["engine", *quantiles], below, caption="Quantiles of the margins.")


def _missing(report: Mapping[str, Any]) -> list[Markup]:
    rows = list(report["not_available"].items())
    return [table(["engine", "why it did not run here"], rows, caption="Not available.")] if rows else []


def _plots(cells: Cells, verdicts: Mapping[str, Verdicts], report: Mapping[str, Any]) -> list[Markup]:
    return [*_margins(verdicts), *_probabilities(cells, verdicts), *_times(report)]


def _margins(verdicts: Mapping[str, Verdicts]) -> Iterator[Markup]:
    reference = next(iter(verdicts))
    base = verdicts[reference].margins
    yield scatter_svg(
        [Series(name, base, v.margins) for name, v in verdicts.items()],
        title=f"Margins against {reference}",
        x_label=f"margin in {reference}",
        y_label="margin",
        describe="Each point is a cell; an engine that agrees lies on the line.",
        diagonal=True,
    )
    yield scatter_svg(
        [Series(name, base, v.margins - base) for name, v in verdicts.items()],
        title="Where they differ",
        x_label=f"margin in {reference}",
        y_label="difference of the margin",
        describe="Each point is a cell; a slope or a step here is a fault, a cloud around zero is rounding.",
    )


def _probabilities(cells: Cells, verdicts: Mapping[str, Verdicts]) -> Iterator[Markup]:
    yield histogram_svg(
        {name: v.probabilities for name, v in verdicts.items()},
        title="Probabilities of a blast",
        x_label="probability",
        describe="How often each probability was said.",
    )
    if cells.labels is not None:
        curves = [reliability(name, cells.labels, v.probabilities) for name, v in verdicts.items()]
        yield reliability_svg(curves, title="Reliability", describe="A calibrated model lies on the line.")


def _times(report: Mapping[str, Any]) -> Iterator[Markup]:
    titles = {"ms_together": "Time for a cell, in batches of 16", "ms_alone": "Time for one cell by itself"}
    for figure, title in titles.items():
        yield bars_svg(
            {name: found[figure] for name, found in report["engines"].items()},
            title=title,
            x_label="milliseconds",
            describe="Median; each engine ran in a process of its own.",
        )


def _cells(report: Mapping[str, Any], cells: Cells, verdicts: Mapping[str, Verdicts], chosen: Sequence[int]) -> Markup:
    flips = len(report["flipped"])
    pictures = picture_grid(_picture(k, cells, verdicts) for k in chosen[:SHOWN])
    if not flips:
        text = "No decision flipped. These are the cells on which the engines are furthest apart:"
        return section("Flipped decisions", paragraph(text), pictures)
    shown = "" if flips <= SHOWN else f"; the {SHOWN} with the widest disagreement are shown, compare.json names all"
    text = f"Cells that are a blast to one engine and not to another: {flips}{shown}."
    return section("Flipped decisions", paragraph(text), pictures)


def _picture(k: int, cells: Cells, verdicts: Mapping[str, Verdicts]) -> Picture:
    truth = "" if cells.labels is None else f"is {('normal', 'blast')[int(cells.labels[k])]}"
    said = [f"{name}: {v.probabilities[k]:.3f} {v.labels[k]}" for name, v in verdicts.items()]
    lines = [line for line in (cells.names[k], truth, *said) if line]
    return Picture(np.ascontiguousarray(cells.crops[k]), lines, f"white cell {cells.names[k]}")


def _how(report: Mapping[str, Any], manifest: Manifest) -> Markup:
    rows = []
    for name, found in report["engines"].items():
        decision = decision_of(manifest, name)
        rows.append([name, found["runtime"], decision.temperature, decision.threshold])
    return table(
        ["engine", "runtime", "temperature", "threshold"],
        rows,
        caption=f"ONNX Runtime on {report['machine']['threads']} thread(s). int8-reference is the graph for TensorRT, "
        "run as it is written: what TensorRT is to compute.",
    )
