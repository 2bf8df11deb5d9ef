"""`python -m engines.score_onnxruntime`: cells through one graph of a bundle in ONNX Runtime, in a process of its own.

`compare-engines` calls it: sessions that share a process disturb one another's times.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from common.arguments import whole
from common.errors import MicroscopeError
from contract.bundle import FP32, INT8, INT8_CPU, open_bundle
from contract.trust_options import trust_from
from contract.types import Tensor
from engines.scoring import score, scoring_arguments, write_scored

AS_WRITTEN = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
OPTIMISED = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
GRAPHS = {"fp32": (FP32, OPTIMISED), "int8-cpu": (INT8_CPU, OPTIMISED), "int8-reference": (INT8, AS_WRITTEN)}
"""Graph and optimisation by engine. The S8 graph, run as it is written, computes what TensorRT is to compute."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    graph, level = GRAPHS[given.engine]
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = given.threads
    options.log_severity_level = 3
    try:
        bundle = open_bundle(given.bundle, trust_from(given))
        session = ort.InferenceSession(bundle.read(graph), options, providers=["CPUExecutionProvider"])
    except MicroscopeError as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    spec = bundle.manifest.input

    def run(batch: Tensor) -> Tensor:
        return np.asarray(session.run(None, {spec.name: batch})[0], np.float32)

    name = f"onnxruntime {ort.__version__}, {graph}"
    write_scored(given.out, score(name, run, np.load(given.crops), spec))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = scoring_arguments("engines.score_onnxruntime", __doc__, GRAPHS)
    parser.add_argument("--threads", type=whole(), default=1)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
