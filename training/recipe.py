"""Everything that decides what weights come out of a training, but for the images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from common.errors import UsageError
from contract.manifest import CellColours

Rule: TypeAlias = Literal["patient", "random"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        layout: key of ``evaluation.datasets.LAYOUTS``.
        um_per_pixel: scale of all images; None takes each image's own.
        split: ``patient``, or ``random`` to show what leaks in a split by image.
        seed: of every draw.
        epochs: passes over the training cells; 0: the trunk stays as it starts.
        start: checkpoint or bundle whose trunk the training starts from; empty: from chance.
        batch: cells of one step.
        rate: peak learning rate of AdamW (Loshchilov and Hutter 2019).
        weight_decay: of AdamW, on kernels alone.
        smoothing: of the labels (Szegedy et al. 2016).
        average: decay of the running mean of the weights, which is what is kept (Polyak and Juditsky 1992).
        field_um: side of what the network sees; it holds a cell of any kind, alone.
        size: side of what the network sees, in pixels.
        bf16: compute in bfloat16.
    """

    layout: str
    um_per_pixel: float | None = None
    split: Rule = "patient"
    seed: int = 0
    epochs: int = 40
    start: str = ""
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    average: float = 0.998
    field_um: float = 18.0
    size: int = 112
    bf16: bool = False


def scale_of(layout: str, recipe: Mapping[str, Any]) -> float | None:
    """Micrometres per pixel that a training on a layout was told; None: each image of it has its own."""
    told = recipe.get("um_per_pixel") if recipe.get("layout") == layout else None
    return None if told is None else float(told)


def scale_of_training(recipe: Mapping[str, Any]) -> float:
    """Micrometres per pixel of all images of a training, for images of which nothing is known.

    Raises:
        UsageError: they had more than one scale.
    """
    told = recipe.get("um_per_pixel")
    scales = recipe.get("scales", []) if told is None else [told]
    if len(scales) == 1:
        return float(scales[0])
    raise UsageError("the model was trained on images of several scales; name the scale of these with --um-per-pixel")


def colours_in(training: Mapping[str, Any]) -> dict[str, CellColours]:
    """The colours of the cells of each data set, from `training` of a bundle's report; older ones have none."""
    return {name: CellColours.model_validate(found) for name, found in training.get("colours", {}).items()}


def data_sets_in(recipe: Mapping[str, Any]) -> list[str]:
    """The data sets that a training took cells from, by name."""
    return list(recipe.get("datasets") or [recipe["layout"]])
