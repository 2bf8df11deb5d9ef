"""TensorRT's log in ours, and which TensorRT is too old."""

import logging
from collections import deque

from common.errors import EngineError
from engines.trt_protocols import ILogger, TensorRt

OLDEST = 10
"""First major version whose interface is the one that we speak."""
INSTALL = "docs/install-tensorrt.md says how to install it"


class Complaints:
    """TensorRT's log in ours, and its last errors for our texts."""

    def __init__(self, trt: TensorRt, log: logging.Logger) -> None:
        self._log = log
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
            self.note(levels.get(severity, logging.DEBUG), msg)

        self.logger: ILogger = type("Log", (trt.ILogger,), {"log": write})()

    def note(self, level: int, said: str) -> None:
        """Take a line of TensorRT's log, of one of our levels."""
        self._log.log(level, "TensorRT: %s", said)
        if level >= logging.ERROR:
            self._errors.append(said)

    def error(self, what: str) -> EngineError:
        """An error with what TensorRT has said of it since the last one."""
        said = "; ".join(self._errors) or "TensorRT gave no reason"
        self._errors.clear()
        return EngineError(f"{what}: {said}")


def refuse_old(trt: TensorRt) -> None:
    """Raise EngineError for a TensorRT whose interface is another."""
    if int(trt.__version__.split(".")[0]) < OLDEST:
        raise EngineError(f"TensorRT {trt.__version__} is too old: {OLDEST}.0 or newer is needed; {INSTALL}")
