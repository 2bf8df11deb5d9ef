"""The part of TensorRT and CUDA that running a plan needs, as protocols of our own.

What building a plan needs too stands in `engines/trt_common.py`. The classes bear TensorRT's names. mypy holds `trt.py`
to what is declared here; a test holds that against the real bindings of every TensorRT that we support.
`DeviceMemory` hides pycuda, so that another binding of CUDA can take its place.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines import trt_common as trt
from engines.trt_common import CudaDevice


class TensorIOMode(Protocol):
    """Whether a tensor goes in or comes out."""

    @property
    def INPUT(self) -> object: ...  # noqa: N802, D102 - TensorRT's name
    @property
    def OUTPUT(self) -> object: ...  # noqa: N802, D102 - TensorRT's name


class DataType(Protocol):
    """Types of tensors."""

    @property
    def FLOAT(self) -> object: ...  # noqa: N802, D102 - TensorRT's name


class IExecutionContext(Protocol):
    """One run of a plan at a time."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set the shape of the next batch."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set where a tensor lies on the device."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put the run into a stream."""
        ...


class ICudaEngine(Protocol):
    """A loaded plan."""

    @property
    def num_io_tensors(self) -> int:
        """Number of inputs and outputs."""
        ...

    def get_tensor_name(self, index: int) -> str:
        """Name of one of them."""
        ...

    def get_tensor_mode(self, name: str) -> object:
        """A member of TensorIOMode."""
        ...

    def get_tensor_dtype(self, name: str) -> object:
        """A member of DataType."""
        ...

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Shape, -1 where it may vary."""
        ...

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        """Smallest, best and largest shape."""
        ...

    def create_execution_context(self) -> IExecutionContext | None:
        """None on failure."""
        ...


class Runtime(Protocol):
    """Loads plans."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """None on failure."""
        ...


_TensorIOMode: TypeAlias = TensorIOMode
_DataType: TypeAlias = DataType
_Runtime: TypeAlias = Runtime


class TensorRt(trt.TensorRt, Protocol):
    """The module `tensorrt`."""

    @property
    def TensorIOMode(self) -> _TensorIOMode: ...  # noqa: N802, D102 - TensorRT's name
    @property
    def DataType(self) -> _DataType: ...  # noqa: N802, D102 - TensorRT's name
    @property
    def Runtime(self) -> Callable[[Any], _Runtime]: ...  # noqa: N802, D102 - TensorRT's name


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
