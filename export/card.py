"""The model card, written from the report's figures so that text and figures can not disagree."""

from collections.abc import Iterable, Mapping
from typing import Any

from contract.manifest import Manifest
from evaluation.datasets import about_of
from evaluation.metrics import of_sigma
from evaluation.overview import BY_IMAGE, BY_PATIENT
from evaluation.readable import shown
from export.model_error import known_error_words

HEAD = """# Model card: {id}

**{terms}**

{task} The network sees {size} x {size} pixels, a field of {field:.0f} um at {scale:.4f} um per pixel,
around the middle of one white cell; {parameters:,} parameters, residual convolutions, one view per cell (no rotation
averaging). INT8 ranges: method `{method}` on {cells} training cells, spread over patients, classes and stain.

| column of the scores | trained on |
|---|---|
{columns}

| decision for | temperature | threshold | `uncertain` between |
|---|---|---|---|
{decisions}

Chosen on the validation split, which did not train the network; figures on it are flattered. The test split is of other
patients.

{error}
"""

LIMITS = """## Limits

- For research only. It never diagnoses, and no patient may be treated by its word.
{limits}
- `model.int8.cpu.onnx` holds signed weights and unsigned activations. On x86 processors without VNNI, INT8 sums of the
  first convolution can saturate; the golden batch is there to catch it.

## Data and terms

Trained on {data}.

No image of these data is in this bundle; the golden batch is drawn by the exporter. The weights are
for research use only. {weights}
"""


def model_card(manifest: Manifest, report: Mapping[str, Any]) -> str:
    """Markdown for people, from the manifest and `report.json`."""
    found = report["evaluations"]
    head = HEAD.format(
        id=manifest.id,
        terms=manifest.terms,
        task=manifest.task,
        size=manifest.input.size,
        field=manifest.input.field_um,
        scale=manifest.input.um_per_pixel,
        parameters=report["training"]["parameters"],
        method=manifest.calibration.method,
        cells=manifest.calibration.cells,
        columns="\n".join(f"| {k}: `{c.name}` | {c.description} |" for k, c in enumerate(manifest.classes)),
        decisions="\n".join(
            f"| {name} | {d.temperature} | {d.threshold} | {d.uncertain_from} and {d.uncertain_to} |"
            for name, d in (("FP32", manifest.decisions.fp32), ("INT8", manifest.decisions.int8))
        ),
        error=known_error_words(manifest),
    )
    if report["training"]["recipe"].get("by_image"):
        head += f"\n**Its cells were split {BY_IMAGE}:** nobody knows whose they are, and every figure is flattered.\n"
    parts = [head, _gate(report), *(_evaluation(e) for e in found)]
    if report["leaky"]:
        parts.append(_leaky(report))
    about = about_of(report["training"]["datasets"])
    parts.append(LIMITS.format(limits=about.limits, data=report["training"]["terms"], weights=about.weights))
    return "\n".join(parts)


