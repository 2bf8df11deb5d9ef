"""`export-engine`: from a checkpoint to a bundle that the agent can run."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.arguments import place
from common.commands import outcome, process
from common.errors import EngineError, IntegrityError, UsageError
from common.terminal import say
from contract.bundle import MANIFEST, REPORT, Bundle, open_bundle
from contract.trust_options import trust_from
from engines.build import build_as_asked
from export.keygen import instructions, keygen, read_private_key
from export.options import FOR_BUNDLES, parser

if TYPE_CHECKING:
    from export.make import Order


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    return outcome("export-engine", lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["keygen"]:
        return _keygen(words[1:])
    given = parser().parse_args(words)
    if given.model.is_dir():
        _refuse_what_makes_bundles(given)
        _build(open_bundle(given.model, trust_from(given)), given, fresh=False)
        return 0
    made = _export(given)
    _tell(made)
    if not given.no_engine:
        _build(made, given, fresh=True)
    return 0


def _build(made: Bundle, given: argparse.Namespace, *, fresh: bool) -> None:
    """Build the engine; where it can not be, say so, and what became of the bundle."""
    try:
        built = build_as_asked(made, given)
    except (EngineError, UsageError, IntegrityError) as cause:
        state = "is written and complete" if fresh else "is whole and unchanged"
        remedy = "; --no-engine leaves the engine out" if fresh else ""
        raise type(cause)(f"the bundle {made.path} {state}, but it has no TensorRT engine: {cause}{remedy}") from cause
    say(f"engine: {built.folder}, {built.layers}")
    if given.precision != "int8":
        say(f'the agent runs it where its settings say: engine = "tensorrt-{given.precision}"')


def _refuse_what_makes_bundles(given: argparse.Namespace) -> None:
    """A bundle is what it is: raise UsageError for options that would have to change it, and for any other folder."""
    if not (given.model / MANIFEST).is_file():
        raise UsageError(f"{given.model} is a folder and no bundle; name a bundle, or the checkpoint classifier.pt")
    idle = vars(parser().parse_args([str(given.model), "--int8"]))
    if odd := [f"--{k.replace('_', '-')}" for k in idle if k not in FOR_BUNDLES and idle[k] != getattr(given, k)]:
        raise UsageError(
            f"{given.model} is a bundle, of which only the engine is built, and {', '.join(odd)} would "
            "have no effect; leave that out, or name the checkpoint file to make a bundle again"
        )


def _keygen(words: Sequence[str]) -> int:
    asked = argparse.ArgumentParser("export-engine keygen", description="Make a key pair that signs bundles.")
    asked.add_argument("--out", type=place, required=True, metavar="KEY.pem", help="file for the private key")
    out = asked.parse_args(words).out
    keygen(out)
    say(*instructions(out).split("\n"))
    return 0


def _export(given: argparse.Namespace) -> Bundle:
    """Make the bundle. Help, a key and the engine of a bundle that is there need neither torch nor onnx."""
    from export.make import export  # noqa: PLC0415 - loads both

    return export(_order(given))


def _order(given: argparse.Namespace) -> "Order":
    from export.cells import Wanted  # noqa: PLC0415 - loads torch
    from export.make import Order  # noqa: PLC0415

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
        patients=given.patients,
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
        replace=given.replace,
        leaky=given.leaky_evaluation,
        check=given.check,
    )


def _refuse_no_place(out: Path) -> None:
    """Raise UsageError if a bundle could not be written there: better now than after minutes of work."""
    try:
        there = next(path for path in out.absolute().parents if path.exists())
    except OSError as cause:
        raise UsageError(f"{out} can not be looked at ({cause.strerror}); choose another --out") from cause
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"nothing can be written to {out}: {there} is no folder of yours; choose another --out")


def _tell(made: Bundle) -> None:
    gate = made.manifest.gate
    say(f"{made.path}: {made.manifest.id}, {made.manifest.calibration.cells} calibration cells")
    say(
        f"signed by key {made.signed_by}"
        if made.signed_by
        else "not signed: agents open it only where told to; see --key"
    )
    say(f"gate {gate.state}: {gate.cells} cells, {gate.on}")
    if doubt := json.loads(made.read(REPORT))["gate"]["caveat"]:
        say(f"watch out: {doubt}")
    for path in sorted(made.path.iterdir()):
        say(f"  {path.name:22} {path.stat().st_size:>10,} bytes {'' if path.name != MANIFEST else made.sha256}")


if __name__ == "__main__":
    raise SystemExit(process("export-engine", main))
