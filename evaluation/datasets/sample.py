"""One labelled cell, and the lists that a training or an evaluation takes of many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Split: TypeAlias = Literal["training", "validation", "test"]
Kind: TypeAlias = Literal["normal", "blast", "rare", "reject"]
SPLITS: tuple[Split, ...] = ("training", "validation", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of one cell.

    Attributes:
        path: the image file.
        patient: whose cell it is; patients, not images, are divided among the splits. Subjects that are one person
            are one patient.
        group: what its own data set calls it.
        kind: ``normal`` and ``blast`` are trained and scored; ``rare`` and ``reject`` are only reported.
        split: what it may be used for.
        label: the class that it is trained under: ``normal``, ``lymphoblast``, ``myeloblast``, ``blast`` where the
            lineage is not known, ``other`` for what is no cell to judge; empty for cells that are not trained.
        dataset: key of ``LAYOUTS``; empty for images of no data set.
        um_per_pixel: scale of the image.
        fold: 0 to 4 where the data set has folds that divide no patient.
        cut_out: the cell lies on black, without its surroundings.
        by_image: nobody knows whose cell it is, so it counts as a patient of its own and a split by patient leaks.
    """

    path: Path
    patient: str
    group: str
    kind: Kind
    split: Split
    label: str = ""
    dataset: str = ""
    um_per_pixel: float = 0.10
    fold: int | None = None
    cut_out: bool = False
    by_image: bool = False

    @property
    def labelled(self) -> bool:
        """Whether it is one of the two classes."""
        return self.kind in {"normal", "blast"}


def labelled(samples: Iterable[Sample], split: Split) -> list[Sample]:
    """The normal cells and blasts of one split, in a fixed order."""
    return sorted((s for s in samples if s.split == split and s.labelled), key=lambda s: s.path)


def shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The leaky split: as many labelled images in each split as before, but dealt out without regard to patients."""
    ordered = sorted(samples, key=lambda s: s.path)
    cells = [s for s in ordered if s.labelled]
    order = np.random.default_rng(seed).permutation(len(cells))
    dealt = [replace(cell, split=cells[k].split) for cell, k in zip(cells, order, strict=True)]
    return [*dealt, *(s for s in ordered if not s.labelled)]


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """(N,) 1 for a blast, 0 for any other cell."""
    return np.array([s.kind == "blast" for s in samples], np.int64)


def data_sets_of(samples: Iterable[Sample]) -> list[str]:
    """The data sets that samples come from, by name."""
    return sorted({s.dataset for s in samples} - {""})


def scales_of(samples: Iterable[Sample]) -> list[float]:
    """The scales of their images, in micrometres per pixel."""
    return sorted({s.um_per_pixel for s in samples})
