"""`export-engine`: from a checkpoint to a bundle that the agent can run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contract.bundle import MANIFEST
from contract.errors import MicroscopeError
from export.make import Order, export
from training.data import LAYOUTS


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    order = Order(
        given.model,
        given.calibration,
        given.out,
        layout=given.layout,
        um_per_pixel=given.um_per_pixel,
        cells=given.cells,
        seed=given.seed,
        evaluations=given.evaluation,
    )
    try:
        made = export(order)
    except MicroscopeError as failure:
        print(f"export-engine: {failure}", file=sys.stderr)
        return failure.exit_code
    print(f"{made.path}: {made.manifest.id}, {made.manifest.calibration.cells} calibration cells")
    for path in sorted(made.path.iterdir()):
        print(f"  {path.name:22} {path.stat().st_size:>10,} bytes {'' if path.name != MANIFEST else made.sha256}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("export-engine", description=__doc__)
    parser.add_argument("model", type=Path, help="checkpoint of train-classifier (classifier.pt)")
    parser.add_argument("--int8", action="store_true", required=True, help="quantise to INT8")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of cell images, of any depth")
    parser.add_argument("--out", type=Path, required=True, help="bundle to write; its name becomes the model's id")
    parser.add_argument(
        "--layout", choices=sorted(LAYOUTS), help="the calibration folder is labelled: use its training split only"
    )
    parser.add_argument("--um-per-pixel", type=float, help="scale of the calibration images, if not the training's")
    parser.add_argument("--cells", type=int, default=512, help="number of calibration cells")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    parser.add_argument(
        "--evaluation", type=Path, action="append", default=[], help="report of evaluate-classifier to include"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
