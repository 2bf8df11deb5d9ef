"""TensorRT on the GPU that is not there: just the names that the engine uses; each answer can be made to fail."""

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar

import numpy as np

from contract.types import Tensor
from engines import trt_protocols as trt
from tests.cuda_fake import STREAMS, Gpu

Compute = Callable[[Tensor], Tensor]


def sums(batch: Tensor) -> Tensor:
    """A network whose scores are easily told: sums of cells, and their first values."""
    return np.stack([batch.sum(axis=(1, 2, 3)), batch[:, 0, 0, 0]], axis=1)


class FakeSeverity(Enum):
    """TensorRT's levels."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class TensorIOMode(Enum):
    """TensorRT's modes."""

    INPUT = 1
    OUTPUT = 2


class DataType(Enum):
    """TensorRT's types."""

    FLOAT = 0
    HALF = 1


class FakeLogger:
    """Stands for ILogger."""

    Severity: ClassVar[trt.Severity] = FakeSeverity


class FakeExecution:
    """Stands for IExecutionContext."""

    def __init__(self, engine: "FakeEngine") -> None:
        engine.gpu.born("execution context")
        self._engine, self._places = engine, dict[str, int]()
        self._shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        fits = all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True))
        self._shape = shape
        return self._engine.answer("set_input_shape") and fits

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._places[name] = memory
        return self._engine.answer("set_tensor_address") and memory in self._engine.gpu.memory

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._engine.answer("execute_async_v3"):
            return False
        memory, shape = self._engine.gpu.memory, self._shape

        def work() -> None:
            given = memory[self._places["image"]][: int(np.prod(shape))].reshape(shape)
            made = self._engine.compute(given)
            memory[self._places["scores"]][: made.size] = made.ravel()

        STREAMS[stream_handle].work.append(work)
        return True

    def __del__(self) -> None:
        if hasattr(self, "_places"):
            self._engine.gpu.gone("execution context")


class FakeEngine:
    """Stands for ICudaEngine."""

    gpu: Gpu

    def __init__(self, runtime: "FakeRuntime") -> None:
        self.gpu, self.trt, self._runtime = runtime.gpu, runtime.trt, runtime
        self.compute = runtime.trt.compute
        self.gpu.born("plan")

    def answer(self, call: str) -> bool:
        self.gpu.need_context()
        if call in self.gpu.failing:
            self._runtime.logger.log(FakeSeverity.ERROR, f"{call} failed as planned")  # noqa: G004 - no logging
            return False
        return True

    @property
    def num_io_tensors(self) -> int:
        return 2

    def get_tensor_name(self, index: int) -> str:
        return ["scores", "image"][index]

    def get_tensor_mode(self, name: str) -> object:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, _: str) -> object:
        return self.trt.dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, self.trt.size, self.trt.size) if name == "image" else (-1, self.trt.width)

    def get_tensor_profile_shape(self, _: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [(n, 3, self.trt.size, self.trt.size) for n in (1, self.trt.largest, self.trt.largest)]

    def create_execution_context(self) -> FakeExecution | None:
        return FakeExecution(self) if self.answer("create_execution_context") else None

    def __del__(self) -> None:
        if hasattr(self, "compute"):
            self.gpu.gone("plan")


class FakeRuntime:
    """Stands for Runtime."""

    def __init__(self, trt: "FakeTensorRt", logger: Any) -> None:
        self.gpu, self.trt, self.logger = trt.gpu, trt, logger
        self.gpu.born("runtime")
        self.engine_host_code_allowed = True

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> FakeEngine | None:
        assert not self.engine_host_code_allowed
        self.trt.loaded.append(serialized_engine)
        if "deserialize_cuda_engine" in self.gpu.failing:
            self.logger.log(FakeSeverity.ERROR, "deserialize_cuda_engine failed as planned")
            return None
        return FakeEngine(self)

    def __del__(self) -> None:
        if hasattr(self, "engine_host_code_allowed"):
            self.gpu.gone("runtime")


class FakeTensorRt:
    """The module `tensorrt`; ``compute`` is what its plans compute."""

    TensorIOMode = TensorIOMode
    DataType = DataType
    ILogger = FakeLogger

    def __init__(
        self, gpu: Gpu, compute: Compute, *, largest: int = 16, size: int = 96, width: int = 2, version: str = "10.3.0"
    ) -> None:
        self.__version__ = version
        self.gpu, self.compute, self.largest, self.size, self.width = gpu, compute, largest, size, width
        self.dtype = DataType.FLOAT
        self.loaded: list[bytes] = []

    def Runtime(self, logger: Any) -> FakeRuntime:  # noqa: N802 - TensorRT's name
        return FakeRuntime(self, logger)
