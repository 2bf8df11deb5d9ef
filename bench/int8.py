"""How much faster the INT8 twin is than FP32, on this processor, in ONNX Runtime, on one thread."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from contract.bundle import FP32, INT8_CPU, SHIPPED

BATCHES = (1, 16)
ROUNDS = 5
SECONDS = 1.0
PROGRAM = """
import sys, time
import numpy as np, onnxruntime as ort
path, rows, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = session.get_inputs()[0]
batch = np.random.default_rng(0).normal(size=(rows, *image.shape[1:])).astype(np.float32)
for _ in range(5):
    session.run(None, {image.name: batch})
times, end = [], time.perf_counter() + seconds
while time.perf_counter() < end:
    began = time.perf_counter()
    session.run(None, {image.name: batch})
    times.append(time.perf_counter() - began)
print(1e3 * sorted(times)[len(times) // 2])
"""
"""Several sessions in one process disturb each other's timing, so each is measured in a process of its own."""


def measure(bundle: Path) -> dict[str, float]:
    """Median times of both graphs, measured in turns so that both meet the same load.

    Args:
        bundle: folder with both graphs.

    Returns:
        Per batch size, milliseconds per cell of FP32 and INT8 and the median over rounds of their ratio.
    """
    figures: dict[str, float] = {}
    for rows in BATCHES:
        pairs = [(_median_ms(bundle / FP32, rows), _median_ms(bundle / INT8_CPU, rows)) for _ in range(ROUNDS)]
        figures[f"fp32_ms_per_cell_batch_{rows}"] = round(statistics.median(p[0] for p in pairs) / rows, 3)
        figures[f"int8_ms_per_cell_batch_{rows}"] = round(statistics.median(p[1] for p in pairs) / rows, 3)
        figures[f"fp32_over_int8_batch_{rows}"] = round(statistics.median(p[0] / p[1] for p in pairs), 2)
    return figures


def _median_ms(graph: Path, rows: int) -> float:
    command = [sys.executable, "-c", PROGRAM, str(graph), str(rows), str(SECONDS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(json.dumps(measure(SHIPPED), indent=1))
