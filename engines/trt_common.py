"""What building and running a TensorRT plan share: TensorRT's log, its oldest version, and the GPU, as protocols.

The classes bear the libraries' own names; what only one of the two needs stands in the room that needs it.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeAlias

from common.errors import EngineError

OLDEST = 10
"""First major version whose interface is the one that we speak."""
INSTALL = "docs/install-tensorrt.md says how to install it"


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
    """The module `pycuda.driver`, as far as both need it."""

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


class Complaints:
    """TensorRT's log in ours, and its last errors for our texts."""

    def __init__(self, trt: TensorRt, log: logging.Logger) -> None:
        self._errors: deque[str] = deque(maxlen=5)
        severity = trt.ILogger.Severity
        levels: dict[object, int] = {
            severity.INTERNAL_ERROR: logging.CRITICAL,
            severity.ERROR: logging.ERROR,
            severity.WARNING: logging.WARNING,
            severity.INFO: logging.DEBUG,  # TensorRT is talkative
            severity.VERBOSE: logging.DEBUG,
        }

        def write(_: object, severity: object, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            log.log(level, "TensorRT: %s", msg)
            if level >= logging.ERROR:
                self._errors.append(msg)

        self.logger: ILogger = type("Log", (trt.ILogger,), {"log": write})()

    def error(self, what: str) -> EngineError:
        """An error with what TensorRT has said of it since the last one."""
        said = "; ".join(self._errors) or "TensorRT gave no reason"
        self._errors.clear()
        return EngineError(f"{what}: {said}")


def refuse_old(trt: TensorRt) -> None:
    """Raise EngineError for a TensorRT whose interface is another."""
    if int(trt.__version__.split(".")[0]) < OLDEST:
        raise EngineError(f"TensorRT {trt.__version__} is too old: {OLDEST}.0 or newer is needed; {INSTALL}")
