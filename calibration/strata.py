"""Which cells the ranges are measured on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.cell_stain import Stains
from contract.types import Crops

Span = tuple[float, float]
"""The smallest and the largest of several values."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a choice of cells covers.

    Attributes:
        cells: how many were chosen.
        candidates: how many were looked at.
        strata: from how many strata they came.
        hue_degrees: of the chosen ones, see ``stains``.
        strength: likewise, in optical density.
        candidates_hue_degrees: the same of all that were looked at.
        candidates_strength: likewise.
    """

    cells: int
    candidates: int
    strata: int
    hue_degrees: Span
    strength: Span
    candidates_hue_degrees: Span
    candidates_strength: Span


def stratified(strata: Sequence[str], count: int, seed: int, *, stain: Stains | None = None) -> NDArray[np.int64]:
    """Choose cells so that every stratum (a patient's blasts, a folder) is there before any is there twice.

    Drawn at random, the sample would be made of the few patients with most cells, and ranges would miss the others'
    stain. Within a stratum, cells are drawn at random, or spread over the range of its stain.

    Args:
        strata: (N,) name of each cell's stratum.
        count: how many to choose; all of them if there are fewer.
        seed: of the order within strata and among them.
        stain: hue and strength of each cell.

    Returns:
        Ascending indices without repetition.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(strata, dtype=str)
    turn = np.empty(len(names), np.int64)
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        if stain is None:
            turn[members] = rng.permutation(len(members))
        else:
            turn[members[_path(stain[members])]] = _spread(len(members), rng.random())
    order = np.lexsort((rng.random(len(names)), turn))
    return np.sort(order[:count])


def sampling(strata: Sequence[str], stain: Stains, chosen: NDArray[np.int64]) -> Sampling:
    """Say what a choice of at least one cell covers; arguments as in ``stratified``."""
    hue, strength = _spans(stain[chosen])
    return Sampling(len(chosen), len(strata), len({strata[k] for k in chosen}), hue, strength, *_spans(stain))


def fingerprint(crops: Crops) -> str:
    """Hex SHA-256 of the chosen crops, shape included."""
    digest = hashlib.sha256(str(crops.shape).encode())
    digest.update(np.ascontiguousarray(crops).tobytes())
    return digest.hexdigest()


def _path(stain: Stains) -> NDArray[np.int64]:
    """A walk through all cells on which neighbours are stained alike: through bands of hue, up and down in strength."""
    count = len(stain)
    bands = max(1, round(np.sqrt(count)))
    band = np.empty(count, np.int64)
    band[np.argsort(stain[:, 0], kind="stable")] = np.arange(count) * bands // count
    return np.lexsort((np.where(band % 2, -1, 1) * stain[:, 1], band))


def _spread(count: int, start: float) -> NDArray[np.int64]:
    """The turn of each of ``count`` places in a row, so that the first few turns, however many, lie all over the row.

    The sequence of van der Corput (1935), moved by ``start``: halves, quarters, eighths.
    """
    turns = np.arange(count)
    points = np.full(count, start)
    for bit in range(count.bit_length()):
        points += (turns >> bit & 1) / 2 ** (bit + 1)
    return np.argsort(points % 1, kind="stable")


def _spans(stain: Stains) -> tuple[Span, Span]:
    low, high = np.round(stain.min(axis=0), 3), np.round(stain.max(axis=0), 3)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
