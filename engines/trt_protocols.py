"""The part of TensorRT that building and running a plan need, as protocols of our own.

The classes bear TensorRT's names, but for those whose docstring names another. mypy holds our modules to what is
declared here; a test holds that against the real bindings of every TensorRT that we support. What some supported
version lacks is not declared: it is asked for with `getattr(owner, "NAME", None)`.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias


class Severity(Protocol):
    """How grave a line of TensorRT's log is."""

    @property
    def INTERNAL_ERROR(self) -> object: ...  # noqa: N802, D102 - TensorRT's names
    @property
    def ERROR(self) -> object: ...  # noqa: N802, D102
    @property
    def WARNING(self) -> object: ...  # noqa: N802, D102
    @property
    def INFO(self) -> object: ...  # noqa: N802, D102
    @property
    def VERBOSE(self) -> object: ...  # noqa: N802, D102


_Severity: TypeAlias = Severity


class ILogger(Protocol):
    """What TensorRT writes its log to; a class of ours derives from it."""

    Severity: ClassVar[_Severity]


_ILogger: TypeAlias = ILogger


class TensorRt(Protocol):
    """The module `tensorrt`, as far as both need it."""

    __version__: str

    @property
    def ILogger(self) -> type[_ILogger]: ...  # noqa: N802, D102 - TensorRT's name


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


class EngineInspector(Protocol):
    """Looks into a plan."""

    def get_engine_information(self, format: object) -> str:  # noqa: A002 - TensorRT's name
        """Everything about its layers."""
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


class InspectableEngine(Protocol):
    """ICudaEngine, as building needs it."""

    def create_engine_inspector(self) -> EngineInspector:
        """Look into it."""
        ...


class InspectingRuntime(Protocol):
    """Runtime, as building needs it."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> InspectableEngine | None:
        """None on failure."""
        ...


class IHostMemory(Protocol):
    """Bytes that TensorRT made."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class ITensor(Protocol):
    """A tensor of a network."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """-1 where it may vary."""
        ...


class INetworkDefinition(Protocol):
    """A network."""

    @property
    def num_inputs(self) -> int:
        """Number of inputs."""
        ...

    def get_input(self, index: int) -> ITensor:
        """One of them."""
        ...


class ParserError(Protocol):
    """What the parser did not like."""

    def desc(self) -> str:
        """In words."""
        ...

    def node_name(self) -> str:
        """The node."""
        ...

    def node_operator(self) -> str:
        """Its operator."""
        ...


class OnnxParser(Protocol):
    """Reads ONNX into a network."""

    @property
    def num_errors(self) -> int:
        """How many errors there are."""
        ...

    def get_error(self, index: int) -> ParserError:
        """One of them."""
        ...

    def parse(self, model: bytes) -> bool:
        """Read a graph."""
        ...


class IOptimizationProfile(Protocol):
    """Shapes that a plan is made for."""

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:  # noqa: A002 - TensorRT's names
        """Smallest, best and largest shape of an input."""
        ...


class ITimingCache(Protocol):
    """Which kernels were fast."""

    def serialize(self) -> IHostMemory:
        """As bytes."""
        ...


class IBuilderConfig(Protocol):
    """How to build."""

    profiling_verbosity: object

    def set_flag(self, flag: object) -> None:
        """Switch on a BuilderFlag."""
        ...

    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
        """Bound a pool, in bytes."""
        ...

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Returns its number, -1 if it is refused."""
        ...

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        """Make a cache of its bytes; an empty one of none."""
        ...

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's signature
        """Use a cache; False if it was made elsewhere."""
        ...


class Builder(Protocol):
    """Builds plans."""

    def create_network(self, flags: int) -> INetworkDefinition:
        """An empty network."""
        ...

    def create_builder_config(self) -> IBuilderConfig:
        """A configuration."""
        ...

    def create_optimization_profile(self) -> IOptimizationProfile:
        """An empty profile."""
        ...

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """Build; None on failure."""
        ...


class NetworkDefinitionCreationFlag(Protocol):
    """Kinds of networks."""

    @property
    def STRONGLY_TYPED(self) -> Any: ...  # noqa: N802, D102 - TensorRT's name


class MemoryPoolType(Protocol):
    """Pools of memory."""

    @property
    def WORKSPACE(self) -> object: ...  # noqa: N802, D102 - TensorRT's name


class ProfilingVerbosity(Protocol):
    """How much a plan knows of itself."""

    @property
    def DETAILED(self) -> object: ...  # noqa: N802, D102 - TensorRT's name


class LayerInformationFormat(Protocol):
    """How an inspector speaks."""

    @property
    def JSON(self) -> object: ...  # noqa: N802, D102 - TensorRT's name


_TensorIOMode: TypeAlias = TensorIOMode
_DataType: TypeAlias = DataType
_Runtime: TypeAlias = Runtime
_Flags: TypeAlias = NetworkDefinitionCreationFlag
_Pools: TypeAlias = MemoryPoolType
_Verbosity: TypeAlias = ProfilingVerbosity
_Format: TypeAlias = LayerInformationFormat
_Builder: TypeAlias = Builder
_Parser: TypeAlias = OnnxParser


class RuntimeApi(TensorRt, Protocol):
    """The module `tensorrt`, as far as running needs it."""

    @property
    def TensorIOMode(self) -> _TensorIOMode: ...  # noqa: N802, D102 - TensorRT's name
    @property
    def DataType(self) -> _DataType: ...  # noqa: N802, D102 - TensorRT's name
    @property
    def Runtime(self) -> Callable[[Any], _Runtime]: ...  # noqa: N802, D102 - TensorRT's name


class BuilderApi(TensorRt, Protocol):
    """The module `tensorrt`, as far as building needs it."""

    @property
    def NetworkDefinitionCreationFlag(self) -> _Flags: ...  # noqa: N802, D102 - TensorRT's names
    @property
    def MemoryPoolType(self) -> _Pools: ...  # noqa: N802, D102
    @property
    def ProfilingVerbosity(self) -> _Verbosity: ...  # noqa: N802, D102
    @property
    def LayerInformationFormat(self) -> _Format: ...  # noqa: N802, D102
    @property
    def BuilderFlag(self) -> object: ...  # noqa: N802, D102
    @property
    def Builder(self) -> Callable[[Any], _Builder]: ...  # noqa: N802, D102
    @property
    def OnnxParser(self) -> Callable[[Any, Any], _Parser]: ...  # noqa: N802, D102
    @property
    def Runtime(self) -> Callable[[Any], InspectingRuntime]: ...  # noqa: N802, D102
