"""INT8 graphs by ONNX Runtime's own quantiser, to compare ours with."""

import logging
from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops, Tensor

BATCH = 16


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
