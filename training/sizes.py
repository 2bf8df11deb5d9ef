"""What a wrong scale changes in the features of a cell: heads that small differences tell must not heed it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contract.manifest import CellColours, InputSpec
from contract.types import Crops, Tensor
from evaluation.datasets.crops import read_found
from evaluation.datasets.sample import Sample

STEP = 0.05
"""Share by which a cell is drawn too large, or too small: scales from red cells are as good as that."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Half of what differs between a cell drawn too large and drawn too small by ``STEP``.

    Attributes:
        features: (N, features).
        samples: (N,) which cells these are.
    """

    features: NDArray[np.floating]
    samples: Sequence[Sample]


def changes_of(
    features: Callable[[Crops], Tensor],
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool = False,
) -> Changes:
    """Measure what a wrong scale changes.

    Args:
        features: of crops as the network sees them, (N, features).
        samples: which cells.
        spec: what the network sees.
        um_per_pixel: scale of all images, if not each one's own.
        colours: of the cells of each data set, for a network that sees them in its training's colours.
        quiet: draw no progress bar.
    """
    drawn = [
        read_found(resized(samples, np.full(len(samples), 1 + step), um_per_pixel), spec, colours=colours, quiet=quiet)
        for step in (-STEP, STEP)
    ]
    there = np.logical_and(*(found for _, found in drawn))
    small, large = (features(crops[there]) for crops, _ in drawn)
    return Changes((large - small) / 2, [sample for sample, found in zip(samples, there, strict=True) if found])


def resized(samples: Sequence[Sample], factors: NDArray[np.floating], um_per_pixel: float | None) -> list[Sample]:
    """The same cells, each said to be larger by a factor, (N,)."""
    return [
        replace(sample, um_per_pixel=(um_per_pixel or sample.um_per_pixel) * float(factor))
        for sample, factor in zip(samples, factors, strict=True)
    ]
