"""`export-engine`: from a checkpoint to a bundle that the agent can run."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from calibration.methods import METHODS
from contract.arguments import default_state_dir, micrometres
from contract.bundle import MANIFEST, Bundle, open_bundle
from contract.errors import EngineError, IntegrityError, MicroscopeError, UsageError
from contract.manifest import Precision
from contract.trust_options import add_trust, trust_from
from export.cells import Wanted
from export.engine import build_engine
from export.keygen import instructions, keygen, read_private_key
from export.make import Order, export
from export.pick import AUTO
from training.data import LAYOUTS

LAYOUT_HELP = """the folders are labelled: calibrate on the training split; fit INT8's decision on the validation split
and gate on the test split of --gate"""
ENGINES: dict[Precision, str] = {
    "int8": "engine in INT8, with the scales of the calibration",
    "fp16": "engine in FP16; on TensorRT 11 made with onnx",
    "fp32": "engine in FP32",
}
FOR_BUNDLES = {"model", "precision", "typing", "state_dir", "trust", "allow_unsigned"}
"""Arguments that have a meaning where MODEL is a bundle; the others are about making one."""
FEW_CELLS = 300
"""Held-out cells among which none changed bounds the share that changes by 1 %, the gate's limit (95 %)."""
LEAKY_HELP = """report of evaluate-classifier on the same recipe trained with --split random, to stand beside the
honest figures"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if words[:1] == ["keygen"]:
            return _keygen(words[1:])
        given = _parser().parse_args(words)
        if given.model.is_dir():
            _refuse_what_makes_bundles(given)
            _build(open_bundle(given.model, trust_from(given)), given, fresh=False)
            return 0
        made = export(_order(given))
        _tell(made)
        if not given.no_engine:
            _build(made, given, fresh=True)
    except MicroscopeError as failure:
        print(f"export-engine: {failure}", file=sys.stderr)
        return failure.exit_code
    return 0


def _build(made: Bundle, given: argparse.Namespace, *, fresh: bool) -> None:
    """Build the engine; where it can not be, say so, and what became of the bundle."""
    try:
        state_dir = given.state_dir or default_state_dir()
        built = build_engine(made, state_dir=state_dir, precision=given.precision, typing=given.typing)
    except (EngineError, UsageError, IntegrityError) as cause:
        state = "is written and complete" if fresh else "is whole and unchanged"
        remedy = "; --no-engine leaves the engine out" if fresh else ""
        raise type(cause)(f"the bundle {made.path} {state}, but it has no TensorRT engine: {cause}{remedy}") from cause
    print(f"engine: {built.folder}, {built.layers}")
    if given.precision != "int8":
        print(f'the agent runs it where its settings say: engine = "tensorrt-{given.precision}"')


def _refuse_what_makes_bundles(given: argparse.Namespace) -> None:
    """A bundle is what it is: raise UsageError for options that would have to change it, and for any other folder."""
    if not (given.model / MANIFEST).is_file():
        raise UsageError(f"{given.model} is a folder and no bundle; name a bundle, or the checkpoint classifier.pt")
    idle = vars(_parser().parse_args([str(given.model), "--int8"]))
    if odd := [f"--{k.replace('_', '-')}" for k in idle if k not in FOR_BUNDLES and idle[k] != getattr(given, k)]:
        raise UsageError(
            f"{given.model} is a bundle, of which only the engine is built, and {', '.join(odd)} would "
            "have no effect; leave that out, or name the checkpoint file to make a bundle anew"
        )


def _keygen(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("export-engine keygen", description="Make a key pair that signs bundles.")
    parser.add_argument("--out", type=Path, required=True, metavar="KEY.pem", help="file for the private key")
    out = parser.parse_args(words).out
    keygen(out)
    print(instructions(out))
    return 0


def _order(given: argparse.Namespace) -> Order:
    if given.calibration is None or given.out is None:
        raise UsageError(
            "a checkpoint needs --calibration DIR and --out DIR, for any engine: a bundle holds the INT8 graphs too"
        )
    _refuse_no_place(given.out)
    cells = Wanted(
        given.calibration,
        given.gate,
        layout=given.layout,
        um_per_pixel=given.um_per_pixel,
        count=given.cells,
        seed=given.seed,
    )
    return Order(
        given.model,
        given.out,
        cells,
        method=given.method,
        keep_float=tuple(given.keep_float),
        sensitivity=given.sensitivity,
        table=given.table,
        gated=not given.no_gate,
        key=read_private_key(given.key) if given.key else None,
        leaky=given.leaky_evaluation,
    )


def _refuse_no_place(out: Path) -> None:
    """Raise UsageError if a bundle could not be written there: better now than after minutes of work."""
    try:
        there = next(path for path in out.absolute().parents if path.exists())
    except OSError as cause:
        raise UsageError(f"{out} can not be looked at ({cause.strerror}); choose another --out") from cause
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"nothing can be written to {out}: {there} is no folder of yours; choose another --out")


def _count(text: str, *, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
    return int(text)


def _tell(made: Bundle) -> None:
    gate = made.manifest.gate
    print(f"{made.path}: {made.manifest.id}, {made.manifest.calibration.cells} calibration cells")
    print(
        f"signed by key {made.signed_by}"
        if made.signed_by
        else "not signed: agents open it only where told to; see --key"
    )
    print(f"gate {gate.state}: {gate.cells} cells, {gate.on}")
    if gate.state == "passed" and gate.cells < FEW_CELLS:
        print(
            f"watch out: {gate.cells} cells show little: if INT8 changed {1 - 0.05 ** (1 / gate.cells):.0%} of all "
            f"decisions, they would still show none one time in twenty; give --gate DIR with {FEW_CELLS} or more"
        )
    for path in sorted(made.path.iterdir()):
        print(f"  {path.name:22} {path.stat().st_size:>10,} bytes {'' if path.name != MANIFEST else made.sha256}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "export-engine",
        description=__doc__,
        epilog="A bundle always holds the graphs of all precisions; --int8, --fp16 and --fp32 choose the TensorRT "
        "engine that is built from it on this machine. `export-engine keygen --out KEY.pem` makes a key to sign with. "
        "Exit codes: 0 done, 2 wrong usage, 3 refused by the gate, 4 a component is missing (the text names it and "
        "what was written), 5 a bundle or a folder of engines can not be trusted.",
    )
    add = parser.add_argument
    add("model", type=Path, help="checkpoint of train-classifier (classifier.pt), or a bundle whose engine to build")
    engine = parser.add_mutually_exclusive_group(required=True).add_argument
    for precision, words in ENGINES.items():
        engine(f"--{precision}", dest="precision", action="store_const", const=precision, help=words)
    add("--calibration", type=Path, metavar="DIR", help="folder of cell images, of any depth; not for a bundle")
    add("--out", type=Path, metavar="DIR", help="bundle to write: MODEL-VERSION, for example blast-2; not for a bundle")
    add("--layout", choices=sorted(LAYOUTS), help=LAYOUT_HELP)
    add(
        "--gate", type=Path, metavar="DIR", help="held-out cells; default: a third of the calibration cells, by patient"
    )
    add("--no-gate", action="store_true", help="export whatever INT8 does; written into the manifest and every report")
    add(
        "--method",
        choices=[AUTO, *sorted(METHODS)],
        default=AUTO,
        help="calibration method (%(default)s: the best one)",
    )
    add("--table", type=Path, metavar="FILE", help="calibration.json of an earlier export of the same model and cells")
    add("--keep-float", action="append", default=[], metavar="NODE", help="leave this Conv in floating point")
    add("--sensitivity", action="store_true", help="measure what each layer costs in INT8, for the report")
    add("--no-engine", action="store_true", help="write the bundle only; the engine is built on the board")
    add(
        "--typing",
        choices=["strong", "weak"],
        help="of the TensorRT engine; default: strong (for FP16 on TensorRT 10: weak); weak on TensorRT 10 only",
    )
    add("--state-dir", type=Path, metavar="DIR", help="the agent's state folder, for the engine; default: the user's")
    add("--key", type=Path, metavar="KEY.pem", help="sign the bundle; `export-engine keygen --out KEY.pem` makes one")
    add(
        "--um-per-pixel",
        type=micrometres,
        metavar="X",
        help="scale of the images, if not the training's or the layout's",
    )
    add(
        "--cells",
        type=partial(_count, least=1),
        default=512,
        metavar="N",
        help="number of calibration cells (%(default)s)",
    )
    add("--seed", type=partial(_count, least=0), default=0, metavar="N", help="of their choice (%(default)s)")
    add("--leaky-evaluation", type=Path, action="append", default=[], metavar="FILE", help=LEAKY_HELP)
    add_trust(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
