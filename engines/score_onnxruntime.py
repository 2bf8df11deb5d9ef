"""`python -m engines.score_onnxruntime`: cells through one graph of a bundle in ONNX Runtime, in a process of its own.

`compare-engines` calls it: sessions that share a process disturb one another's times.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from common.arguments import whole
from common.errors import MicroscopeError
from contract.bundle import FP32, INT8, INT8_CPU, open_bundle
from contract.trust_options import trust_from
from contract.types import Tensor
from engines.scoring import score, scoring_arguments, write_scored

GRAPHS = {"fp32": (FP32, False), "int8-cpu": (INT8_CPU, False), "int8-reference": (INT8, True)}
"""By engine the graph, and whether it runs as it is written: so the S8 graph computes what TensorRT is to compute."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    from engines.session import RUNTIME, open_session  # noqa: PLC0415 - who imports this module for its name needs none

    graph, as_written = GRAPHS[given.engine]
    try:
        bundle = open_bundle(given.bundle, trust_from(given))
        session = open_session(bundle.read(graph), as_written=as_written, threads=given.threads, quiet=True)
    except MicroscopeError as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    spec = bundle.manifest.input

    def run(batch: Tensor) -> Tensor:
        return np.asarray(session.run(None, {spec.name: batch})[0], np.float32)

    write_scored(given.out, score(f"{RUNTIME}, {graph}", run, np.load(given.crops), spec))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = scoring_arguments("engines.score_onnxruntime", __doc__, GRAPHS)
    parser.add_argument("--threads", type=whole(), default=1)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
