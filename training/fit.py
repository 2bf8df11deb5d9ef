"""`train-classifier`: trains the network on a labelled layout; an interrupted run goes on with the same command."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract.arguments import made_folder
from contract.commands import outcome, process
from contract.decide import margins_of
from contract.errors import UsageError
from contract.manifest import InputSpec
from contract.terminal import say
from contract.types import Crops
from training.augment import MARGIN, Jitter
from training.checkpoint import CLASSIFIER, LAST, Classifier, load, refused_if_damaged, save, write_classifier
from training.datasets import LAYOUTS
from training.datasets.crops import read_crops
from training.datasets.files import short_name
from training.datasets.sample import Sample, data_sets_of, labelled, labels_of, scales_of, shuffled
from training.decision import choose_decision
from training.loop import Cells, Run, learn, restore, start, state_of, weigh
from training.metrics import Labels, auroc, log_loss
from training.network import scores_by
from training.options import train_parser
from training.overview import BY_IMAGE, overview, refuse_nobodys, split_rule
from training.recipe import Recipe


def train(root: Path, out: Path, recipe: Recipe, *, patients: str | None = None, quiet: bool = False) -> Path:
    """Train, or go on with a training of the same recipe and the same images.

    Args:
        root: the folder of images.
        out: where ``last.pt`` is kept after every epoch and ``classifier.pt`` after every better one.
        recipe: what to do.
        patients: ``none`` takes images of which nobody knows whose they are.
        quiet: draw no progress bars, and say nothing of the cells.

    Returns:
        The path of ``classifier.pt``.

    Raises:
        UsageError: the folder is not in that layout, a split lacks a class, or ``out`` holds another training.
    """
    training, validation = _samples(root, recipe, patients=patients, quiet=quiet)
    identity = {**asdict(recipe), "jitter": asdict(Jitter()), **_origin([*training, *validation], root)}
    made_folder(out)
    run = _begin(out, recipe, identity)
    bare = InputSpec(um_per_pixel=recipe.field_um / recipe.size, size=recipe.size, mean=(0, 0, 0), std=(1, 1, 1))
    wide = bare.model_copy(update={"size": round(recipe.size * MARGIN)})
    crops = read_crops(training, wide, um_per_pixel=recipe.um_per_pixel, quiet=quiet)
    cells = Cells(crops, labels_of(training), weigh(training))
    held = read_crops(validation, bare, um_per_pixel=recipe.um_per_pixel, quiet=quiet)
    spec = normalised(bare, crops)
    while run.epoch < recipe.epochs:
        loss = learn(run, cells, spec=spec, recipe=recipe, quiet=quiet)
        figures = _look(run, held, labels_of(validation), spec=spec, identity=identity, out=out)
        run.history.append({"training_loss": loss, **figures})
        save(out / LAST, {"recipe": identity, **state_of(run)})
        if not quiet:
            line = "  ".join(f"{k} {v:.4g}" for k, v in run.history[-1].items())
            tqdm.write(f"epoch {run.epoch}  {line}", file=sys.stderr)
    return out / CLASSIFIER


def normalised(spec: InputSpec, crops: Crops) -> InputSpec:
    """The same input with mean and standard deviation of these crops, rounded, red-green-blue."""
    levels = crops[:: max(1, len(crops) // 500)].reshape(-1, 3)[:, ::-1] / np.float32(255)
    mean = tuple(round(float(v), 3) for v in levels.mean(0, np.float64))
    std = tuple(max(round(float(v), 3), 0.01) for v in levels.std(0, np.float64))
    return spec.model_copy(update={"mean": mean, "std": std})


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = train_parser().parse_args(arguments)
    recipe = Recipe(
        given.layout,
        given.um_per_pixel,
        split=given.split,
        seed=given.seed,
        epochs=given.epochs,
        bf16=given.bf16,
    )

    def work() -> int:
        say(
            f"the best epoch by validation is in {train(given.data, given.out, recipe, patients=given.patients)}",
            to=sys.stderr,
        )
        return 0

    return outcome("train-classifier", work)


def _samples(root: Path, recipe: Recipe, *, patients: str | None, quiet: bool) -> tuple[list[Sample], list[Sample]]:
    samples = LAYOUTS[recipe.layout].find(root)
    refuse_nobodys(samples, root, patients=patients)
    if recipe.split == "random":
        samples = shuffled(samples, recipe.seed)
    if not quiet:
        say(*overview(samples, um_per_pixel=recipe.um_per_pixel), to=sys.stderr)
    training, validation = labelled(samples, "training"), labelled(samples, "validation")
    for name, cells in (("training", training), ("validation", validation)):
        if {s.kind for s in cells} != {"normal", "blast"}:
            raise UsageError(
                f"the {name} split of {root} does not hold both classes ({len(cells)} cells); more patients are needed"
            )
    return training, validation


def _origin(samples: Sequence[Sample], root: Path) -> dict[str, Any]:
    """Which images of which data sets these are."""
    names = "\n".join(f"{short_name(s.path, root)} {s.kind} {s.split}" for s in samples)
    images = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
    found = {"images": images, "datasets": data_sets_of(samples), "scales": scales_of(samples)}
    return found | ({"by_image": True} if split_rule(samples) == BY_IMAGE else {})


def _begin(out: Path, recipe: Recipe, identity: Mapping[str, Any]) -> Run:
    if not (out / LAST).exists():
        return start(recipe)
    found = load(out / LAST)
    with refused_if_damaged(out / LAST):
        before = dict(found["recipe"])
        if before == identity:
            return restore(recipe, found)
    changed = [f"{k} {before.get(k)} there, {v} now" for k, v in identity.items() if before.get(k) != v]
    raise UsageError(f"{out} holds another training ({'; '.join(changed)}); name another --out or repeat its options")


def _look(
    run: Run, held: Crops, labels: Labels, *, spec: InputSpec, identity: Mapping[str, Any], out: Path
) -> dict[str, float]:
    """Judge the mean of the weights on the validation split, and keep it if it is the best so far."""
    margins = margins_of(scores_by(run.mean, held, spec))
    decision = choose_decision(labels, margins)
    loss = log_loss(labels, margins / decision.temperature)
    figures = {"validation_loss": loss, "validation_auroc": auroc(labels, margins)}
    if loss < min((h["validation_loss"] for h in run.history), default=float("inf")):
        write_classifier(out / CLASSIFIER, Classifier(run.mean, spec, decision, identity, run.epoch, figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(process("train-classifier", main))
