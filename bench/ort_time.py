"""`python -m bench.ort_time GRAPH ROWS`: median milliseconds of one batch of a graph in ONNX Runtime on one thread."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from engines.session import open_session

REHEARSALS = 5
SECONDS = 0.7


def median_ms(graph: Path, rows: int) -> float:
    """Score batches of noise for a while; the first few are not timed."""
    session = open_session(graph, threads=1)
    image = session.get_inputs()[0]
    batch = np.random.default_rng(0).normal(size=(rows, *image.shape[1:])).astype(np.float32)
    for _ in range(REHEARSALS):
        session.run(None, {image.name: batch})
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, {image.name: batch})
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median_high(times)


if __name__ == "__main__":
    print(median_ms(Path(sys.argv[1]), int(sys.argv[2])))
