"""TensorRT's engine on a fake GPU: order, threads, refusals, and nothing left behind."""

import gc
import logging
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from common.errors import EngineError
from contract.bundle import SHIPPED, open_bundle
from contract.manifest import Precision
from contract.types import Tensor
from engines.device import PyCudaMemory, open_device
from engines.plan import open_engine as open_trt
from engines.trt import TensorRtEngine, load_tensorrt
from tests.cuda_fake import FakeDriver, Gpu
from tests.trt_fake import DataType, FakeTensorRt, sums

SIZE = 8
CALLS = ["set_input_shape", "execute_async_v3"]
LOADING = ["deserialize_cuda_engine", "create_execution_context", "set_tensor_address"]
ALLOCATIONS = ["stream", "device memory", "pinned memory", "runtime"]


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def fake(gpu: Gpu) -> FakeTensorRt:
    return FakeTensorRt(gpu, sums, largest=4, size=SIZE)


def open_fake(fake: FakeTensorRt, precision: Precision = "int8") -> TensorRtEngine:
    return TensorRtEngine(b"plan", precision=precision, trt=fake, memory=PyCudaMemory(FakeDriver(fake.gpu)))


def cells(count: int) -> Tensor:
    return np.random.default_rng(0).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 23])
def test_a_batch_of_any_length_is_split_at_the_profiles_largest(fake: FakeTensorRt, count: int) -> None:
    engine = open_fake(fake)
    scores = engine.scores(cells(count))
    assert scores.shape == (count, 2)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, sums(cells(count)), rtol=1e-5)
    engine.close()


def test_the_name_tells_the_precision(fake: FakeTensorRt) -> None:
    engine = open_fake(fake, "fp16")
    assert (engine.name, engine.precision) == ("tensorrt-fp16", "fp16")
    engine.close()


def test_memory_is_allocated_when_it_opens_and_never_after(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    before = dict(gpu.live)
    for count in (1, 4, 9):
        engine.scores(cells(count))
    assert dict(gpu.live) == before
    assert before["device memory"] == before["pinned memory"] == 2
    assert before["stream"] == 1
    engine.close()


def test_everything_is_freed_in_order_before_the_last_pop(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    gpu.events.clear()
    engine.close()
    memory = ["free device memory", "free pinned memory"]
    owners = ["free execution context", "free plan", "free runtime"]
    assert gpu.events == ["push", *owners, *memory, *memory, "free stream", "pop"]
    engine.close()
    assert gpu.alive == {}


def test_a_hundred_starts_and_stops_leave_nothing_behind(fake: FakeTensorRt, gpu: Gpu) -> None:
    for _ in range(100):
        engine = open_fake(fake)
        engine.scores(cells(5))
        engine.close()
    assert gpu.alive == {}
    assert gpu.memory == {}
    assert gpu.depth == 0


@pytest.mark.parametrize("call", CALLS)
def test_each_refusal_at_work_is_an_error_with_tensorrts_own_words(fake: FakeTensorRt, gpu: Gpu, call: str) -> None:
    engine = open_fake(fake)
    gpu.failing.add(call)
    with pytest.raises(EngineError, match=f"{call} failed as planned"):
        engine.scores(cells(1))
    assert gpu.depth == 0
    gpu.failing.clear()
    np.testing.assert_allclose(engine.scores(cells(2)), sums(cells(2)), rtol=1e-5)
    engine.close()
    assert gpu.alive == {}


def refusal(fake: FakeTensorRt) -> str:
    """Why it does not open; the error itself, whose traceback holds what was half built, is let go."""
    try:
        open_fake(fake).close()
    except EngineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("call", LOADING)
def test_each_refusal_while_loading_is_an_error_and_leaves_nothing(fake: FakeTensorRt, gpu: Gpu, call: str) -> None:
    gpu.failing.add(call)
    assert f"{call} failed as planned" in refusal(fake)
    gc.collect()
    assert gpu.alive == {}
    assert gpu.depth == 0


@pytest.mark.parametrize("kind", ALLOCATIONS)
def test_memory_that_can_not_be_had_is_an_error_and_leaves_nothing(fake: FakeTensorRt, gpu: Gpu, kind: str) -> None:
    gpu.failing.add(kind)
    assert "out of memory" in refusal(fake)
    gc.collect()
    assert gpu.alive == {}
    assert gpu.depth == 0


def test_a_fault_of_the_gpu_is_an_error_that_names_it(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    gpu.failing.add("synchronize")
    with pytest.raises(EngineError, match=r"Fake Orin.*launch failure"):
        engine.scores(cells(1))
    assert gpu.depth == 0
    gpu.failing.clear()
    engine.close()


def test_another_thread_is_told_to_open_its_own(fake: FakeTensorRt, gpu: Gpu) -> None:
    engine = open_fake(fake)
    for call in (lambda: engine.scores(cells(1)), engine.close):
        assert "thread that opened it" in str(error_on_a_thread(call))
    engine.close()
    assert gpu.alive == {}


def error_on_a_thread(call: Callable[[], object]) -> EngineError | None:
    caught: list[EngineError] = []

    def work() -> None:
        try:
            call()
        except EngineError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_a_thread_can_open_use_and_close_an_engine_of_its_own(fake: FakeTensorRt, gpu: Gpu) -> None:
    def work() -> None:
        engine = open_fake(fake)
        engine.scores(cells(9))
        engine.close()

    assert error_on_a_thread(work) is None
    assert gpu.alive == {}


def test_a_batch_of_another_size_is_refused(fake: FakeTensorRt) -> None:
    engine = open_fake(fake)
    with pytest.raises((EngineError, ValueError), match="shape"):
        engine.scores(np.zeros((1, 3, SIZE + 1, SIZE), np.float32))
    engine.close()


def test_a_plan_of_other_types_is_refused(fake: FakeTensorRt) -> None:
    fake.dtype = DataType.HALF
    with pytest.raises(EngineError, match="not images and scores"):
        open_fake(fake)


def test_tensorrts_words_go_to_our_log(fake: FakeTensorRt, gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_fake(fake)
    gpu.failing.add("execute_async_v3")
    with pytest.raises(EngineError):
        engine.scores(cells(1))
    assert [r.levelno for r in caplog.records if "failed as planned" in r.message] == [logging.ERROR]
    engine.close()


def test_no_device_is_an_error_with_a_remedy(gpu: Gpu) -> None:
    gpu.failing.add("init")
    with pytest.raises(EngineError, match=r"no CUDA device.*nvidia-smi"):
        PyCudaMemory(FakeDriver(gpu))


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_text_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT can not be loaded.*install-tensorrt"):
        load_tensorrt()
    with pytest.raises(EngineError, match="TensorRT can not be loaded"):
        open_trt(open_bundle(SHIPPED), state_dir=tmp_path)


@pytest.mark.skipif(find_spec("pycuda") is not None, reason="pycuda is installed here")
def test_without_pycuda_the_text_says_what_to_install() -> None:
    with pytest.raises(EngineError, match=r"pycuda can not be loaded.*install-tensorrt"):
        open_device()
