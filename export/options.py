"""What `export-engine` can be told."""

import argparse

from calibration.methods import AUTO, METHODS
from common.arguments import micrometres, place, whole
from contract.manifest import Precision
from contract.trust_options import add_trust
from engines.build import add_engine
from evaluation.datasets import LAYOUTS
from training.options import add_patients

USAGE = """export-engine classifier.pt (--int8 | --fp16 | --fp32) --calibration DIR --out MODEL-VERSION [options]
       export-engine BUNDLE         (--int8 | --fp16 | --fp32) [options of the engine]
       export-engine keygen         --out KEY.pem"""
DESCRIPTION = """From a checkpoint to a signed bundle that the agent can run, and to the TensorRT engine of this
machine; or, from a bundle, to its engine alone. keygen makes the key that signs."""
EPILOG = """Exit codes: 0 done, 2 wrong usage, 3 refused by the gate or by NVIDIA's compiler, 4 a component is missing
(the text names it and what was written), 5 a bundle or a folder of engines can not be trusted."""
ENGINES: dict[Precision, str] = {
    "int8": "in INT8, with the scales of the calibration",
    "fp16": "in FP16; on TensorRT 11 made with onnx",
    "fp32": "in FP32",
}
FOR_BUNDLES = {"model", "precision", "typing", "best", "largest", "state_dir", "trust", "allow_unsigned"}
"""Arguments that have a meaning where MODEL is a bundle; the others are about making one."""


def parser() -> argparse.ArgumentParser:
    """The arguments, in the groups in which one thinks of them."""
    made = argparse.ArgumentParser("export-engine", usage=USAGE, description=DESCRIPTION, epilog=EPILOG)
    made.add_argument(
        "model", type=place, help="checkpoint of train-classifier (classifier.pt), or a bundle whose engine to build"
    )
    _engine(made.add_argument_group("engine", "A bundle holds the graphs of all precisions, whichever is asked for."))
    _cells(made.add_argument_group("cells"))
    _int8(made.add_argument_group("how INT8 is made of them"))
    _bundle(made.add_argument_group("bundle"))
    add_trust(made.add_argument_group("whose bundle, where MODEL is one"))
    return made


def _engine(group: argparse._ArgumentGroup) -> None:
    precisions = group.add_mutually_exclusive_group(required=True)
    for precision, words in ENGINES.items():
        precisions.add_argument(
            f"--{precision}", dest="precision", action="store_const", const=precision, help=f"build it {words}"
        )
    group.add_argument("--no-engine", action="store_true", help="write the bundle only; the board builds the engine")
    add_engine(group)


def _cells(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--calibration",
        type=place,
        metavar="DIR",
        help="folder of cell images, of any depth; or the file of a mixture",
    )
    add(
        "--gate",
        type=place,
        metavar="DIR",
        help="held-out cells; default: a third of the calibration cells, by patient",
    )
    add("--no-gate", action="store_true", help="export whatever INT8 does; written into the manifest and every report")
    add(
        "--layout",
        choices=sorted(LAYOUTS),
        help="the folders are labelled: calibrate on the training split, fit INT8's decision on the validation split, "
        "gate on the test split of --gate",
    )
    add(
        "--um-per-pixel",
        type=micrometres,
        metavar="X",
        help="scale of all images; default: the training's or each one's own",
    )
    add_patients(group)
    add("--cells", type=whole(), default=512, metavar="N", help="calibrate on so many at most; default: 512")
    add("--seed", type=whole(least=0), default=0, metavar="N", help="of their choice; default: 0")


def _int8(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--method",
        choices=[AUTO, *sorted(METHODS)],
        default=AUTO,
        help="of calibration; default: auto, the one whose graphs answer nearest to FP32",
    )
    add("--keep-float", action="append", default=[], metavar="NODE", help="leave this Conv in floating point; repeat")
    add(
        "--check",
        choices=["auto", "rtx", "none"],
        default="auto",
        help="whether NVIDIA's compiler TensorRT-RTX, which needs no GPU, has to take the graphs (exit code 3 if it "
        "refuses one); default: auto, where it is installed (extra rtx)",
    )
    add("--sensitivity", action="store_true", help="measure what each layer costs in INT8, for the report")
    add("--table", type=place, metavar="FILE", help="calibration.json of an earlier export of the same model and cells")


def _bundle(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=place, metavar="DIR", help="folder to write: MODEL-VERSION, for example lab-1")
    add("--replace", action="store_true", help="a bundle that lies there may go; for one that has run nowhere")
    add("--key", type=place, metavar="KEY.pem", help="sign it; without, agents open it only where told to")
    add(
        "--leaky-evaluation",
        type=place,
        action="append",
        default=[],
        metavar="FILE",
        help="report of evaluate-classifier on the same recipe trained with --split random, to stand beside the honest "
        "figures; repeat",
    )
