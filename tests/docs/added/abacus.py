"""The FP32 graph in ONNX Runtime."""

from pathlib import Path

import numpy as np

from common.errors import EngineError
from contract.bundle import FP32, Bundle
from contract.manifest import Precision
from contract.types import Tensor
from engines.session import Session, open_session


class Abacus:
    """An engine of a few lines; satisfies ``Engine``."""

    name = "abacus-fp32"
    precision: Precision = "fp32"

    def __init__(self, model: bytes, *, input_name: str) -> None:
        self._session: Session | None = open_session(model)
        self._input = input_name

    def scores(self, batch: Tensor) -> Tensor:
        """Score a batch; see ``Engine.scores``."""
        if self._session is None:
            raise EngineError("this engine was closed; open it again")
        if len(batch) == 0:
            return np.zeros((0, self._session.get_outputs()[0].shape[1]), np.float32)
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session = None


def open_engine(bundle: Bundle, *, state_dir: Path | None, rebuild: bool) -> Abacus:  # noqa: ARG001
    """Open it for a verified bundle."""
    return Abacus(bundle.read(FP32), input_name=bundle.manifest.input.name)
