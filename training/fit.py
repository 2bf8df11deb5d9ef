"""`train-classifier`: trains the network on a labelled layout; an interrupted run goes on with the same command.

First the trunk learns to know the kinds of cells (training/loop.py), then the heads are fitted on its features
(training/heads.py), and the decision is chosen on the validation split.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from common.arguments import made_folder
from common.commands import outcome, process
from common.errors import UsageError
from common.terminal import say
from contract.cell_colours import mean_of
from contract.decide import margins_of
from contract.manifest import CellColours, CellView, InputSpec
from contract.pixels import to_batch
from contract.signature import SHIPPED_ONLY, Trust
from contract.trust_options import trust_from
from contract.types import Crops, Tensor
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_found, read_outlined
from evaluation.datasets.files import short_name
from evaluation.datasets.outlines import colours_by_data_set
from evaluation.datasets.sample import Sample, data_sets_of, labels_of, scales_of, shuffled
from evaluation.decision import choose_decision, choose_unknown
from evaluation.metrics import auroc, log_loss
from evaluation.overview import BY_IMAGE, overview, refuse_nobodys, split_rule
from training.adapt import adapt
from training.augment import LIGHT, MARGIN, TURNS, Jitter, quarter_turns
from training.checkpoint import (
    CLASSIFIER,
    LAST,
    Classifier,
    load,
    refused_if_damaged,
    save,
    write_classifier,
)
from training.heads import FINE, Heads, calibrated, fit_heads, trainable
from training.laboratories import foreign_features
from training.loop import CellKind, Cells, Run, Taught, kinds_of, learn, restore, start, state_of, weigh
from training.network import BATCH, BlastNet, features_by
from training.options import train_parser
from training.recipe import Recipe
from training.sizes import changes_of
from training.trunk import Trunk, digest_of, trunk_of


def train(
    root: Path,
    out: Path,
    recipe: Recipe,
    *,
    trust: Trust = SHIPPED_ONLY,
    patients: str | None = None,
    quiet: bool = False,
) -> Path:
    """Train, or go on with a training of the same recipe and the same images.

    Args:
        root: the folder of images.
        out: where ``last.pt`` is kept after every epoch, and ``classifier.pt`` when all is done.
        recipe: what to do.
        trust: whose signature is good enough for a bundle to start from.
        patients: ``none`` takes images of which nobody knows whose they are.
        quiet: draw no progress bars, and say nothing of the cells.

    Returns:
        The path of ``classifier.pt``.

    Raises:
        UsageError: the folder is not in that layout, a split lacks a class, or ``out`` holds another training.
    """
    samples = _samples(root, recipe, patients=patients, quiet=quiet)
    identity = _identity(recipe, samples, root)
    taught = [s for s in samples if s.split != "test" and LAYOUTS[s.dataset].teaches_trunk]
    kinds = kinds_of([s for s in taught if s.split == "training"])
    _enough(recipe, kinds)
    made_folder(out)
    trunk = trunk_of(Path(recipe.start), trust) if recipe.start else None
    run = _begin(out, recipe, kinds, identity, trunk)
    if run.epoch >= recipe.epochs and (out / CLASSIFIER).exists() and (out / LAST).exists():
        return out / CLASSIFIER
    spec, colours = _seen(samples, recipe, quiet=quiet)
    spec = trunk.seen(spec) if trunk else spec
    spec = _teach(
        run, taught, kinds, spec=spec, colours=colours, recipe=recipe, identity=identity, out=out, quiet=quiet
    )
    write_classifier(
        out / CLASSIFIER, _with_heads(run, samples, spec, colours, recipe=recipe, identity=identity, quiet=quiet)
    )
    return out / CLASSIFIER


def normalised(spec: InputSpec, crops: NDArray[np.uint8]) -> InputSpec:
    """The same input with mean and standard deviation of these crops, rounded, red-green-blue."""
    levels = crops[:: max(1, len(crops) // 500), ..., 2::-1].reshape(-1, 3) / np.float32(255)
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
        start=str(given.start or ""),
        bf16=given.bf16,
    )

    def work() -> int:
        trust = trust_from(given)
        if given.adapt:
            path, gain = adapt(
                given.adapt,
                given.data,
                given.layout,
                given.out,
                um_per_pixel=given.um_per_pixel,
                trust=trust,
                patients=given.patients,
            )
            say(*gain.lines(), f"the adapted classifier is in {path}; export it like any, as the next version")
            return 0
        say(
            f"the classifier is in {train(given.data, given.out, recipe, trust=trust, patients=given.patients)}",
            to=sys.stderr,
        )
        return 0

    return outcome("train-classifier", work)


def _samples(root: Path, recipe: Recipe, *, patients: str | None, quiet: bool) -> list[Sample]:
    """All samples, sorted; training and validation split with both classes each."""
    samples = LAYOUTS[recipe.layout].find(root)
    refuse_nobodys(samples, root, patients=patients)
    if recipe.split == "random":
        samples = shuffled(samples, recipe.seed)
    if not quiet:
        say(*overview(samples, um_per_pixel=recipe.um_per_pixel), to=sys.stderr)
    for name in ("training", "validation"):
        cells = [s for s in samples if s.split == name and s.labelled]
        if {s.kind for s in cells} != {"normal", "blast"}:
            raise UsageError(
                f"the {name} split of {root} does not hold both classes ({len(cells)} cells); more patients are needed"
            )
    return sorted((s for s in samples if s.split != "test"), key=lambda s: s.path)


def _identity(recipe: Recipe, samples: Sequence[Sample], root: Path) -> dict[str, Any]:
    """What tells this training from any other: the recipe, where the trunk starts, and the images."""
    started = {"start": digest_of(Path(recipe.start))} if recipe.start else {}
    return {**asdict(recipe), "jitter": asdict(Jitter()), **_origin(samples, root), **started}


def _origin(samples: Sequence[Sample], root: Path) -> dict[str, Any]:
    """Which images of which data sets these are."""
    names = "\n".join(f"{short_name(s.path, root)} {s.kind} {s.split}" for s in samples)
    images = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
    found = {"images": images, "datasets": data_sets_of(samples), "scales": scales_of(samples)}
    return found | ({"by_image": True} if split_rule(samples) == BY_IMAGE else {})


def _enough(recipe: Recipe, kinds: Sequence[CellKind]) -> None:
    if recipe.epochs and not kinds:
        raise UsageError(
            "none of these data sets teaches the trunk, for their cells come from too few people; add one that does, "
            "or start from a trunk with --start MODEL --epochs 0"
        )
    if not recipe.epochs and not recipe.start:
        raise UsageError("--epochs 0 fits the heads alone; name the trunk with --start MODEL")


def _begin(
    out: Path, recipe: Recipe, kinds: Sequence[CellKind], identity: Mapping[str, Any], trunk: Trunk | None
) -> Run:
    if not (out / LAST).exists():
        return start(recipe, kinds, trunk)
    found = load(out / LAST)
    with refused_if_damaged(out / LAST):
        before = dict(found["recipe"])
        if before == identity:
            return restore(recipe, kinds, found)
    changed = [f"{k} {before.get(k)} there, {v} now" for k, v in identity.items() if before.get(k) != v]
    raise UsageError(f"{out} holds another training ({'; '.join(changed)}); name another --out or repeat its options")


def _seen(samples: Sequence[Sample], recipe: Recipe, *, quiet: bool) -> tuple[InputSpec, Mapping[str, CellColours]]:
    """What the network sees, not normalised yet: cells alone, in the mean colours of those that teach the trunk."""
    training = [s for s in samples if s.split == "training" and s.labelled]
    colours = colours_by_data_set(training, um_per_pixel=recipe.um_per_pixel, quiet=quiet)
    goals = [found for name, found in colours.items() if LAYOUTS[name].teaches_trunk] or list(colours.values())
    cell = CellView(colours=mean_of(goals), surroundings=LIGHT) if goals else None
    scale = recipe.field_um / recipe.size
    return InputSpec(um_per_pixel=scale, size=recipe.size, mean=(0, 0, 0), std=(1, 1, 1), cell=cell), colours


def _teach(
    run: Run,
    taught: Sequence[Sample],
    kinds: Sequence[CellKind],
    *,
    spec: InputSpec,
    colours: Mapping[str, CellColours],
    recipe: Recipe,
    identity: Mapping[str, Any],
    out: Path,
    quiet: bool,
) -> InputSpec:
    """Teach the trunk, epoch by epoch; the input with its normalisation."""
    known = {(k.dataset, k.group): number for number, k in enumerate(kinds)}
    lessons = sorted((s for s in taught if (s.dataset, s.group) in known), key=lambda s: s.path)
    training = [s for s in lessons if s.split == "training"]
    held = [s for s in lessons if s.split == "validation" and s.labelled]
    if not recipe.epochs:
        return spec
    wide = spec.model_copy(update={"size": round(recipe.size * MARGIN)})
    crops = read_outlined(training, wide, um_per_pixel=recipe.um_per_pixel, colours=colours, quiet=quiet)
    spec = spec if recipe.start else normalised(spec, crops)
    numbers = np.array([known[s.dataset, s.group] for s in training], np.int64)
    cells = Cells(crops, numbers, weigh(training))
    views, _ = read_found(held, spec, um_per_pixel=recipe.um_per_pixel, colours=colours, quiet=quiet)
    while run.epoch < recipe.epochs:
        loss = learn(run, cells, spec=spec, recipe=recipe, quiet=quiet)
        figures = {"training_loss": loss, "validation_auroc": _look(run.mean, views, held, spec)}
        run.history.append(figures)
        save(out / LAST, {"recipe": dict(identity), **state_of(run)})
        if not quiet:
            line = "  ".join(f"{k} {v:.4g}" for k, v in figures.items())
            tqdm.write(f"epoch {run.epoch}  {line}", file=sys.stderr)
    return spec


def _look(taught: Taught, views: NDArray[np.uint8], held: Sequence[Sample], spec: InputSpec) -> float:
    """How well the trunk tells blasts from normal cells by their kinds: mean AUROC of the data sets that have both."""
    taught.eval()
    with torch.inference_mode():
        batches = (to_batch(views[k : k + BATCH], spec) for k in range(0, len(views), BATCH))
        rows = [taught(torch.from_numpy(batch)).numpy() for batch in batches]
    scores, names = np.concatenate([*rows, np.zeros((0, len(taught.kinds)), np.float32)]), [s.dataset for s in held]
    areas = []
    for dataset in dict.fromkeys(names):
        blasts, normal = ([k for k in taught.own(dataset) if taught.kinds[k].truth == truth] for truth in (1, 0))
        use = np.array([name == dataset for name in names])
        if blasts and normal:
            margins = np.logaddexp.reduce(scores[use][:, blasts], 1) - np.logaddexp.reduce(scores[use][:, normal], 1)
            areas.append(auroc(labels_of([s for s in held if s.dataset == dataset]), margins.astype(np.float64)))
    return float(np.nanmean(areas)) if areas and not np.isnan(areas).all() else float("nan")


def _with_heads(
    run: Run,
    samples: Sequence[Sample],
    spec: InputSpec,
    colours: Mapping[str, CellColours],
    *,
    recipe: Recipe,
    identity: Mapping[str, Any],
    quiet: bool,
) -> Classifier:
    """The trunk as it is now, with heads fitted on the training split and judged on the validation split.

    Images in which no cell is found are left out: in use, nothing is scored there.
    """
    cells, trunk = trainable(samples), run.mean.network
    crops, found = read_found(cells, spec, um_per_pixel=recipe.um_per_pixel, colours=colours, quiet=quiet)
    cells = [s for s, there in zip(cells, found, strict=True) if there]
    crops = crops[found]
    training, held = (np.array([s.split == split for s in cells]) for split in ("training", "validation"))
    learnt, judged = ([s for s, use in zip(cells, rows, strict=True) if use] for rows in (training, held))
    heads = _fitted(trunk, crops[training], learnt, spec, colours, um_per_pixel=recipe.um_per_pixel, quiet=quiet)
    features = features_by(trunk, crops[held], spec)
    heads = calibrated(heads, features, judged)
    scores, normal_or_blast = heads.scores(features), np.array([s.labelled for s in judged])
    labels = labels_of([s for s in judged if s.labelled])
    margins = margins_of(scores[normal_or_blast], heads.columns)
    decision = choose_decision(labels, margins, datasets=[s.dataset for s in judged if s.labelled])
    unknown = choose_unknown(scores[normal_or_blast], heads.columns)
    figures = {
        "validation_loss": log_loss(labels, margins / decision.temperature),
        "validation_auroc": auroc(labels, margins),
    }
    judging = heads.columns, decision, unknown, colours
    return Classifier(heads.on(trunk), spec, *judging, identity, run.epoch, figures)


def _fitted(
    trunk: BlastNet,
    crops: Crops,
    cells: list[Sample],
    spec: InputSpec,
    colours: Mapping[str, CellColours],
    *,
    um_per_pixel: float | None,
    quiet: bool,
) -> Heads:
    """Heads fitted on cells in every quarter turn and in the looks of other laboratories, and on what size changes.

    Args:
        trunk: what makes the features.
        crops: (N, size, size, 3) of the cells.
        cells: N of them, of the training split.
        spec: what the network sees.
        colours: of the cells of each data set.
        um_per_pixel: scale of all images, if not each one's own.
        quiet: draw no progress bars.
    """

    def features(views: Crops) -> Tensor:
        return features_by(trunk, views, spec)

    elsewhere, places = foreign_features(features, cells, spec, um_per_pixel=um_per_pixel, quiet=quiet)
    homes = {s.dataset for s in cells if s.label in FINE}
    fine = [s for s in cells if s.dataset in homes]
    sizes = changes_of(features, fine, spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)
    rows = np.concatenate([features(quarter_turns(crops)), *elsewhere])
    return fit_heads(rows, [*cells * TURNS, *(cells[k] for k in places)], sizes)


if __name__ == "__main__":
    raise SystemExit(process("train-classifier", main))
