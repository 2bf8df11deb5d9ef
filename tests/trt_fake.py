"""A GPU that is not there: pycuda's driver and TensorRT, just the names that we use.

Strict where the real ones are: work waits in its stream until ``synchronize``, and nothing is allowed without a current
context. Each object that is alive is counted; each answer can be made to fail.
"""

import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from contract import trt
from contract.types import Tensor

Compute = Callable[[Tensor], Tensor]


class FakeCudaError(Exception):
    """What pycuda raises."""


class Gpu:
    """The state of the device, shared by driver and TensorRT.

    Attributes:
        live: number of objects alive, by kind.
        events: what was freed, and each push and pop, in order.
        failing: names of calls that fail.
    """

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()
        self.events: list[str] = []
        self.failing: set[str] = set()
        self.memory: dict[int, NDArray[np.float32]] = {}
        self._next = 4096
        self._stacks: Counter[int] = Counter()

    def born(self, kind: str) -> None:
        self.need_context()
        if kind in self.failing:
            raise FakeCudaError(f"{kind}: out of memory")
        self.live[kind] += 1

    def gone(self, kind: str) -> None:
        self.live[kind] -= 1
        self.events.append(f"free {kind}")

    def need_context(self) -> None:
        if not self._stacks[threading.get_ident()]:
            raise FakeCudaError("invalid device context")

    def push(self) -> None:
        if "push" in self.failing:
            raise FakeCudaError("push failed")
        self._stacks[threading.get_ident()] += 1
        self.events.append("push")

    def pop(self) -> None:
        self.need_context()
        self._stacks[threading.get_ident()] -= 1
        self.events.append("pop")

    @property
    def depth(self) -> int:
        """Contexts on this thread's stack."""
        return self._stacks[threading.get_ident()]

    def allocate(self, count: int) -> int:
        address, self._next = self._next, self._next + count
        self.memory[address] = np.full(count // 4, np.nan, np.float32)
        return address

    @property
    def alive(self) -> dict[str, int]:
        """What is alive now."""
        return {kind: n for kind, n in self.live.items() if n}


class FakeStream:
    """Holds work until it is synchronised."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.born("stream")
        self._gpu, self.work = gpu, list[Callable[[], None]]()
        self.handle = id(self)

    def synchronize(self) -> None:
        self._gpu.need_context()
        if "synchronize" in self._gpu.failing:
            raise FakeCudaError("unspecified launch failure")
        while self.work:
            self.work.pop(0)()

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._gpu.gone("stream")


class FakeAllocation:
    """Memory of the device."""

    def __init__(self, gpu: Gpu, count: int) -> None:
        gpu.born("device memory")
        self._gpu, self._address = gpu, gpu.allocate(count)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._gpu.need_context()
        del self._gpu.memory[self._address]
        self._gpu.gone("device memory")


class FakePinned:
    """Stands for pycuda's PagelockedHostAllocation, which its arrays have as their base."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: type[np.float32]) -> None:
        gpu.born("pinned memory")
        self._gpu, self._values = gpu, np.full(shape, np.nan, dtype)
        self.__array_interface__ = self._values.__array_interface__

    def free(self) -> None:
        self._gpu.need_context()
        self._gpu.gone("pinned memory")


class FakeContext:
    """The primary context."""

    def __init__(self, gpu: Gpu) -> None:
        self.push, self.pop = gpu.push, gpu.pop


class FakeDevice:
    """A GPU."""

    def __init__(self, gpu: Gpu, name: str) -> None:
        self._gpu, self._name = gpu, name

    def name(self) -> str:
        return self._name

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7

    def retain_primary_context(self) -> FakeContext:
        return FakeContext(self._gpu)


class FakeDriver:
    """The module `pycuda.driver`."""

    Error: type[Exception] = FakeCudaError

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def init(self) -> None:
        if "init" in self._gpu.failing:
            raise FakeCudaError("cuInit failed: no CUDA-capable device is detected")

    def get_driver_version(self) -> int:
        return 12060

    def Device(self, _: int) -> FakeDevice:  # noqa: N802 - pycuda's name
        return FakeDevice(self._gpu, "Fake Orin")

    def Stream(self) -> FakeStream:  # noqa: N802 - pycuda's name
        return STREAMS.keep(FakeStream(self._gpu))

    def mem_alloc(self, count: int, /) -> FakeAllocation:
        return FakeAllocation(self._gpu, count)

    def mem_get_info(self) -> tuple[int, int]:
        self._gpu.need_context()
        return 3 << 30, 8 << 30

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type[np.float32]) -> NDArray[np.float32]:
        return np.asarray(FakePinned(self._gpu, shape, dtype))

    def memcpy_htod_async(self, dest: Any, src: NDArray[np.float32], stream: Any) -> None:
        self._gpu.need_context()

        def copy() -> None:
            self._gpu.memory[int(dest)][: src.size] = src.ravel()

        stream.work.append(copy)

    def memcpy_dtoh_async(self, dest: NDArray[np.float32], src: Any, stream: Any) -> None:
        self._gpu.need_context()

        def copy() -> None:
            dest[...] = self._gpu.memory[int(src)][: dest.size].reshape(dest.shape)

        stream.work.append(copy)


class Streams:
    """Finds a stream by its handle, as CUDA does, without keeping it alive."""

    def __init__(self) -> None:
        from weakref import WeakValueDictionary  # noqa: PLC0415 - one place

        self._by_handle: WeakValueDictionary[int, FakeStream] = WeakValueDictionary()

    def keep(self, stream: FakeStream) -> FakeStream:
        self._by_handle[stream.handle] = stream
        return stream

    def __getitem__(self, handle: int) -> FakeStream:
        return self._by_handle[handle]


STREAMS = Streams()


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
        return (-1, 3, self.trt.size, self.trt.size) if name == "image" else (-1, 2)

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
        self, gpu: Gpu, compute: Compute, *, largest: int = 16, size: int = 96, version: str = "10.3.0"
    ) -> None:
        self.__version__ = version
        self.gpu, self.compute, self.largest, self.size = gpu, compute, largest, size
        self.dtype = DataType.FLOAT
        self.loaded: list[bytes] = []

    def Runtime(self, logger: Any) -> FakeRuntime:  # noqa: N802 - TensorRT's name
        return FakeRuntime(self, logger)
