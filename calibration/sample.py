"""Which cells the ranges are measured on."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.types import Crops


def stratified(strata: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """Choose cells so that every stratum (a patient's blasts, a folder) is there before any is there twice.

    Drawn at random, the sample would be made of the few patients with most cells, and ranges would miss the others'
    stain.

    Args:
        strata: (N,) name of each cell's stratum.
        count: how many to choose; all of them if there are fewer.
        seed: of the order within strata and among them.

    Returns:
        Ascending indices without repetition.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(strata, dtype=str)
    turn = np.empty(len(names), np.int64)
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        turn[members] = rng.permutation(len(members))
    order = np.lexsort((rng.random(len(names)), turn))
    return np.sort(order[:count])


def fingerprint(crops: Crops) -> str:
    """Hex SHA-256 of the chosen crops, shape included."""
    digest = hashlib.sha256(str(crops.shape).encode())
    digest.update(np.ascontiguousarray(crops).tobytes())
    return digest.hexdigest()
