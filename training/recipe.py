"""Everything that decides what weights come out of a training, but for the images."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Rule: TypeAlias = Literal["patient", "random"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        layout: key of ``training.data.LAYOUTS``.
        um_per_pixel: scale of the images.
        split: ``patient``, or ``random`` to show what leaks in a split by image.
        seed: of every draw.
        epochs: passes over the training cells.
        batch: cells of one step.
        rate: peak learning rate of AdamW (Loshchilov and Hutter 2019).
        weight_decay: of AdamW, on kernels alone.
        smoothing: of the labels (Szegedy et al. 2016).
        average: decay of the running mean of the weights, which is what is kept (Polyak and Juditsky 1992).
        field_um: side of what the network sees.
        size: side of what the network sees, in pixels.
        bf16: compute in bfloat16.
    """

    layout: str
    um_per_pixel: float
    split: Rule = "patient"
    seed: int = 0
    epochs: int = 40
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    average: float = 0.998
    field_um: float = 24.0
    size: int = 112
    bf16: bool = False
