"""What `train-classifier` and `evaluate-classifier` can be told; needs no torch, so that help is always there."""

import argparse

from common.arguments import micrometres, place, whole
from contract.trust_options import add_trust
from evaluation.datasets import LAYOUTS
from evaluation.datasets.sample import SPLITS
from evaluation.overview import NO_PATIENTS


def train_parser() -> argparse.ArgumentParser:
    """The arguments of `train-classifier`."""
    parser = argparse.ArgumentParser(
        "train-classifier",
        description="Train the network on a labelled layout; an interrupted run goes on with the same command.",
    )
    parser.add_argument("--data", type=place, required=True, help="folder of images, or the file of a mixture")
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True, help="how they lie there")
    parser.add_argument("--out", type=place, required=True, help="folder for checkpoints")
    parser.add_argument(
        "--epochs",
        type=whole(least=0),
        default=40,
        help="passes over the training cells; 0: the heads alone are fitted",
    )
    parser.add_argument(
        "--start", type=place, metavar="MODEL", help="train the trunk of this checkpoint or bundle further"
    )
    parser.add_argument(
        "--adapt",
        type=place,
        metavar="BUNDLE",
        help="fit this bundle's heads further on all labelled cells of --data, a site's own, and say what that gains",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    parser.add_argument("--um-per-pixel", type=micrometres, help="scale of all images, if not each one's own")
    parser.add_argument(
        "--split",
        choices=("patient", "random"),
        default="patient",
        help="random leaks: it deals out images without regard to patients, to show by how much that flatters",
    )
    add_patients(parser)
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster where the processor has it")
    add_trust(parser)
    return parser


def evaluate_parser() -> argparse.ArgumentParser:
    """The arguments of `evaluate-classifier`."""
    parser = argparse.ArgumentParser(
        "evaluate-classifier",
        description="How good a checkpoint or a bundle is on one split, with intervals over patients.",
    )
    parser.add_argument("model", type=place, help="a checkpoint of train-classifier, or a bundle")
    parser.add_argument("--data", type=place, required=True, help="folder of images, or the file of a mixture")
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True, help="how they lie there")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--split", choices=SPLITS, help="which cells")
    which.add_argument(
        "--folds",
        action="store_true",
        help="all cells with folds: heads are fitted again for each fold, on the cells of the others",
    )
    which.add_argument(
        "--resamples",
        action="store_true",
        help="cells of validation and test: thresholds chosen on half of the people, judged on the others, many times",
    )
    parser.add_argument(
        "--um-per-pixel", type=micrometres, help="scale of all images, if not the training's or each one's own"
    )
    parser.add_argument("--out", type=place, required=True, help="JSON file to write")
    add_patients(parser)
    add_trust(parser)
    return parser


def add_patients(parser: argparse._ActionsContainer) -> None:
    """Add what says that nobody knows whose the images are."""
    parser.add_argument(
        "--patients",
        choices=(NO_PATIENTS,),
        help="nobody knows whose the images are: split them by image, which leaks and is said so; else refused",
    )
