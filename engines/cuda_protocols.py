"""The part of CUDA that building and running a plan need, as protocols of our own.

Those of the driver bear pycuda's names. `DeviceMemory` hides pycuda: another binding of CUDA can take its place.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class CudaDevice(Protocol):
    """What is asked of a GPU; the names are pycuda's."""

    def name(self) -> str:
        """Product name."""
        ...

    def compute_capability(self) -> tuple[int, int]:
        """Major and minor."""
        ...


class PrimaryContext(Protocol):
    """A context of pycuda."""

    def push(self) -> None:
        """Make it current on this thread."""
        ...

    def pop(self) -> None:
        """Make it no longer current."""
        ...


class PrimaryDevice(CudaDevice, Protocol):
    """A device of pycuda."""

    def retain_primary_context(self) -> PrimaryContext:
        """The context that everybody in this process shares."""
        ...


class CudaDriver(Protocol):
    """The module `pycuda.driver`, as far as we need it."""

    Error: type[Exception]

    @property
    def Device(self) -> Callable[[int], PrimaryDevice]:  # noqa: N802 - pycuda's name
        """A device by its number."""
        ...

    def init(self) -> None:
        """Start the driver."""
        ...

    def get_driver_version(self) -> int:
        """Newest CUDA that the driver knows."""
        ...

    def mem_get_info(self) -> tuple[int, int]:
        """Free and total bytes of the current device."""
        ...


class Buffer(Protocol):
    """Float32 values in pinned memory of the host, and room for as many on the device."""

    @property
    def host(self) -> NDArray[np.float32]:
        """The values on the host."""
        ...

    @property
    def address(self) -> int:
        """Where the room on the device begins."""
        ...

    def upload(self, rows: int) -> None:
        """Put a copy of the first rows, host to device, into the stream."""
        ...

    def download(self, rows: int) -> None:
        """Put a copy of the first rows, device to host, into the stream."""
        ...

    def free(self) -> None:
        """Give both back; a second call does nothing."""
        ...


class Stream(Protocol):
    """Work for the device, in order."""

    @property
    def handle(self) -> int:
        """CUDA's handle."""
        ...

    def synchronize(self) -> None:
        """Wait until all of it is done."""
        ...

    def buffer(self, shape: tuple[int, ...]) -> Buffer:
        """Allocate a buffer whose copies go through this stream; the first axis is rows."""
        ...

    def free(self) -> None:
        """Give the stream back; a second call does nothing."""
        ...


class DeviceMemory(Protocol):
    """A CUDA device. All but ``device``, ``cuda`` and ``current`` are to be called inside ``current()``."""

    @property
    def device(self) -> CudaDevice:
        """Its name and its compute capability."""
        ...

    @property
    def cuda(self) -> int:
        """CUDA version of the driver, as CUDA counts: 12060 is 12.6."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Make the device's primary context current on this thread for the time of a block."""
        ...

    def stream(self) -> Stream:
        """Make a stream."""
        ...