def _gate(report: Mapping[str, Any]) -> str:
    gate = report["gate"]
    said = "passed" if gate["state"] == "passed" else "SKIPPED: nobody has shown that INT8 answers as FP32 does"
    lines = [
        f"## The gate: {said}",
        "",
        f"INT8 against FP32 on {gate['on']} ({gate['cells']} cells).",
        *([f"Watch out: {gate['caveat']}."] if gate["caveat"] else []),
        "",
        "| graph | cells compared | flipped decisions | margin RMSE / sigma | accuracy lost | AUROC lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, cost in gate["costs"].items():
        lost = [f"{100 * cost['accuracy_drop']:.2f} points" if "accuracy_drop" in cost else "n/a",
                f"{cost['auroc_drop']:.5f}" if "auroc_drop" in cost else "n/a"]  # fmt: skip
        flips = f"{cost['flips']} ({100 * cost['flip_share']:.2f} %)"
        lines.append(f"| {name} | {cost['cells']} | {flips} | {of_sigma(cost)} | {' | '.join(lost)} |")
    return "\n".join([*lines, ""])


def _evaluation(report: Mapping[str, Any]) -> str:
    data, engines = report["data"], report["engines"]
    few = data.get("warning", "")
    head = f"## {data['layout']}, {data['split']} split\n\n"
    head += f"{data['cells']} cells ({data['blasts']} blasts) {_owners(data)}\n"
    head += f"\nWatch out: {few}.\n" if few else ""
    lines = [f"| figure | {' | '.join(engines)} |", "|---" * (1 + len(engines)) + "|"]
    lines += [
        f"| {name} | {' | '.join(shown(engine[name], few=bool(few)) for engine in engines.values())} |"
        for name in next(iter(engines.values()))
    ]
    tail = [
        f"{name}: {found['flips']} of {found['cells']} decisions flipped ({100 * found['flip_share']:.2f} %), "
        f"logit RMSE {found['rmse']:.3f}."
        for name, found in report["agreement"].items()
    ]
    rest = report["abstention"]
    right, tenth = rest["accuracy_of_the_rest"], rest.get("accuracy_of_nine_tenths")
    by_score = rest.get("accuracy_of_nine_tenths_by_score")
    tail.append(
        f"Called uncertain: {100 * rest['uncertain_share']:.1f} %; accuracy of the rest "
        + ("n/a." if right is None else f"{100 * right:.1f} %.")
        + ("" if tenth is None else f" With a tenth uncertain, what is unlike the training first: {100 * tenth:.1f} %;")
        + ("" if by_score is None else f" by the nearness to the threshold alone: {100 * by_score:.1f} %.")
    )
    return "\n".join([head, *lines, "", *tail, "", *_apart(report)])


def _owners(data: Mapping[str, Any]) -> str:
    """Whose an evaluation's cells are, and over whom its intervals are drawn."""
    if data.get("split_by", BY_PATIENT) == BY_PATIENT:
        return (
            f"of {data['patients']} patients, none of them in another split. Brackets: 95 % bootstrap interval over "
            "patients."
        )
    return (
        f"split {data['split_by']}: cells of one person may stand in several splits, which flatters every figure. "
        "Brackets: 95 % bootstrap interval over images."
    )


def _apart(report: Mapping[str, Any]) -> Iterable[str]:
    rows = [(kind, group, found) for kind in ("rare", "reject") for group, found in report[kind].items()]
    if not rows:
        return []
    names = "| kind | images | called blast | uncertain | no cell found |"
    lines = ["Cells that are neither class:", "", names, "|---|---|---|---|---|"]
    for kind, group, found in rows:
        parts = (found.get(name, 0.0) for name in ("called_blast", "uncertain", "not_found"))
        shares = " | ".join(f"{100 * part:.1f} %" for part in parts)
        lines.append(f"| {group} ({kind}) | {found['cells']} | {shares} |")
    return [*lines, ""]


def _leaky(report: Mapping[str, Any]) -> str:
    honest = {(e["data"]["layout"], e["data"]["split"]): e for e in report["evaluations"]}
    lines = [
        "## What a random split would have claimed",
        "",
        "The same recipe trained on a split by image instead of by patient, for comparison with works that split so.",
        "These are not the figures of this model.",
        "",
        "| split | figure | by patient (honest, FP32) | by image (leaky, FP32) |",
        "|---|---|---|---|",
    ]
    for leaky in report["leaky"]:
        data = leaky["data"]
        honest_one = honest.get((data["layout"], data["split"]))
        for name in ("auroc", "accuracy", "weighted_f1"):
            there = shown(next(iter(leaky["engines"].values()))[name], few=bool(data.get("warning")))
            few = bool(honest_one and honest_one["data"].get("warning"))
            here = shown(honest_one["engines"]["fp32"][name], few=few) if honest_one else "not measured"
            lines.append(f"| {data['split']} | {name} | {here} | {there} |")
    return "\n".join([*lines, ""])
