"""Which cells calibrate, which fit the decision, and which are kept for the gate: never the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.sample import stratified
from contract.errors import UsageError
from training.checkpoint import Classifier
from training.data import LAYOUTS, Sample, images_below
from training.evaluate import scale_of

KEPT_SHARE = 1 / 3
"""Share of the calibration cells that is kept for the gate where no folder is named for it."""
KEPT_CELLS = 1024
"""At most so many: one flip in a thousand can be seen."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user named.

    Attributes:
        calibration: folder of cell images.
        gate: folder of held-out cell images, or None.
        layout: key of ``LAYOUTS`` if both are labelled.
        um_per_pixel: their scale, if not the layout's or the training's.
        count: how many calibration cells.
        seed: of every choice.
    """

    calibration: Path
    gate: Path | None = None
    layout: str | None = None
    um_per_pixel: float | None = None
    count: int = 512
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who does what.

    Attributes:
        calibration: their activations give the ranges.
        held: for the gate; cells of neither class may be among them.
        fit: for INT8's decision; the calibration cells for want of others.
        um_per_pixel: scale of all.
        on: the held cells in words.
    """

    calibration: list[Sample]
    held: list[Sample]
    fit: list[Sample]
    um_per_pixel: float
    on: str


def choose(wanted: Wanted, classifier: Classifier) -> Chosen:
    """Divide the cells; a labelled layout gives its training, validation and test splits to the three tasks.

    Raises:
        UsageError: a folder holds no image, or not the layout.
    """
    pool = _pool(wanted)
    fit: list[Sample] = []
    if wanted.gate is None:
        pool, held = _kept_apart(pool, wanted.seed)
        on = "a third of the calibration cells, kept out of it by patient where known"
    elif wanted.layout is None:
        held, on = _any_images(wanted.gate), "the cells of a folder of their own"
    else:
        everything = sorted(LAYOUTS[wanted.layout].find(wanted.gate), key=lambda s: s.path)
        held = [s for s in everything if s.split == "test"]
        fit = [s for s in everything if s.split == "validation"]
        on = f"patients of the test split of layout {wanted.layout}"
    if not held:
        raise UsageError(f"no cell is left for the gate below {wanted.gate or wanted.calibration}; name --gate DIR")
    places = stratified([f"{s.kind} {s.patient}" for s in pool], wanted.count, wanted.seed)
    calibration = [pool[k] for k in places]
    return Chosen(calibration, held, fit or calibration, _scale(wanted, classifier), on)


def _pool(wanted: Wanted) -> list[Sample]:
    if wanted.layout is None:
        return _any_images(wanted.calibration)
    found = LAYOUTS[wanted.layout].find(wanted.calibration)
    return sorted((s for s in found if s.split == "training" and s.labelled), key=lambda s: s.path)


def _scale(wanted: Wanted, classifier: Classifier) -> float:
    if wanted.um_per_pixel is not None:
        return wanted.um_per_pixel
    own = float(classifier.recipe["um_per_pixel"])
    return own if wanted.layout is None else scale_of(wanted.layout, classifier.recipe)


def _kept_apart(pool: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """The pool without, and with only, a third of its patients; an image without a patient counts as one."""
    names = sorted({_owner(s) for s in pool})
    turn = np.random.default_rng(seed).permutation(len(names))
    kept = {names[k] for k in turn[: max(1, round(len(names) * KEPT_SHARE))]}
    held = [s for s in pool if _owner(s) in kept]
    few = stratified([f"{s.kind} {s.patient}" for s in held], KEPT_CELLS, seed)
    return [s for s in pool if _owner(s) not in kept], [held[k] for k in few]


def _owner(sample: Sample) -> str:
    return sample.patient if sample.labelled else sample.path.as_posix()


def _any_images(root: Path) -> list[Sample]:
    """Every image below a folder; each folder is a stratum, and nothing is known of labels."""
    paths = images_below(root)
    if not paths:
        raise UsageError(f"{root} holds no image; name a folder of cell images")
    return [Sample(p, p.parent.as_posix(), "", "rare", "training") for p in paths]
