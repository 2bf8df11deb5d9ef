"""A GPU that is not there: pycuda's driver, just the names that we use.

Strict where the real one is: work waits in its stream until ``synchronize``, and nothing is allowed without a current
context. Each object that is alive is counted; each answer can be made to fail.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray


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
        self._by_handle: WeakValueDictionary[int, FakeStream] = WeakValueDictionary()

    def keep(self, stream: FakeStream) -> FakeStream:
        self._by_handle[stream.handle] = stream
        return stream

    def __getitem__(self, handle: int) -> FakeStream:
        return self._by_handle[handle]


STREAMS = Streams()
