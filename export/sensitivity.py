"""Which layer costs how much accuracy in INT8."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from tqdm import tqdm

from calibration.ranges import Table
from common.errors import UsageError
from contract.decide import margins_of
from contract.manifest import TWO, Columns, InputSpec
from contract.pixels import to_batch
from contract.types import Crops, Tensor
from engines.session import open_session
from evaluation.metrics import Numbers
from export.quantize import convolutions, quantising, quantize

BATCH = 32


@dataclass(frozen=True, slots=True)
class Row:
    """What INT8 costs at one Conv; both figures are root mean squares in logits (blast minus normal).

    Attributes:
        node: name of the Conv, as ``keep_float`` takes it.
        alone: distance from FP32 when this Conv alone is INT8: its own cost.
        kept: distance from FP32 when all is INT8 but this Conv: what is left if it stays in floating point.
        gain: by how much keeping it brings INT8 nearer to FP32; may be negative, for errors can cancel.
    """

    node: str
    alone: float
    kept: float
    gain: float


def sensitivity(
    model: onnx.ModelProto,
    table: Table,
    crops: Crops,
    spec: InputSpec,
    *,
    columns: Columns = TWO,
    quiet: bool = False,
) -> list[Row]:
    """Quantise each Conv alone, and all but each, in the CPU graph.

    Args:
        model: the FP32 graph; not changed.
        table: its ranges.
        crops: the cells to compare on, (N, size, size, 3) uint8; a few hundred are enough.
        spec: what the graph expects.
        columns: what stands where in its scores.
        quiet: draw no progress bar.

    Returns:
        A row for each Conv, the costliest first.

    Raises:
        UsageError: there is no cell, or the table does not belong to this graph.
    """
    if not len(crops):
        raise UsageError("there is no cell to measure the sensitivity on; name a folder with images")
    batches = [to_batch(crops[k : k + BATCH], spec) for k in range(0, len(crops), BATCH)]
    reference = _margins(model, batches, columns)

    def distance(keep: Collection[str]) -> float:
        cpu_graph = quantize(model, table.ranges, "cpu", keep_float=keep)
        return float(np.sqrt(np.mean((_margins(cpu_graph, batches, columns) - reference) ** 2)))

    every = set(quantising(model))
    whole = distance(())
    rows = []
    for name in tqdm(convolutions(model), "sensitivity", unit="layer", disable=quiet or None):
        kept = distance({name})
        rows.append(Row(name, distance(every - {name}), kept, whole - kept))
    return sorted(rows, key=lambda row: -row.alone)


def _margins(model: onnx.ModelProto, batches: list[Tensor], columns: Columns) -> Numbers:
    session = open_session(model.SerializeToString())
    name = session.get_inputs()[0].name
    return margins_of(np.concatenate([session.run(None, {name: batch})[0] for batch in batches]), columns)
