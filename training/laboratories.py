"""The training's cells as laboratories would have stained and lit them that nobody has data of, for the heads.

Stains add in optical density (Beer-Lambert), so a laboratory is a linear map of densities, the light of its empty field
and a camera's noise. All cells of a data set are moved by it together, and then aligned as a real laboratory's are, by
the colours of its cells. What alignment can not undo differs between these laboratories, and the heads learn not to
heed it. training/RESULTS.md has what that does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.cell_colours import colours_of, moments_within
from contract.manifest import CellView, InputSpec
from contract.pixels import moved
from contract.types import Crops, Tensor
from evaluation.datasets.crops import read_outlined
from evaluation.datasets.sample import Sample
from training.augment import DENSITY, TURNS

LABORATORIES, EVERY, EVERY_ON_BLACK = 32, 4, 16
"""How many, and that each has one in so many of the training's cells, or of those that lie on black: these are the
lymphoblasts and their normal cells, and of more such views their own look is known less well."""
STRENGTH, NOISE = (0.5, 1.0), (2.0, 4.0)
"""Between which a laboratory's strength of change, and its noise in grey levels, is drawn."""
WITHIN = 127
"""Level of the fourth plane of a crop from which on a pixel belongs to its cell."""


@dataclass(frozen=True, slots=True)
class Laboratory:
    """How a laboratory changes the look of another's cells.

    Attributes:
        density: (3, 4) what is made of a pixel's optical densities, blue, green, red, and of 1.
        noise: standard deviation, in grey levels.
    """

    density: NDArray[np.float32]
    noise: float

    def looks(self, crops: NDArray[np.uint8], rng: np.random.Generator) -> Crops:
        """Crops, (N, size, size, 3) uint8, as they would look there."""
        found = np.empty((*crops.shape[:3], 3), np.uint8)
        for k, crop in enumerate(crops):
            light = 256 * np.exp(-cv2.transform(DENSITY[crop[..., :3]], self.density)) - 1
            found[k] = np.clip(light + rng.normal(0, self.noise, light.shape), 0, 255)
        return found


def draw_laboratory(rng: np.random.Generator) -> Laboratory:
    """A laboratory: its stains are more or less strong, each in another shade, its light is weaker or of a colour."""
    strength = rng.uniform(*STRENGTH)
    stains = np.diag(np.exp(rng.normal(0, strength / 2, 3))) + rng.normal(0, strength / 4, (3, 3))
    field = abs(rng.normal(0, 0.15)) + rng.normal(0, 0.08, 3)
    overall = np.exp(rng.normal(-0.2, strength))
    return Laboratory(np.column_stack([overall * stains, field]).astype(np.float32), rng.uniform(*NOISE))


def foreign_features(
    features: Callable[[Crops], Tensor],
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    quiet: bool = False,
) -> tuple[list[Tensor], NDArray[np.int64]]:
    """Features of cells as other laboratories would show them, and which cells they are.

    Normal cells and blasts alike: were the blasts of a kind always seen with the look of their own data set, the heads
    would take another look for a sign of health. Images in which no cell is found are left out. The same samples give
    the same views.

    Args:
        features: of crops as the network sees them, (N, features).
        samples: of which each laboratory gets one in ``EVERY``, by data set.
        spec: what the network sees; where it does not see cells alone and aligned, there are no views.
        um_per_pixel: scale of all images, if not each one's own.
        quiet: draw no progress bar.

    Returns:
        (N, features) in parts, one for each laboratory and data set, and (N,) the place of each among ``samples``.
    """
    parts, places = list[Tensor](), [np.zeros(0, np.int64)]
    if spec.cell is not None and samples:
        crops = read_outlined(samples, spec, um_per_pixel=um_per_pixel, quiet=quiet)
        there = np.flatnonzero(crops[..., 3].max(axis=(1, 2)) > WITHIN)
        for rows, views in _views(crops[there], [samples[int(k)] for k in there], spec.cell):
            parts.append(features(views))
            places.append(there[rows])
    return parts, np.concatenate(places)


def _views(
    crops: NDArray[np.uint8], cells: Sequence[Sample], cell: CellView
) -> Iterator[tuple[NDArray[np.int64], Crops]]:
    """By laboratory and data set: which crops, and what the network sees of them there."""
    origins = [(s.dataset, s.cut_out) for s in cells]
    for number in range(LABORATORIES):
        rng = np.random.default_rng(number)
        laboratory = draw_laboratory(rng)
        for origin in dict.fromkeys(origins):
            every = EVERY_ON_BLACK if origin[1] else EVERY
            rows = np.flatnonzero([own == origin for own in origins])[number % every :: every]
            if len(rows):
                yield rows, _seen(crops[rows], laboratory, cell, rng)


def _seen(crops: NDArray[np.uint8], laboratory: Laboratory, cell: CellView, rng: np.random.Generator) -> Crops:
    """The cells alone, with a laboratory's look, aligned, each laboratory's with another side up."""
    looks, within = laboratory.looks(crops, rng), crops[..., 3] > WITHIN
    told = [moments_within(look, mask) for look, mask in zip(looks, within, strict=True)]
    moments = [found for found in told if found is not None]
    views = moved(looks, colours_of(moments), cell.colours) if moments else looks
    if cell.surroundings is not None:
        views[~within] = np.rint(np.array(cell.surroundings[::-1]) * 255)
    return np.ascontiguousarray(np.rot90(views, int(rng.integers(TURNS)), axes=(1, 2)))
