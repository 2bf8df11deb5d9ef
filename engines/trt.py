"""TensorRT: runs a plan on one thread, with memory that is allocated once."""

import logging
import threading
from contextlib import ExitStack

import numpy as np

from common.errors import EngineError
from contract.manifest import Precision
from contract.types import Tensor
from engines.cuda_protocols import Buffer, DeviceMemory
from engines.trt_log import INSTALL, Complaints, refuse_old
from engines.trt_protocols import ICudaEngine, IExecutionContext, RuntimeApi

log = logging.getLogger(__name__)
IMAGE_AXES, SCORE_AXES = 4, 2


def load_tensorrt() -> RuntimeApi:
    """The module `tensorrt`.

    Raises:
        EngineError: it is missing, or too old.
    """
    try:
        import tensorrt as vendor
    except ImportError as missing:
        raise EngineError(f"TensorRT can not be loaded ({missing}); {INSTALL}") from missing
    trt: RuntimeApi = vendor
    refuse_old(trt)
    return trt


class TensorRtEngine:
    """A plan in TensorRT; satisfies ``Engine``.

    Everything happens on the thread that made it, with the device's primary context current: CUDA's contexts belong to
    threads. Pinned memory, device memory and the stream are allocated once, for the largest batch.
    """

    def __init__(self, plan: bytes, *, precision: Precision, trt: RuntimeApi, memory: DeviceMemory) -> None:
        """Load a plan that has been verified: loading one runs native code out of it.

        Raises:
            EngineError: TensorRT refuses it, or it is no plan of a classifier.
        """
        self.precision: Precision = precision
        self._memory = memory
        self._thread = threading.get_ident()
        self._complaints = Complaints(trt, log)
        self._context: IExecutionContext | None = None
        with memory.current(), ExitStack() as building:
            self._load(plan, trt, building)
            self._house = building.pop_all()

    @property
    def name(self) -> str:
        """Runtime and precision."""
        return f"tensorrt-{self.precision}"

    @property
    def largest(self) -> int:
        """Most cells that the plan takes at once."""
        return len(self._input.host)

    def scores(self, batch: Tensor) -> Tensor:
        """Score a batch; see ``Engine.scores``. One beyond the plan's largest is split.

        Raises:
            EngineError: the engine is closed or belongs to another thread, or the device failed.
        """
        context = self._usable()
        rows = np.empty((len(batch), self._output.host.shape[1]), np.float32)
        largest = self.largest
        with self._memory.current():
            for start in range(0, len(batch), largest):
                part = batch[start : start + largest]
                self._run(context, part)
                rows[start : start + len(part)] = self._output.host[: len(part)]
        return rows

    def close(self) -> None:
        """Free everything in the reverse order of its making; a second call does nothing."""
        if self._context is None:
            return
        self._usable()
        with self._memory.current():
            self._context = None
            self._house.close()

    def _usable(self) -> IExecutionContext:
        if self._context is None:
            raise EngineError("this engine was closed; open it again")
        if threading.get_ident() != self._thread:
            raise EngineError("a TensorRT engine belongs to the thread that opened it; open one on this thread")
        return self._context

    def _run(self, context: IExecutionContext, part: Tensor) -> None:
        self._input.host[: len(part)] = part
        self._input.upload(len(part))
        self._require(context.set_input_shape(self._input_name, part.shape), f"a batch of shape {part.shape}")
        self._require(context.execute_async_v3(self._stream.handle), f"the run of {len(part)} cells")
        self._output.download(len(part))
        self._stream.synchronize()

    def _load(self, plan: bytes, trt: RuntimeApi, building: ExitStack) -> None:
        self._stream = self._memory.stream()
        building.callback(self._stream.free)
        runtime = trt.Runtime(self._complaints.logger)
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._complaints.error("TensorRT can not load the plan")
        self._input_name, output_name = self._tensors(engine, trt)
        _, _, largest = engine.get_tensor_profile_shape(self._input_name, 0)
        width = engine.get_tensor_shape(output_name)[1]
        self._input = self._buffer(tuple(largest), building)
        self._output = self._buffer((largest[0], width), building)
        context = engine.create_execution_context()
        if context is None:
            raise self._complaints.error("TensorRT can not make a context; memory may be short")
        self._place(context, self._input_name, self._input)
        self._place(context, output_name, self._output)
        self._context = context
        self._hold(building, [runtime, engine])

    def _tensors(self, engine: ICudaEngine, trt: RuntimeApi) -> tuple[str, str]:
        """Names of the input and the output; refuses a plan of another form."""
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        kinds = [trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT]
        inputs, outputs = ([n for n in names if engine.get_tensor_mode(n) == kind] for kind in kinds)
        shapes = [tuple(engine.get_tensor_shape(n)) for n in (*inputs, *outputs)]
        floats = all(engine.get_tensor_dtype(n) == trt.DataType.FLOAT for n in names)
        if [len(s) for s in shapes] != [IMAGE_AXES, SCORE_AXES] or not inputs or not floats:
            raise EngineError(f"the plan has tensors {dict(zip(names, shapes, strict=False))}, not images and scores")
        return inputs[0], outputs[0]

    def _buffer(self, shape: tuple[int, ...], building: ExitStack) -> Buffer:
        buffer = self._stream.buffer(shape)
        building.callback(buffer.free)
        return buffer

    def _place(self, context: IExecutionContext, name: str, buffer: Buffer) -> None:
        self._require(context.set_tensor_address(name, buffer.address), f"the address of {name}")

    def _hold(self, building: ExitStack, owners: list[object]) -> None:
        """Keep the plan and its runtime until the context is gone, then let go of them, the newest first."""
        for _ in owners:
            building.callback(owners.pop)

    def _require(self, done: bool, what: str) -> None:  # noqa: FBT001 - TensorRT's answer
        if not done:
            raise self._complaints.error(f"TensorRT refused {what}")
