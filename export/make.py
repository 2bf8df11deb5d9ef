"""From a checkpoint to a bundle: the steps in order."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from pydantic import ValidationError

from calibration.ranges import Table, calibrate
from calibration.sample import stratified
from contract import bundle
from contract.errors import UsageError
from contract.manifest import Calibration, ClassSpec, Manifest
from contract.types import Crops
from export.card import ABOUT, model_card
from export.golden import golden_batch
from export.quantize import quantize
from export.to_onnx import write_onnx
from training.checkpoint import Classifier, read_classifier
from training.data import LAYOUTS, Sample, images_below, labelled, read_crops
from training.evaluate import agreement, scale_of, scores_of
from training.evaluate import table as readable
from training.metrics import margins_from

TASK = "Tells blasts from other white blood cells."
TERMS = "Research use only: not a medical device, never a diagnosis."
GRAPHS = (bundle.FP32, bundle.INT8, bundle.INT8_CPU)


@dataclass(frozen=True, slots=True)
class Order:
    """What to export.

    Attributes:
        model: checkpoint of train-classifier.
        calibration: folder of cell images.
        layout: key of ``LAYOUTS`` if that folder is labelled; then only its training split is used.
        um_per_pixel: scale of the images there, if not the layout's or the training's.
        cells: how many calibration cells to use.
        seed: of their choice.
        evaluations: reports of evaluate-classifier to put into the bundle.
    """

    model: Path
    calibration: Path
    out: Path
    layout: str | None = None
    um_per_pixel: float | None = None
    cells: int = 512
    seed: int = 0
    evaluations: Sequence[Path] = ()


def export(order: Order, *, quiet: bool = False) -> bundle.Bundle:
    """Make a bundle.

    Raises:
        UsageError: the model is no checkpoint, there is nothing to calibrate with, or an evaluation belongs to
            another model.
        CheckError: the exported graph does not compute what the network computes.
    """
    classifier = read_classifier(order.model)
    crops = calibration_crops(order, classifier, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="export-") as workshop:
        files = {name: Path(workshop) / name for name in bundle.FILES}
        write_onnx(classifier.network, classifier.input, files[bundle.FP32])
        table = calibrate(files[bundle.FP32], crops, classifier.input)
        files[bundle.CALIBRATION].write_text(table.model_dump_json(indent=1) + "\n")
        write_int8(files, table)
        graphs = {name: files[name] for name in GRAPHS}
        bundle.write_golden(files[bundle.GOLDEN], golden_batch(classifier.input, graphs))
        manifest = _manifest(order, classifier, table)
        report = _report(order, classifier, files, crops)
        files[bundle.REPORT].write_text(json.dumps(report, indent=1) + "\n")
        files[bundle.MODEL_CARD].write_text(model_card(manifest, report))
        return bundle.write_bundle(order.out, manifest, files)


def write_int8(files: Mapping[str, Path], table: Table) -> None:
    """Write both INT8 graphs from the FP32 graph and one table."""
    model = onnx.load(files[bundle.FP32])
    onnx.save(quantize(model, table.ranges, "tensorrt"), files[bundle.INT8])
    onnx.save(quantize(model, table.ranges, "cpu"), files[bundle.INT8_CPU])


def calibration_crops(order: Order, classifier: Classifier, *, quiet: bool) -> Crops:
    """Crops of the chosen calibration cells, as the network will see them."""
    if order.layout is None:
        samples = _any_images(order.calibration)
        scale = order.um_per_pixel or float(classifier.recipe["um_per_pixel"])
    else:
        samples = labelled(LAYOUTS[order.layout].find(order.calibration), "training")
        scale = order.um_per_pixel or scale_of(order.layout, classifier.recipe)
    chosen = stratified([f"{s.kind} {s.patient}" for s in samples], order.cells, order.seed)
    return read_crops([samples[k] for k in chosen], scale, classifier.input, quiet=quiet)


def _any_images(root: Path) -> list[Sample]:
    """Every image below a folder; each folder is a stratum."""
    paths = images_below(root)
    if not paths:
        raise UsageError(f"{root} holds no image; name a folder of cell images for --calibration")
    return [Sample(p, p.parent.as_posix(), "", "rare", "training") for p in paths]


def _manifest(order: Order, classifier: Classifier, table: Table) -> Manifest:
    about = ABOUT[classifier.recipe["layout"]]
    try:
        return Manifest(
            id=order.out.resolve().name,
            created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            task=TASK,
            terms=TERMS,
            input=classifier.input,
            classes=(
                ClassSpec(name="normal", description=about.normal),
                ClassSpec(name="blast", description=about.blast),
            ),
            decision=classifier.decision,
            calibration=Calibration(method=table.method, cells=table.cells, sample_sha256=table.sample_sha256),
            files={},
        )
    except ValidationError as cause:
        what = cause.errors()[0]
        raise UsageError(
            f"{order.out} can not be a bundle: {what['loc'][0]} {what['msg']}; the folder's name becomes the model's id"
        ) from cause


def _report(order: Order, classifier: Classifier, files: Mapping[str, Path], crops: Crops) -> dict[str, Any]:
    recipe = dict(classifier.recipe)
    found = [_evaluation(path, files) for path in order.evaluations]
    return {
        "schema_version": 1,
        "training": {
            "layout": recipe["layout"],
            "terms": LAYOUTS[recipe["layout"]].terms,
            "parameters": sum(p.numel() for p in classifier.network.parameters()),
            "epoch": classifier.epoch,
            "recipe": recipe,
            "validation": dict(classifier.validation),
        },
        "agreement": _agreement(classifier, files, crops),
        "evaluations": [e for e in found if e["model"]["trained_on_split"] == "patient"],
        "leaky": [e for e in found if e["model"]["trained_on_split"] == "random"],
    }


def _agreement(classifier: Classifier, files: Mapping[str, Path], crops: Crops) -> dict[str, dict[str, float]]:
    """INT8 against FP32 on the calibration cells; the S8 graph is run as written, which is how TensorRT computes it."""
    plain = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    spec = classifier.input
    reference = margins_from(scores_of(files[bundle.FP32], crops, spec))
    others = {
        bundle.INT8_CPU: scores_of(files[bundle.INT8_CPU], crops, spec),
        bundle.INT8: scores_of(files[bundle.INT8], crops, spec, level=plain),
    }
    return {name: agreement(reference, margins_from(s), classifier.decision) for name, s in others.items()}


def _evaluation(path: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """Read a report of evaluate-classifier, and refuse one of another model."""
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        origin = report["model"]
        leaky = origin["trained_on_split"] == "random"
        hashes = origin.get("graphs", {})
        readable(report)  # what can not be shown is no report
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise UsageError(f"{path} is no report of evaluate-classifier; write one with it") from cause
    wanted = {"fp32": bundle.sha256_of(files[bundle.FP32]), "int8-cpu": bundle.sha256_of(files[bundle.INT8_CPU])}
    if not leaky and hashes != wanted:
        raise UsageError(f"{path} reports on other graphs than these; evaluate the bundle again, then export")
    return report
