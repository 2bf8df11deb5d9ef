"""Runs the FP32 graph with all its activations exposed, and keeps their ranges: `calibration.json`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from pydantic import BaseModel, ConfigDict, Field

from calibration.methods import METHODS
from calibration.sample import fingerprint
from contract.errors import UsageError
from contract.manifest import InputSpec, Sha256
from contract.pixels import to_batch
from contract.types import Crops, Tensor

BATCH = 16


class Table(BaseModel):
    """The ranges of one graph on one sample; both INT8 graphs are made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(description="Name of the calibration method.")
    cells: int = Field(ge=1, description="Number of calibration cells.")
    sample_sha256: Sha256 = Field(description="Hash over the calibration crops.")
    model_sha256: Sha256 = Field(description="Hash of the FP32 graph that was run.")
    ranges: dict[str, tuple[float, float]] = Field(description="Smallest and largest value by tensor name.")


@dataclass(frozen=True, slots=True)
class Observed:
    """Every activation of a graph over a sample, batch by batch; each walk runs the graph again."""

    model: onnx.ModelProto
    crops: Crops
    spec: InputSpec

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        exposed, names = _expose(self.model)
        session = ort.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
        for k in range(0, len(self.crops), BATCH):
            batch = to_batch(self.crops[k : k + BATCH], self.spec)
            values = session.run(names, {self.spec.name: batch})
            yield {self.spec.name: batch, **dict(zip(names, values, strict=True))}


def calibrate(path: Path, crops: Crops, spec: InputSpec, *, method: str = "minmax") -> Table:
    """Measure the range of every activation.

    Args:
        path: the FP32 graph.
        crops: the calibration cells, (N, size, size, 3) uint8.
        spec: what the graph expects.
        method: key of ``METHODS``.

    Raises:
        UsageError: no such method, or no cell.
    """
    if method not in METHODS:
        raise UsageError(f"there is no calibration method {method!r}; choose from {', '.join(METHODS)}")
    if not len(crops):
        raise UsageError("there is no cell to calibrate with; name a folder with images")
    found = METHODS[method](Observed(onnx.load(path), crops, spec))
    return Table(
        method=method,
        cells=len(crops),
        sample_sha256=fingerprint(crops),
        model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        ranges=found,
    )


def _expose(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy of the graph that returns the result of each node, and their names."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    return exposed, names
