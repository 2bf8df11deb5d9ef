"""Which calibration method a network gets: the one whose graphs answer nearest to FP32 on cells it has not seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from calibration.ranges import Table
from calibration.strata import stratified
from contract.decide import margins_of
from contract.manifest import TWO, Columns, Decision, InputSpec
from contract.pixels import to_batch
from contract.types import Crops, Tensor
from engines.session import open_session
from evaluation.datasets.sample import Sample
from evaluation.judgement import agreement
from evaluation.metrics import Numbers
from export.quantize import Target, quantize

CELLS = 512
"""At most so many are scored: the order of the methods shows on fewer."""
BATCH = 32


@dataclass(frozen=True, slots=True)
class Row:
    """How far the two graphs of one method's table are from FP32, both deciding as FP32 does.

    Attributes:
        method: key of ``METHODS``.
        cells: how many were scored.
        twin: RMSE of the margins over their spread, of the graph for CPUs; None where FP32 scores all cells alike.
        twin_flips: decisions in which it differs.
        s8: the same of the graph for TensorRT, run as it is written.
        s8_flips: decisions in which that differs.
    """

    method: str
    cells: int
    twin: float | None
    twin_flips: int
    s8: float | None
    s8_flips: int


def cells_to_pick_on(fit: Sequence[Sample]) -> list[Sample]:
    """Some of the fitting cells, by patient and class; of the two classes if any is labelled."""
    known = [s for s in fit if s.labelled] or list(fit)
    return [known[k] for k in stratified([f"{s.kind} {s.patient}" for s in known], CELLS, 0)]


def ranked(
    model: onnx.ModelProto,
    tables: Mapping[str, Table],
    crops: Crops,
    spec: InputSpec,
    *,
    decision: Decision,
    columns: Columns = TWO,
    keep_float: Collection[str] = (),
    quiet: bool = False,
) -> list[Row]:
    """Quantise by each table and compare with FP32; the best table comes first.

    One table makes both graphs, so it is as good as the worse of them.

    Args:
        model: the FP32 graph; not changed.
        tables: by method.
        crops: (N, size, size, 3) uint8, cells that made none of the tables; at least one.
        spec: what the graph expects.
        decision: of FP32.
        columns: what stands where in the scores.
        keep_float: names of nodes to leave in floating point.
        quiet: draw no progress bar.
    """

    def margins(graph: onnx.ModelProto, *, as_written: bool = False) -> Numbers:
        return margins_of(_scores(graph, crops, spec, as_written=as_written), columns)

    reference = margins(model)

    def distance(method: str, target: Target) -> dict[str, Any]:
        graph = quantize(model, tables[method].ranges, target, keep_float=keep_float)
        return agreement(reference, margins(graph, as_written=target == "tensorrt"), decision, decision)

    rows: list[tuple[float, Row]] = []
    for method in tqdm(tables, "picking", unit="method", disable=quiet or None):
        twin, s8 = distance(method, "cpu"), distance(method, "tensorrt")
        shown = [found[name] for found in (twin, s8) for name in ("rmse_over_sigma", "flips")]
        rows.append((max(twin["rmse"], s8["rmse"]), Row(method, len(crops), *shown)))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _scores(model: onnx.ModelProto, crops: Crops, spec: InputSpec, *, as_written: bool) -> Tensor:
    session = open_session(model.SerializeToString(), as_written=as_written)
    batches = (to_batch(crops[k : k + BATCH], spec) for k in range(0, len(crops), BATCH))
    return np.concatenate([session.run(None, {spec.name: batch})[0] for batch in batches])
