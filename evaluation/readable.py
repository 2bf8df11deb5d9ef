"""Reports of an evaluation as text for a reader at a terminal."""

from collections.abc import Mapping
from typing import Any

from common.words import counted
from evaluation.overview import BY_PATIENT, patients_in_words

LEAKY = "leaky split, FP32"
"""Heading of the figures that stand beside the honest ones for comparison only."""


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


def shown_resamples(report: Mapping[str, Any]) -> str:
    """What thresholds do to people on whom they were not chosen, for each data set."""
    lines = [f"watch out: {report['warning']}"] if report["warning"] else []
    lines.append(f"thresholds chosen on half of the people, judged on the others: {counted(report['cells'], 'cell')}")
    if report["unlike_training"]:
        lines.append(f"left out, being unlike the training: {counted(report['unlike_training'], 'cell')}")
    for data_set, figures in report["data_sets"].items():
        lines.append(f"{data_set}: mean, and the middle nine tenths of the draws")
        for name, found in figures.items():
            line = f"  {name:24}{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            lines.append(line + (f"; {found['bound']:g} held in {found['held']:.0%}" if "bound" in found else ""))
    return "\n".join(lines)
