"""What turns a batch into scores: one file per runtime."""

from typing import Protocol

import numpy as np

from agent.engines import ort
from contract.bundle import INT8_CPU, Bundle
from contract.errors import IntegrityError, UsageError
from contract.manifest import Precision
from contract.types import Tensor


class Engine(Protocol):
    """Scores batches."""

    @property
    def name(self) -> str:
        """Runtime and precision, as it stands in the reports."""
        ...

    @property
    def precision(self) -> Precision:
        """In which numbers it computes; it chooses the decision."""
        ...

    def scores(self, batch: Tensor) -> Tensor:
        """Score a batch of any length, 0 included.

        Args:
            batch: (N, 3, size, size) float32, from ``contract.pixels.to_batch``.

        Returns:
            (N, 2) float32, row k for crop k.
        """
        ...

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        ...


ENGINES = {"onnxruntime": ort.open_engine}
"""Every engine by its name in the settings, the best first."""

GOLDEN_TOLERANCE = 0.35
"""Largest difference of a score between this machine and the one where the bundle was made.

Two INT8 implementations of one graph differ by up to 0.15 where scores spread by 6; a processor whose INT8 kernels
saturate differs by whole units.
"""


def open_engine(bundle: Bundle, name: str = "auto") -> Engine:
    """Open an engine and prove it on the bundle's golden batch.

    Raises:
        UsageError: there is no engine of that name.
        EngineError: its runtime is missing, or refuses the model.
        IntegrityError: it does not score here as it scored where the bundle was made.
    """
    chosen = next(iter(ENGINES)) if name == "auto" else name
    if chosen not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; choose one of auto, {', '.join(ENGINES)}")
    engine: Engine = ENGINES[chosen](bundle)
    off = golden_difference(engine, bundle)
    if not off <= GOLDEN_TOLERANCE:
        engine.close()
        raise IntegrityError(
            f"the engine {engine.name} scores the golden batch of {bundle.path} off by {off:.2f} "
            f"(at most {GOLDEN_TOLERANCE}): this processor or runtime does not compute this model; do not use it here"
        )
    return engine


def golden_difference(engine: Engine, bundle: Bundle) -> float:
    """Largest difference between an engine's scores of the golden batch and those that the bundle carries."""
    return float(np.abs(engine.scores(bundle.golden.batch) - bundle.golden.scores[INT8_CPU]).max())
