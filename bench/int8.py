"""How much faster the INT8 CPU graph is than FP32, and than what ONNX Runtime's quantiser makes; on one thread."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench import ort_time
from bench.ort_quantiser import write_theirs
from contract.bundle import FP32, INT8_CPU, SHIPPED, open_bundle
from contract.pixels import stack
from export.golden import draw_cell

BATCHES = (1, 16)
ROUNDS = 7
DRAWN = 64
"""Cells that ONNX Runtime's quantiser gets for its ranges; they matter little for its speed."""


def measure(bundle: Path) -> dict[str, float]:
    """Median times of four graphs, measured in turns so that all meet the same load.

    Args:
        bundle: folder with FP32 and the CPU graph; from its FP32 graph, ONNX Runtime's quantiser makes the other two.

    Returns:
        Per batch size, milliseconds per cell, and the median over rounds of ratios to the CPU graph's time.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = open_bundle(bundle).manifest.input
        rng = np.random.default_rng(0)
        crops = stack((draw_cell(spec, blast=k % 2 == 0, rng=rng) for k in range(DRAWN)), spec)
        theirs = write_theirs(bundle / FP32, crops, spec, Path(folder))
        return ratios({"fp32": bundle / FP32, "int8": bundle / INT8_CPU, **theirs})


def ratios(graphs: Mapping[str, Path], to: str = "int8") -> dict[str, float]:
    """Time several graphs in turns; figures as in ``measure``."""
    figures: dict[str, float] = {}
    for rows in BATCHES:
        rounds = [{name: _median_ms(path, rows) for name, path in graphs.items()} for _ in range(ROUNDS)]
        for name in graphs:
            figures[f"{name}_ms_per_cell_batch_{rows}"] = round(statistics.median(r[name] for r in rounds) / rows, 3)
        for name in graphs.keys() - {to}:
            figures[f"{name}_over_{to}_batch_{rows}"] = round(statistics.median(r[name] / r[to] for r in rounds), 2)
    return dict(sorted(figures.items()))


def _median_ms(graph: Path, rows: int) -> float:
    """Of a batch, in a process of its own: several sessions in one disturb each other's timing."""
    command = [sys.executable, "-m", ort_time.__name__, str(graph), str(rows)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(json.dumps(measure(SHIPPED), indent=1))
