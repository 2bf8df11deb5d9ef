"""Which cells calibrate, which fit the decision, and which are kept for the gate: never the same ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.cell_stain import stains
from calibration.strata import Sampling, sampling, stratified
from common.errors import UsageError
from contract.manifest import CellColours, InputSpec
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.files import images_below
from evaluation.datasets.sample import Sample, Split
from evaluation.overview import BY_IMAGE, BY_PATIENT, refuse_nobodys, split_rule
from training.checkpoint import Classifier
from training.recipe import scale_of, scale_of_training

GATE_SHARE = 1 / 3
"""Share of the calibration cells that is kept for the gate where no folder is named for it."""
FIT_SHARE = 1 / 4
"""Share of the others that fits the decision and picks the method, where no validation split does."""
KEPT_CELLS = 1024
"""At most so many: one flip in a thousand can be seen."""
SHORTLIST = 4
"""Of so many times the wanted cells, the calibration cells are chosen by their stain: it takes to read them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user named.

    Attributes:
        calibration: folder of cell images.
        gate: folder of held-out cell images, or None.
        layout: key of ``LAYOUTS`` if both are labelled.
        um_per_pixel: scale of all, if not the training's or each one's own.
        count: how many calibration cells.
        seed: of every choice.
        patients: ``none`` takes images of a layout of which nobody knows whose they are.
    """

    calibration: Path
    gate: Path | None = None
    layout: str | None = None
    um_per_pixel: float | None = None
    count: int = 512
    seed: int = 0
    patients: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who does what.

    Attributes:
        calibration: their activations give the ranges.
        held: for the gate; cells of neither class may be among them.
        fit: for the calibration method and INT8's decision; the calibration cells for want of others.
        um_per_pixel: scale of all; None takes each image's own.
        on: the held cells in words.
        fit_on: the fitting cells in words.
        sampling: what the calibration cells cover.
    """

    calibration: list[Sample]
    held: list[Sample]
    fit: list[Sample]
    um_per_pixel: float | None
    on: str
    fit_on: str
    sampling: Sampling


def choose(wanted: Wanted, classifier: Classifier, *, quiet: bool = False) -> Chosen:
    """Divide the cells; a labelled layout gives its training, validation and test splits to the three tasks.

    Raises:
        UsageError: a folder holds no image, or not the layout, or an image can not be read.
    """
    pool = _pool(wanted)
    fit = _of_layout(wanted, "validation")
    if wanted.gate is None:
        pool, held = _kept_apart(pool, GATE_SHARE, wanted.seed)
        on = "a third of the calibration cells, kept out of it by patient where known"
    elif wanted.layout is None:
        held, on = _any_images(wanted.gate), "the cells of a folder of their own"
    else:
        held = _of_layout(wanted, "test")
        on = f"{_whose(held)} of the test split of layout {wanted.layout}"
    if not held:
        raise UsageError(f"no cell is left for the gate below {wanted.gate or wanted.calibration}; name --gate DIR")
    fit_on = f"{_whose(fit)} of the validation split of layout {wanted.layout}"
    if not fit:
        pool, fit = _kept_apart(pool, FIT_SHARE, wanted.seed)
        fit_on = "a quarter of the calibration cells, kept out of it by patient where known"
    scale = _scale(wanted, classifier)
    calibration, covers = _sampled(pool, wanted, classifier.input, scale, colours=classifier.colours, quiet=quiet)
    if not fit:
        fit, fit_on = calibration, "the calibration cells, for want of others"
    return Chosen(calibration, held, fit, scale, on, fit_on, covers)


def _sampled(
    pool: Sequence[Sample],
    wanted: Wanted,
    spec: InputSpec,
    um_per_pixel: float | None,
    *,
    colours: Mapping[str, CellColours],
    quiet: bool,
) -> tuple[list[Sample], Sampling]:
    """Choose the calibration cells by patient, class and stain."""
    if not pool or wanted.count < 1:
        raise UsageError("there is no cell to calibrate with; name a folder with more images, or more --cells")
    short = stratified(_strata(pool), SHORTLIST * wanted.count, wanted.seed)
    candidates = [pool[k] for k in short]
    strata, stain = (
        _strata(candidates),
        stains(read_crops(candidates, spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)),
    )
    places = stratified(strata, wanted.count, wanted.seed, stain=stain)
    return [candidates[k] for k in places], sampling(strata, stain, places)


def _strata(samples: Sequence[Sample]) -> list[str]:
    return [f"{s.kind} {s.patient}" for s in samples]


def _of_layout(wanted: Wanted, split: Split) -> list[Sample]:
    """One split of the labelled folder that is not for calibration alone; nothing where labels are unknown."""
    if wanted.layout is None:
        return []
    everything = _found(wanted, wanted.gate or wanted.calibration)
    return sorted((s for s in everything if s.split == split), key=lambda s: s.path)


def _found(wanted: Wanted, root: Path) -> list[Sample]:
    found = LAYOUTS[str(wanted.layout)].find(root)
    refuse_nobodys(found, root, patients=wanted.patients)
    return found


def _whose(samples: Sequence[Sample]) -> str:
    """Whose the cells of a split are, in words."""
    rule = split_rule(samples)
    if rule == BY_PATIENT:
        return "patients"
    return f"images, split {BY_IMAGE}," if rule == BY_IMAGE else f"patients and images (split {rule})"


def _pool(wanted: Wanted) -> list[Sample]:
    if wanted.layout is None:
        return _any_images(wanted.calibration)
    found = _found(wanted, wanted.calibration)
    return sorted((s for s in found if s.split == "training" and s.labelled), key=lambda s: s.path)


def _scale(wanted: Wanted, classifier: Classifier) -> float | None:
    if wanted.um_per_pixel is not None:
        return wanted.um_per_pixel
    if wanted.layout is None:
        return scale_of_training(classifier.recipe)
    return scale_of(wanted.layout, classifier.recipe)


def _kept_apart(pool: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """The pool without, and with only, a share of its patients; an image without a patient counts as one.

    A lone patient stays in the pool.
    """
    names = sorted({_owner(s) for s in pool})
    turn = np.random.default_rng(seed).permutation(len(names))
    kept = {names[k] for k in turn[: min(max(1, round(len(names) * share)), len(names) - 1)]}
    held = [s for s in pool if _owner(s) in kept]
    few = stratified(_strata(held), KEPT_CELLS, seed)
    return [s for s in pool if _owner(s) not in kept], [held[k] for k in few]


def _owner(sample: Sample) -> str:
    return sample.patient if sample.labelled else sample.path.as_posix()


def _any_images(root: Path) -> list[Sample]:
    """Every image below a folder; each folder is a stratum, and nothing is known of labels."""
    paths = images_below(root)
    if not paths:
        raise UsageError(f"{root} holds no image; name a folder of cell images")
    return [Sample(p, p.parent.as_posix(), "", "rare", "training") for p in paths]
