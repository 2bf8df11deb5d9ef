"""`python -m engines.score_tensorrt`: cells through a TensorRT engine, in a process of its own.

`compare-engines` calls it: the workshops do not import the agent, and what is compared must be what the agent runs.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from common.arguments import place, state_dir_if_any
from common.errors import MicroscopeError
from contract.bundle import open_bundle
from contract.trust_options import trust_from
from engines.plan import open_engine
from engines.scoring import score, scoring_arguments, write_scored

if TYPE_CHECKING:
    from contract.manifest import Precision

PRECISIONS: "dict[str, Precision]" = {"tensorrt": "int8", "tensorrt-fp16": "fp16", "tensorrt-fp32": "fp32"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        bundle = open_bundle(given.bundle, trust_from(given))
        precision = PRECISIONS[given.engine]
        with closing(
            open_engine(bundle, state_dir=given.state_dir or state_dir_if_any(), precision=precision)
        ) as engine:
            scored = score(engine.name, engine.scores, np.load(given.crops), bundle.manifest.input)
    except MicroscopeError as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    write_scored(given.out, scored)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = scoring_arguments("engines.score_tensorrt", __doc__, PRECISIONS)
    parser.add_argument(
        "--state-dir", type=place, help="where the agent keeps its TensorRT engines; default: the user's"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
