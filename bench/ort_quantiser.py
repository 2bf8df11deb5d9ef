"""Our two INT8 graphs beside those of ONNX Runtime's own quantiser: same FP32 graph, same calibration cells.

`python -m bench.ort_quantiser CHECKPOINT --data DIR --layout deepapl` measures the accuracy of both, and of every
calibration method of ours, on the validation split, with ranges from the training split.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from calibration.methods import METHODS
from calibration.ranges import calibrate_by
from calibration.sample import stratified
from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops, Tensor
from export.quantize import quantize
from export.to_onnx import write_onnx
from training.checkpoint import Classifier, read_classifier
from training.data import LAYOUTS, labelled, labels_of, read_crops
from training.evaluate import agreement, called_blast, scale_of, scores_of
from training.metrics import Labels, auroc, margins_from

PLAIN = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
BATCH = 16
CELLS = 512


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands cells to ONNX Runtime's calibrator, prepared as ours are."""

    def __init__(self, crops: Crops, spec: InputSpec) -> None:
        self.name = spec.name
        parts = range(0, len(crops), BATCH)
        self.batches = (to_batch(crops[k : k + BATCH], spec) for k in parts)

    def get_next(self) -> dict[str, Tensor] | None:
        """The next batch by input name, or None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def write_theirs(fp32: Path, crops: Crops, spec: InputSpec, folder: Path) -> dict[str, Path]:
    """Quantise with ``onnxruntime.quantization``: U8S8, its advice for x86, and symmetric S8S8 as TensorRT needs it.

    Its Python signature defaults to S8 activations; on x86 its kernels fuse hardly any of those, so they are not what
    to compare with.
    """
    logging.getLogger().setLevel(logging.ERROR)  # it advises a preparation that this graph has behind it
    symmetric: dict[str, Any] = {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    }
    default = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    recipes: dict[str, dict[str, Any]] = {"ort_default": default, "ort_symmetric": symmetric}
    made = {name: folder / f"{name}.onnx" for name in recipes}
    for name, recipe in recipes.items():
        quantize_static(fp32, made[name], Reader(crops, spec), quant_format=QuantFormat.QDQ, **recipe)
    return made


def compare(checkpoint: Path, data: Path, layout: str) -> dict[str, dict[str, float]]:
    """Each INT8 graph on validation cells: logit error and flipped decisions against FP32, accuracy and AUROC."""
    classifier = read_classifier(checkpoint)
    calibration, validation, labels = _cells(classifier, data, layout)
    spec = classifier.input
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = folder / "model.onnx"
        model = write_onnx(classifier.network, spec, fp32)
        graphs = _ours(model, fp32, calibration, spec) | write_theirs(fp32, calibration, spec, folder)
        reference = margins_from(scores_of(fp32, validation, spec))
        rows = {}
        for label, path in graphs.items():
            level = {"level": PLAIN} if label.startswith("s8") else {}
            found = margins_from(scores_of(path, validation, spec, **level))
            right = called_blast(found, classifier.decision) == labels
            rows[label] = {
                **agreement(reference, found, classifier.decision, classifier.decision),
                "accuracy": float(right.mean()),
                "auroc": auroc(labels, found),
            }
        return rows


def _ours(model: onnx.ModelProto, fp32: Path, crops: Crops, spec: InputSpec) -> dict[str, Path]:
    graphs: dict[str, Path] = {}
    for method, table in calibrate_by(sorted(METHODS), fp32, crops, spec).items():
        twin, s8 = fp32.with_name(f"twin_{method}.onnx"), fp32.with_name(f"s8_{method}.onnx")
        onnx.save(quantize(model, table.ranges, "cpu"), twin)
        onnx.save(quantize(model, table.ranges, "tensorrt"), s8)
        graphs |= {twin.stem: twin, s8.stem: s8}
    return graphs


def _cells(classifier: Classifier, data: Path, layout: str) -> tuple[Crops, Crops, Labels]:
    samples, scale = LAYOUTS[layout].find(data), scale_of(layout, classifier.recipe)
    pool = labelled(samples, "training")
    chosen = stratified([f"{s.kind} {s.patient}" for s in pool], CELLS, 0)
    calibration = read_crops([pool[k] for k in chosen], scale, classifier.input)
    held = labelled(samples, "validation")
    return calibration, read_crops(held, scale, classifier.input), labels_of(held)


def main() -> int:
    """Entry point; prints the figures as JSON."""
    parser = argparse.ArgumentParser("python -m bench.ort_quantiser", description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True)
    given = parser.parse_args()
    print(json.dumps(compare(given.checkpoint, given.data, given.layout), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
