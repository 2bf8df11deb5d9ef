"""What turns a batch into scores: one file per runtime."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from common.errors import EngineError, IntegrityError, UsageError
from contract.bundle import FP32, INT8, INT8_CPU, Bundle
from contract.manifest import Precision
from contract.types import Tensor
from engines import ort, plan

log = logging.getLogger(__name__)


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
            (N, columns) float32, row k for crop k.
        """
        ...

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        ...


class Opener(Protocol):
    """Opens one kind of engine; raises EngineError where it can not run here."""

    def __call__(self, bundle: Bundle, *, state_dir: Path | None, rebuild: bool) -> Engine:
        """Open it for a verified bundle; what is built for this machine lies in ``state_dir``."""
        ...


ENGINES: Mapping[str, Opener] = {
    "tensorrt": plan.open_engine,
    "tensorrt-fp16": partial(plan.open_engine, precision="fp16"),
    "tensorrt-fp32": partial(plan.open_engine, precision="fp32"),
    "onnxruntime": ort.open_engine,
}
"""Every engine by its name in the settings; `tensorrt` is INT8."""

AUTO = ("tensorrt", "onnxruntime")
"""What `auto` tries, the best first. The floating-point plans are run by who asks for them."""

REFERENCES = {"onnxruntime-int8": INT8_CPU, "tensorrt-int8": INT8, "tensorrt-fp16": FP32, "tensorrt-fp32": FP32}
"""By the name of an engine, the graph whose scores of the golden batch it must reproduce."""

GOLDEN_TOLERANCE = 0.35
"""Largest difference of a score between this machine and the one where the bundle was made.

Two INT8 implementations of one graph differ by up to 0.15 where scores spread by 6; a processor whose INT8 kernels
saturate differs by whole units.
"""


def open_engine(bundle: Bundle, name: str = "auto", *, state_dir: Path | None = None, rebuild: bool = False) -> Engine:
    """Open an engine and prove it on the bundle's golden batch.

    Args:
        bundle: the model.
        name: key of ``ENGINES``, or `auto`: the first of ``AUTO`` that can run here; why another can not is logged.
        state_dir: the agent's folder, where engines that were built for this machine lie.
        rebuild: build such an engine where there is none that fits; takes minutes.

    Raises:
        UsageError: there is no engine of that name.
        EngineError: its runtime is missing, or refuses the model.
        IntegrityError: it does not score here as it scored where the bundle was made, or was changed.
    """
    if name not in {"auto", *ENGINES}:
        raise UsageError(f"there is no engine {name!r}; choose one of auto, {', '.join(ENGINES)}")
    engine = _first(bundle, AUTO if name == "auto" else (name,), state_dir=state_dir, rebuild=rebuild)
    with ExitStack() as unproven:
        unproven.callback(engine.close)
        off = golden_difference(engine, bundle)
        if not off <= GOLDEN_TOLERANCE:
            raise IntegrityError(
                f"the engine {engine.name} scores the golden batch of {bundle.path} off by {off:.2f} (at most "
                f"{GOLDEN_TOLERANCE}): this processor or runtime does not compute this model; do not use it here"
            )
        unproven.pop_all()
    return engine


def _first(bundle: Bundle, names: Sequence[str], *, state_dir: Path | None, rebuild: bool) -> Engine:
    """The first engine of some that opens."""
    for name, following in pairwise(names):
        try:
            return ENGINES[name](bundle, state_dir=state_dir, rebuild=rebuild)
        except EngineError as cause:
            # Who asked for a plan to be built must see that there is none; on most machines there never was one.
            log.log(logging.WARNING if rebuild else logging.INFO, "engine %s instead of %s: %s", following, name, cause)
    return ENGINES[names[-1]](bundle, state_dir=state_dir, rebuild=rebuild)


def golden_difference(engine: Engine, bundle: Bundle) -> float:
    """Largest difference between an engine's scores of the golden batch and those that the bundle carries.

    Relative for scores beyond 1: the distance of a cell that nobody's training held is large.
    """
    expected = bundle.golden.scores[REFERENCES.get(engine.name, INT8_CPU)]
    apart = np.abs(engine.scores(bundle.golden.batch) - expected) / np.maximum(np.abs(expected), 1)
    return float(apart.max())
