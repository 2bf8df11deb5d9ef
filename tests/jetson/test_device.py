"""Memory, stream, context and teardown on a real GPU, with a kernel of a few lines in the engine's place."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from common.errors import EngineError
from contract.types import Tensor
from engines.cuda_protocols import CudaDevice
from engines.device import PyCudaMemory, PyCudaStream, open_device
from engines.trt import TensorRtEngine
from tests.trt_fake import DataType, FakeLogger, TensorIOMode

pytestmark = pytest.mark.requires_tensorrt
SIZE, LARGEST = 8, 4
VOLUME = 3 * SIZE * SIZE
CYCLES = 1000
SLACK_BYTES = 8 << 20
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry first_two(.param .u64 image, .param .u64 scores, .param .u32 volume)
{
    .reg .u32 %r<6>;
    .reg .u64 %d<7>;
    .reg .f32 %f<2>;
    ld.param.u64 %d1, [image];
    ld.param.u64 %d2, [scores];
    ld.param.u32 %r1, [volume];
    cvta.to.global.u64 %d3, %d1;
    cvta.to.global.u64 %d4, %d2;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r2, %r1, %r3;
    mul.wide.u32 %d5, %r4, 4;
    add.u64 %d5, %d3, %d5;
    ld.global.f32 %f1, [%d5];
    shl.b32 %r5, %r2, 1;
    add.u32 %r5, %r5, %r3;
    mul.wide.u32 %d6, %r5, 4;
    add.u64 %d6, %d4, %d6;
    st.global.f32 [%d6], %f1;
    ret;
}
\0"""
"""Copies the first two numbers of each row: block by row, thread by column."""


class Watched:
    """The real device; remembers the stream that was made last, in which the kernel runs. Satisfies DeviceMemory."""

    def __init__(self, memory: PyCudaMemory) -> None:
        self._memory = memory
        self.last: PyCudaStream | None = None

    @property
    def device(self) -> CudaDevice:
        return self._memory.device

    @property
    def cuda(self) -> int:
        return self._memory.cuda

    def current(self) -> AbstractContextManager[None]:
        return self._memory.current()

    def stream(self) -> PyCudaStream:
        self.last = self._memory.stream()
        return self.last


class KernelTensorRt:
    """Stands for TensorRT and for all of its objects: its plan is the kernel."""

    __version__ = "10.3.0"
    TensorIOMode = TensorIOMode
    DataType = DataType
    ILogger = FakeLogger
    num_io_tensors = 2
    engine_host_code_allowed = False

    def __init__(self, memory: Watched) -> None:
        self._memory, self._places, self._rows = memory, dict[str, int](), 0
        self._kernel: Any = None

    def Runtime(self, _: Any) -> "KernelTensorRt":  # noqa: N802 - TensorRT's name
        return self

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "KernelTensorRt":
        import pycuda.driver

        self._kernel = pycuda.driver.module_from_buffer(serialized_engine).get_function("first_two")
        return self

    def create_execution_context(self) -> "KernelTensorRt":
        return self

    def get_tensor_name(self, index: int) -> str:
        return ["image", "scores"][index]

    def get_tensor_mode(self, name: str) -> object:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, _: str) -> object:
        return DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, SIZE, SIZE) if name == "image" else (-1, 2)

    def get_tensor_profile_shape(self, _: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(n, 3, SIZE, SIZE) for n in (1, LARGEST, LARGEST + profile_index)]

    def set_input_shape(self, _: str, shape: tuple[int, ...]) -> bool:
        self._rows = shape[0]
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._places[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._memory.last is not None
        assert self._memory.last.handle == stream_handle
        places = [np.uintp(self._places[name]) for name in ("image", "scores")]
        stream = self._memory.last._open()
        self._kernel(*places, np.uint32(VOLUME), block=(2, 1, 1), grid=(self._rows, 1), stream=stream)
        return True


@pytest.fixture
def memory() -> Iterator[PyCudaMemory]:
    try:
        yield open_device()
    except EngineError as missing:
        pytest.skip(str(missing))


def open_kernel(memory: PyCudaMemory) -> TensorRtEngine:
    watched = Watched(memory)
    return TensorRtEngine(PTX, precision="fp32", trt=KernelTensorRt(watched), memory=watched)


def numbers(count: int) -> Tensor:
    return np.arange(count * VOLUME, dtype=np.float32).reshape(count, 3, SIZE, SIZE)


def free_bytes(memory: PyCudaMemory) -> int:
    import pycuda.driver

    with memory.current():
        return int(pycuda.driver.mem_get_info()[0])


@pytest.mark.parametrize("count", [0, 1, LARGEST, LARGEST + 1, 5 * LARGEST + 3])
def test_numbers_go_to_the_gpu_and_come_back(memory: PyCudaMemory, count: int) -> None:
    engine = open_kernel(memory)
    np.testing.assert_array_equal(engine.scores(numbers(count)), numbers(count)[:, 0, 0, :2])
    engine.close()
    engine.close()


def test_a_thousand_starts_and_stops_leave_nothing_on_the_gpu(memory: PyCudaMemory) -> None:
    open_kernel(memory).close()
    before = free_bytes(memory)
    for _ in range(CYCLES):
        engine = open_kernel(memory)
        engine.scores(numbers(LARGEST + 1))
        engine.close()
    assert before - free_bytes(memory) < SLACK_BYTES


def test_each_thread_can_have_its_engine_and_only_its_own(memory: PyCudaMemory) -> None:
    mine = open_kernel(memory)
    found: list[str] = []

    def work() -> None:
        try:
            mine.scores(numbers(1))
        except EngineError as error:
            found.append(str(error))
        own = open_kernel(memory)
        np.testing.assert_array_equal(own.scores(numbers(2)), numbers(2)[:, 0, 0, :2])
        own.close()
        found.append("closed")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "thread that opened it" in found[0]
    assert found[1:] == ["closed"]
    mine.close()


def test_an_engine_that_is_never_closed_does_not_abort_the_process() -> None:
    """Only a context left current would: none is, outside of a call."""
    try:
        open_device()
    except EngineError as missing:
        pytest.skip(str(missing))
    program = "from engines.device import open_device\nm = open_device()\nwith m.current():\n    s = m.stream()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
