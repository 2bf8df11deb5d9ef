"""ONNX Runtime on the CPU, on the INT8 CPU graph."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from common.errors import EngineError
from contract.bundle import INT8_CPU, Bundle
from contract.manifest import Precision
from contract.types import Tensor
from engines.session import Session, open_session

REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
)
MAX_BATCH = 16
"""Crops scored at a time: beyond it INT8 gains no speed, and memory stays flat however many cells a frame has."""
MAX_THREADS = 4
"""Threads for one batch; small networks gain nothing from more."""


class OrtEngine:
    """The INT8 CPU graph in ONNX Runtime; satisfies ``Engine``."""

    name = "onnxruntime-int8"
    precision: Precision = "int8"

    def __init__(self, model: bytes, *, input_name: str) -> None:
        threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))
        # A thread that waits by spinning heats a board for nothing between two frames.
        self._session: Session | None = open_session(model, threads=threads, spins=False, quiet=True)
        self._input = input_name

    def scores(self, batch: Tensor) -> Tensor:
        """Score a batch; see ``Engine.scores``."""
        if self._session is None:
            raise EngineError("this engine was closed; open it again")
        parts = [
            self._session.run(None, {self._input: batch[start : start + MAX_BATCH]})[0]
            for start in range(0, len(batch), MAX_BATCH)
        ]
        width = self._session.get_outputs()[0].shape[1]
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, width), np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session = None


def open_engine(
    bundle: Bundle,
    *,
    state_dir: Path | None = None,  # noqa: ARG001 - the CPU graph is built for no machine
    rebuild: bool = False,  # noqa: ARG001
) -> OrtEngine:
    """Open the INT8 CPU graph of a verified bundle; raises EngineError if ONNX Runtime refuses it."""
    model = bundle.read(INT8_CPU)
    try:
        return OrtEngine(model, input_name=bundle.manifest.input.name)
    except REFUSALS as cause:
        raise EngineError(f"ONNX Runtime {ort.__version__} refuses {bundle.path / INT8_CPU}: {cause}") from cause
