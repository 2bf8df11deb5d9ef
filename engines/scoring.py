"""Cells through one engine, with times: what the processes that compare engines tell one another."""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.arguments import place
from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.trust_options import add_trust
from contract.types import Crops, Tensor

TOGETHER = 16
"""Cells in a batch."""
ALONE = 50
"""Cells that are scored one by one, to time that, at most."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What an engine said of cells, and how long it took.

    Attributes:
        name: the engine's own name, as in the reports.
        scores: (N, columns) float32, row k for cell k.
        alone_ms: median milliseconds for one cell by itself.
        together_ms: median milliseconds for a cell in a batch of ``TOGETHER``.
    """

    name: str
    scores: Tensor = field(repr=False)
    alone_ms: float
    together_ms: float


def scoring_arguments(program: str, about: str | None, engines: Iterable[str]) -> argparse.ArgumentParser:
    """What a program that scores is told: the bundle, which of its engines, the crops, and where the scores go."""
    parser = argparse.ArgumentParser(program, description=about)
    parser.add_argument("bundle", type=place)
    parser.add_argument("--engine", choices=tuple(engines), required=True)
    parser.add_argument("--crops", type=place, required=True, help="(N, size, size, 3) uint8 as .npy")
    parser.add_argument("--out", type=place, required=True, help="file .npz for scores and times")
    add_trust(parser)
    return parser


def score(name: str, engine: Callable[[Tensor], Tensor], crops: Crops, spec: InputSpec) -> Scored:
    """Score every crop; the making of batches is not timed, and the first call of each size is a rehearsal.

    Args:
        name: of the engine.
        engine: batch (n, 3, size, size) -> scores (n, columns).
        crops: (N, size, size, 3) uint8, N at least 1.
        spec: what the network sees.
    """
    engine(to_batch(crops[:TOGETHER], spec))
    parts, together = [], []
    for start in range(0, len(crops), TOGETHER):
        batch = to_batch(crops[start : start + TOGETHER], spec)
        started = time.perf_counter()
        parts.append(engine(batch))
        together.append((time.perf_counter() - started) * 1e3 / len(batch))
    engine(to_batch(crops[:1], spec))
    alone = []
    for crop in crops[:ALONE]:
        batch = to_batch(crop[None], spec)
        started = time.perf_counter()
        engine(batch)
        alone.append((time.perf_counter() - started) * 1e3)
    return Scored(name, np.concatenate(parts), float(np.median(alone)), float(np.median(together)))


def write_scored(path: Path, scored: Scored) -> None:
    """Store what an engine said; ``read_scored`` reads it."""
    times = np.array([scored.alone_ms, scored.together_ms])
    np.savez(path, allow_pickle=False, name=np.array(scored.name), scores=scored.scores, times=times)


def read_scored(path: Path) -> Scored:
    """Read what another process of ours stored."""
    with np.load(path, allow_pickle=False) as stored:
        alone_ms, together_ms = (float(value) for value in stored["times"])
        return Scored(str(stored["name"]), stored["scores"], alone_ms, together_ms)
