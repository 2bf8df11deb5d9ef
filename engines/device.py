"""A CUDA device through pycuda; satisfies ``DeviceMemory``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import EngineError
from engines.cuda_protocols import CudaDevice, CudaDriver
from engines.trt_log import INSTALL

NOTHING = np.zeros(0, np.float32)


class CudaStream(Protocol):
    """A stream of pycuda; it goes when nobody holds it any more."""

    @property
    def handle(self) -> int:
        """CUDA's handle."""
        ...

    def synchronize(self) -> None:
        """Wait until its work is done."""
        ...


class Allocation(Protocol):
    """Memory of the device."""

    def __int__(self) -> int: ...

    def free(self) -> None:
        """Give it back."""
        ...


class Driver(CudaDriver, Protocol):
    """The part of `pycuda.driver` that is used here."""

    @property
    def Stream(self) -> Callable[[], CudaStream]:  # noqa: N802 - pycuda's name
        """Make a stream."""
        ...

    def mem_alloc(self, count: int, /) -> Allocation:
        """Allocate bytes of the device."""
        ...

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type[np.float32]) -> NDArray[np.float32]:
        """Allocate pinned memory of the host; the array's ``base`` frees it."""
        ...

    def memcpy_htod_async(self, dest: Allocation, src: NDArray[np.float32], stream: CudaStream) -> None:
        """Copy to the device."""
        ...

    def memcpy_dtoh_async(self, dest: NDArray[np.float32], src: Allocation, stream: CudaStream) -> None:
        """Copy to the host."""
        ...


class PinnedBuffer:
    """Pinned memory, and as much room on the device; satisfies ``Buffer``."""

    def __init__(self, driver: Driver, stream: CudaStream, shape: tuple[int, ...]) -> None:
        self._driver = driver
        self._host = driver.pagelocked_empty(shape, np.float32)
        try:
            self._parts: tuple[Allocation, CudaStream] | None = (driver.mem_alloc(self._host.nbytes), stream)
        except driver.Error:
            _free_pinned(self._host)
            raise

    @property
    def host(self) -> NDArray[np.float32]:
        """The values on the host; not to be kept beyond ``free``."""
        return self._host

    @property
    def address(self) -> int:
        """Where the room on the device begins."""
        return int(self._open()[0])

    def upload(self, rows: int) -> None:
        """Put a copy of the first rows to the device into the stream."""
        room, stream = self._open()
        self._driver.memcpy_htod_async(room, self._host[:rows], stream)

    def download(self, rows: int) -> None:
        """Put a copy of the first rows from the device into the stream."""
        room, stream = self._open()
        self._driver.memcpy_dtoh_async(self._host[:rows], room, stream)

    def free(self) -> None:
        """Give both back, and let the stream go."""
        if self._parts is None:
            return
        (room, _), host = self._parts, self._host
        self._parts, self._host = None, NOTHING
        try:
            room.free()
        finally:
            _free_pinned(host)

    def _open(self) -> tuple[Allocation, CudaStream]:
        if self._parts is None:
            raise EngineError("this memory of the GPU was given back; open the engine again")
        return self._parts


class PyCudaStream:
    """A stream; satisfies ``Stream``."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._stream: CudaStream | None = driver.Stream()

    @property
    def handle(self) -> int:
        """CUDA's handle."""
        return self._open().handle

    def synchronize(self) -> None:
        """Wait until all of its work is done."""
        self._open().synchronize()

    def buffer(self, shape: tuple[int, ...]) -> PinnedBuffer:
        """Allocate a buffer whose copies go through this stream."""
        return PinnedBuffer(self._driver, self._open(), shape)

    def free(self) -> None:
        """Let it go; the last buffer that holds it ends it."""
        self._stream = None

    def _open(self) -> CudaStream:
        if self._stream is None:
            raise EngineError("this stream of the GPU was given back; open the engine again")
        return self._stream


class PyCudaMemory:
    """The first CUDA device; satisfies ``DeviceMemory``."""

    def __init__(self, driver: Driver) -> None:
        """Take the device.

        Raises:
            EngineError: there is none.
        """
        self._driver = driver
        try:
            driver.init()
            self._device = driver.Device(0)
            self._context = self._device.retain_primary_context()
            self._cuda = driver.get_driver_version()
        except driver.Error as cause:
            raise EngineError(f"no CUDA device can be used: {cause}; look at `nvidia-smi` or `tegrastats`") from cause

    @property
    def device(self) -> CudaDevice:
        """The GPU."""
        return self._device

    @property
    def cuda(self) -> int:
        """CUDA version of the driver, as CUDA counts."""
        return self._cuda

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current for a block, and explain what CUDA fails at in it."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._driver.Error as cause:
            raise EngineError(f"{self._device.name()} failed at its work: {cause}; look at `dmesg`") from cause

    def stream(self) -> PyCudaStream:
        """Make a stream."""
        return PyCudaStream(self._driver)


@cache
def open_device() -> PyCudaMemory:
    """The first CUDA device.

    Its primary context is retained once in the life of the process: pycuda's ``detach`` leaves the driver's own stack
    of contexts one deeper, so it must not be done at each start and stop.

    Raises:
        EngineError: pycuda or the device is missing.
    """
    try:
        import pycuda.driver as vendor
    except ImportError as missing:
        raise EngineError(f"pycuda can not be loaded ({missing}); {INSTALL}") from missing
    driver: Driver = vendor
    return PyCudaMemory(driver)


def _free_pinned(host: NDArray[np.float32]) -> None:
    base: Any = host.base
    base.free()
