"""TensorRT's builder without TensorRT: just the names that `engines/trt_build.py` uses; each can be made to fail."""

import json
from enum import Enum
from typing import Any

from tests.trt_fake import FakeLogger, FakeSeverity


class FakeMemory(bytes):
    """Stands for IHostMemory."""

    __slots__ = ()


class Strong(Enum):
    """NetworkDefinitionCreationFlag of TensorRT 10."""

    STRONGLY_TYPED = 1

    def __int__(self) -> int:
        return int(self.value)


class Pools(Enum):
    """MemoryPoolType."""

    WORKSPACE = 0


class Verbosity(Enum):
    """ProfilingVerbosity."""

    DETAILED = 2


class Format(Enum):
    """LayerInformationFormat."""

    JSON = 1


class Flags10(Enum):
    """BuilderFlag of TensorRT 10."""

    FP16 = 0
    INT8 = 1


class Flags11(Enum):
    """BuilderFlag of TensorRT 11."""

    TF32 = 6


class FakeMonitor:
    """Stands for IProgressMonitor."""


class FakeConfig:
    """Stands for IBuilderConfig; remembers what it was told."""

    def __init__(self, trt: "FakeBuilderTrt") -> None:
        self.trt, self.flags = trt, list[object]()
        self.profiling_verbosity: object = None
        self.progress_monitor: Any = None
        self.workspace = 0

    def set_flag(self, flag: object) -> None:
        assert flag is not None
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
        assert pool is Pools.WORKSPACE
        self.workspace = pool_size

    def add_optimization_profile(self, profile: Any) -> int:
        self.trt.shapes = profile.shapes
        return -1 if "profile" in self.trt.failing else 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return FakeCache(serialized_timing_cache)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's signature
        assert not ignore_mismatch
        self.trt.caches.append(cache.content)
        return cache.content in {b"", b"kernels"}


class FakeCache:
    """Stands for ITimingCache."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> FakeMemory:
        return FakeMemory(b"kernels")


class FakeShapes:
    """Stands for IOptimizationProfile."""

    def __init__(self) -> None:
        self.shapes: tuple[Any, ...] = ()

    def set_shape(self, *shapes: Any) -> None:
        self.shapes = shapes


class FakeTensor:
    """Stands for ITensor."""

    name = "image"
    shape = (-1, 3, 80, 80)


class FakeNetwork:
    """Stands for INetworkDefinition."""

    num_inputs = 1

    def get_input(self, _: int) -> FakeTensor:
        return FakeTensor()


class FakeParserError:
    """Stands for ParserError."""

    def __init__(self, node: str) -> None:
        self._node = node

    def desc(self) -> str:
        return "zero point must be zero"

    def node_name(self) -> str:
        return self._node

    def node_operator(self) -> str:
        return "QuantizeLinear"


class FakeParser:
    """Stands for OnnxParser."""

    num_errors = 2

    def __init__(self, trt: "FakeBuilderTrt") -> None:
        self._trt = trt

    def get_error(self, index: int) -> FakeParserError:
        return FakeParserError(f"node{index}")

    def parse(self, model: bytes) -> bool:
        self._trt.parsed = model
        return "parse" not in self._trt.failing


class FakeBuilder:
    """Stands for Builder."""

    def __init__(self, trt: "FakeBuilderTrt", logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> FakeNetwork:
        self._trt.network_flags = flags
        return FakeNetwork()

    def create_builder_config(self) -> FakeConfig:
        made = FakeConfig(self._trt)
        self._trt.config = made
        return made

    def create_optimization_profile(self) -> FakeShapes:
        return FakeShapes()

    def build_serialized_network(self, _: Any, config: Any) -> FakeMemory | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building Engine", None, 1)
        assert monitor.step_complete("Building Engine", 0)
        monitor.phase_finish("Building Engine")
        if "build" in self._trt.failing:
            self._logger.log(FakeSeverity.ERROR, "Could not find any implementation for node conv1")
            return None
        return FakeMemory(b"plan")


class FakeInspected:
    """Stands for Runtime, ICudaEngine and EngineInspector."""

    def __init__(self, trt: "FakeBuilderTrt") -> None:
        self._trt = trt
        self.engine_host_code_allowed = True

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "FakeInspected | None":
        assert serialized_engine == b"plan"
        assert not self.engine_host_code_allowed
        return None if "load" in self._trt.failing else self

    def create_engine_inspector(self) -> "FakeInspected":
        return self

    def get_engine_information(self, _: object) -> str:
        layers = [
            {"Name": "conv1", "Inputs": [{"Name": "a", "Format/Datatype": "Row major Int8 format"}]},
            {"Name": "head", "Inputs": [{"Name": "int8_named", "Format/Datatype": "Row major linear FP32"}]},
        ]
        return json.dumps({"Layers": layers, self._trt.tensors_key: ["image", "scores"]})


class FakeBuilderTrt:
    """The module `tensorrt`, for building."""

    NetworkDefinitionCreationFlag = Strong
    MemoryPoolType = Pools
    ProfilingVerbosity = Verbosity
    LayerInformationFormat = Format
    ILogger = FakeLogger
    IProgressMonitor = FakeMonitor

    def __init__(self, version: str = "10.3.0") -> None:
        self.__version__ = version
        eleven = version.startswith("11.")
        self.BuilderFlag: object = Flags11 if eleven else Flags10
        self.tensors_key = "I/O Tensors" if eleven else "Bindings"
        self.failing: set[str] = set()
        self.caches: list[bytes] = []
        self.parsed, self.network_flags = b"", -1
        self.shapes: tuple[Any, ...] = ()
        self.config: Any = None

    def Builder(self, logger: Any) -> FakeBuilder:  # noqa: N802 - TensorRT's name
        return FakeBuilder(self, logger)

    def OnnxParser(self, _: Any, __: Any) -> FakeParser:  # noqa: N802 - TensorRT's name
        return FakeParser(self)

    def Runtime(self, _: Any) -> FakeInspected:  # noqa: N802 - TensorRT's name
        return FakeInspected(self)
