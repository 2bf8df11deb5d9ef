"""`python -m engines.rtx_build FILE OUT CAPABILITY ...`: TensorRT-RTX builds a graph; what became of it goes to OUT.

The builder is that of a board (``engines.trt_build``); what differs is that the GPU is named and need not be there.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from common.arguments import place
from common.commands import outcome, process
from common.errors import EngineError, UsageError
from engines.rtx_layers import Answer, Compiled, layers_of
from engines.stamp import Recipe
from engines.trt_build import Work
from engines.trt_log import Complaints
from engines.trt_protocols import BuilderApi, IBuilderConfig

log = logging.getLogger(__name__)
_WORKSPACE = 4 << 30
"""Bytes of a GPU's memory that it may plan with; no GPU is asked."""
_NO_GPU = "Error Code 1: Cuda Runtime"


class RtxApi(BuilderApi, Protocol):
    """The module `tensorrt_rtx_bindings`: what building needs, and the GPUs that it builds for."""

    @property
    def ComputeCapability(self) -> Any: ...  # noqa: N802, D102 - NVIDIA's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser("python -m engines.rtx_build", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=place, help="an ONNX model")
    parser.add_argument("out", type=place, help="file for what became of it, as JSON; the library writes to stdout")
    parser.add_argument("capability", nargs="+", help="compute capability of a GPU, for example 8.6")
    given = parser.parse_args(arguments)

    def work() -> int:
        rtx, graph = _load(), given.file.read_bytes()
        built = tuple(_built(rtx, graph, capability) for capability in given.capability)
        given.out.write_text(Answer(built=built).model_dump_json(), encoding="utf-8")
        return 0

    return outcome("engines.rtx_build", work)


def _load() -> RtxApi:
    try:
        import tensorrt_rtx_bindings as rtx
    except ImportError as missing:
        raise EngineError(f"TensorRT-RTX can not be loaded ({missing}); install it again") from missing
    made: RtxApi = rtx
    return made


def _built(rtx: RtxApi, graph: bytes, capability: str) -> Compiled:
    target = getattr(rtx.ComputeCapability, f"SM{capability.replace('.', '')}", None)
    if target is None:
        raise UsageError(f"TensorRT-RTX {rtx.__version__} does not know compute capability {capability}")
    said = _Said(rtx)
    recipe = Recipe(graph_sha256="0" * 64, table_sha256="0" * 64, precision="int8", typing="strong")
    with tempfile.TemporaryDirectory(prefix="rtx-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it keeps no timing cache, and has yet the calls for one
        build = _Build(rtx, recipe, target, cache=Path(folder) / "timing.cache", said=said)
        try:
            plan = build.build(graph)
        except EngineError as cause:
            raise EngineError(f"for compute capability {capability}: {cause}") from cause
    return Compiled(version=rtx.__version__, capability=capability, plan_bytes=len(plan), layers=layers_of(said.lines))


class _Said(Complaints):
    """The compiler's log, whole: one entry lists the layers. That it misses a GPU is no error here."""

    def __init__(self, rtx: RtxApi) -> None:
        super().__init__(rtx, log)
        self.lines: list[str] = []

    def note(self, level: int, said: str) -> None:
        """Take a line; errors end in the text of the refusal, and so are not logged as errors too."""
        self.lines.append(said)
        if level >= logging.ERROR and _NO_GPU not in said:
            self._errors.append(said)


class _Build(Work):
    """A build for a GPU that is named."""

    def __init__(self, rtx: RtxApi, recipe: Recipe, target: object, *, cache: Path, said: _Said) -> None:
        super().__init__(rtx, recipe, free=_WORKSPACE, cache=cache, complaints=said)
        self._target = target

    def _set_target(self, config: IBuilderConfig) -> None:
        named: Any = config
        named.num_compute_capabilities = 1
        named.set_compute_capability(self._target, 0)


if __name__ == "__main__":
    raise SystemExit(process("engines.rtx_build", main))
