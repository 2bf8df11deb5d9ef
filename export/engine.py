"""`python -m export.engine`: build the TensorRT plan of a bundle, on the board that will run it.

No torch and no onnx: it must run on the board. The agent starts it as a process of its own where `engine_rebuild`
allows it: so it can build, and yet does not import this room.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contract.arguments import default_state_dir
from contract.bundle import CALIBRATION, Bundle, open_bundle
from contract.errors import EngineError, IntegrityError, MicroscopeError, UsageError
from contract.manifest import Precision
from contract.signature import Trust
from contract.stamp import (
    GRAPHS,
    LAYERS,
    Board,
    Profile,
    Recipe,
    Stamp,
    Typing,
    board_of,
    engine_folder,
    write_plan,
    write_whole,
)
from contract.trust_options import add_trust, trust_from
from export.trt_api import (
    Cuda,
    IBuilderConfig,
    IHostMemory,
    ILogger,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    OnnxParser,
    TensorRt,
)
from export.trt_layers import Layers, summary
from export.trt_progress import Progress

log = logging.getLogger(__name__)
OLDEST = 10
INSTALL = "docs/install-tensorrt.md says how to install it"
TIMING_CACHE = "timing.cache"
WORKSPACE_SHARE = 0.5
"""Of the free memory: on a board, GPU and CPU share it, and the builder needs some beside its workspace."""
WEAK_FLAGS: dict[Precision, tuple[str, ...]] = {"int8": ("INT8", "FP16"), "fp16": ("FP16",), "fp32": ()}
"""What TensorRT may choose from where the graph does not decide."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The libraries that build: TensorRT, and CUDA through pycuda."""

    trt: TensorRt
    cuda: Cuda


@dataclass(frozen=True, slots=True)
class Built:
    """A plan on disk, its stamp, and what became of the layers."""

    folder: Path
    stamp: Stamp
    layers: Layers


@dataclass(frozen=True, slots=True)
class ByHash(Trust):
    """Trust in one manifest by its SHA-256: the caller has verified who signed it."""

    sha256: str = field(default="", kw_only=True)

    def verify(self, path: Path, manifest: bytes, signature: bytes | None) -> str:
        """Verify that it is that manifest."""
        if hashlib.sha256(manifest).hexdigest() != self.sha256:
            raise IntegrityError(f"{path} is not the bundle whose engine was asked for; start again")
        return "" if signature is None else "the caller's"


def load_tools() -> Tools:
    """TensorRT and CUDA.

    Raises:
        EngineError: one is missing or too old; the text names it.
    """
    if absent := [name for name in ("tensorrt", "pycuda") if find_spec(name) is None]:
        raise EngineError(f"{' and '.join(absent)} can not be found, so no engine can be built here; {INSTALL}")
    try:
        import pycuda.driver as cuda
        import tensorrt as trt
    except ImportError as missing:
        raise EngineError(f"{missing.name or 'CUDA'} can not be loaded ({missing}); {INSTALL}") from missing
    return Tools(trt, cuda)


def build_engine(
    bundle: Bundle,
    *,
    state_dir: Path,
    precision: Precision = "int8",
    typing: Typing | None = None,
    profile: Profile | None = None,
    tools: Tools | None = None,
) -> Built:
    """Build a plan and store it with its stamp. Takes minutes.

    Args:
        bundle: a verified bundle.
        state_dir: the agent's; plans lie in its folder `engines`.
        precision: of the fastest layers.
        typing: `strong`: the graph decides each layer's type; `weak`: TensorRT may choose faster ones (10.x only).
            Default: strong, but weak for fp16, as the bundle has no graph in FP16.
        profile: batch sizes.
        tools: the libraries, if not the installed ones.

    Raises:
        EngineError: a library or the GPU is missing, or TensorRT failed; every reason that it gave is in the text.
        UsageError: this TensorRT has no such typing.
    """
    tools = tools or load_tools()
    trt, cuda = tools.trt, tools.cuda
    if int(trt.__version__.split(".")[0]) < OLDEST:
        raise EngineError(f"TensorRT {trt.__version__} is too old: {OLDEST}.0 or newer is needed; {INSTALL}")
    chosen = typing or ("weak" if precision == "fp16" else "strong")
    flags = _flags(trt, precision, chosen)
    files = bundle.manifest.files
    recipe = Recipe(
        graph_sha256=files[GRAPHS[precision]],
        table_sha256=files[CALIBRATION],
        precision=precision,
        typing=chosen,
        profile=profile or Profile(),
        flags=flags,
    )
    board, free = _survey(trt, cuda)
    cache = state_dir / "engines" / TIMING_CACHE
    work = _Work(trt, recipe, free, cache)
    plan = work.build(bundle.read(GRAPHS[precision]))
    layers = work.inspect(plan)
    folder = engine_folder(state_dir, bundle, precision)
    stamp = write_plan(folder, plan, board, recipe)
    write_whole(folder / LAYERS, (json.dumps(layers.as_json(), indent=1) + "\n").encode())
    return Built(folder, stamp, layers)


class _Work:
    """One build: the libraries, the order, and what TensorRT complained of."""

    def __init__(self, trt: TensorRt, recipe: Recipe, free: int, cache: Path) -> None:
        self._trt, self._recipe, self._free, self._cache_file = trt, recipe, free, cache
        self._complaints: list[str] = []
        self._logger = _logger(trt, self._complaints)

    def build(self, graph: bytes) -> bytes:
        """The plan of a graph."""
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network(self._network_flags())
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            raise EngineError(f"TensorRT {trt.__version__} can not read the graph: {_parser_errors(parser)}")
        if network.num_inputs != 1:
            raise EngineError(f"the graph has {network.num_inputs} inputs, not one of images; export the bundle anew")
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(self._free * WORKSPACE_SHARE))
        for name in self._recipe.flags:
            config.set_flag(getattr(trt.BuilderFlag, name, None))
        shapes = builder.create_optimization_profile()
        self._set_shapes(shapes, network)
        if config.add_optimization_profile(shapes) < 0:
            raise self._failure("TensorRT refused the optimisation profile")
        cache = self._timing_cache(config)
        with closing(Progress(getattr(trt, "IProgressMonitor", None))) as progress:
            progress.watch(config)
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._failure(
                f"TensorRT {trt.__version__} built nothing ('could not find any implementation' mostly means that "
                f"memory is short: {self._free >> 20} MiB were free; stop other programs, or try a smaller --largest)"
            )
        if cache is not None:
            self._keep(cache.serialize())
        return _bytes(plan)

    def inspect(self, plan: bytes) -> Layers:
        """What became of the layers; loads the plan, which proves that it can be loaded."""
        runtime = self._trt.Runtime(self._logger)
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._failure("TensorRT can not load the plan that it has just built")
        told = engine.create_engine_inspector().get_engine_information(self._trt.LayerInformationFormat.JSON)
        return summary(told)

    def _network_flags(self) -> int:
        strong = self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return 1 << int(strong) if self._recipe.typing == "strong" else 0

    def _set_shapes(self, shapes: IOptimizationProfile, network: INetworkDefinition) -> None:
        image = network.get_input(0)
        cell = tuple(image.shape)[1:]
        sizes = (1, min(self._recipe.profile.best, self._recipe.profile.largest), self._recipe.profile.largest)
        shapes.set_shape(image.name, *((n, *cell) for n in sizes))

    def _timing_cache(self, config: IBuilderConfig) -> ITimingCache | None:
        """A cache of kernel times from earlier builds; one of another board or version is left aside."""
        kept = self._cache_file.read_bytes() if self._cache_file.is_file() else b""
        for content in (kept, b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return cache
        return None

    def _keep(self, cache: IHostMemory) -> None:
        self._cache_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._cache_file, _bytes(cache))

    def _failure(self, what: str) -> EngineError:
        return EngineError(f"{what}: {'; '.join(self._complaints[-5:]) or 'TensorRT gave no reason'}")


def _flags(trt: TensorRt, precision: Precision, typing: Typing) -> tuple[str, ...]:
    if typing == "strong" and precision == "fp16":
        raise UsageError("fp16 needs --typing weak: the bundle's graph is FP32, and with strong typing it stays so")
    flags = WEAK_FLAGS[precision] if typing == "weak" else ()
    has = {"INT8": getattr(trt.BuilderFlag, "INT8", None), "FP16": getattr(trt.BuilderFlag, "FP16", None)}
    if typing == "weak" and None in has.values():
        raise UsageError(
            f"TensorRT {trt.__version__} knows strong typing only: take --typing strong (TensorRT 10 can do both)"
        )
    return flags


def _survey(trt: TensorRt, cuda: Cuda) -> tuple[Board, int]:
    """This board, and its free memory in bytes."""
    try:
        cuda.init()
        device = cuda.Device(0)
        context = device.retain_primary_context()
        context.push()
        try:
            free, _ = cuda.mem_get_info()
        finally:
            context.pop()
        return board_of(trt.__version__, device, cuda.get_driver_version()), free
    except cuda.Error as cause:
        raise EngineError(f"no CUDA device can be used: {cause}; look at `nvidia-smi` or `tegrastats`") from cause


def _logger(trt: TensorRt, complaints: list[str]) -> ILogger:
    grave: list[object] = [trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR]
    warning = trt.ILogger.Severity.WARNING

    def write(_: object, severity: object, msg: str) -> None:
        if severity in grave:
            complaints.append(msg)
        level = logging.ERROR if severity in grave else logging.WARNING if severity == warning else logging.DEBUG
        log.log(level, "TensorRT: %s", msg)

    logger: ILogger = type("Log", (trt.ILogger,), {"log": write})()
    return logger


def _parser_errors(parser: OnnxParser) -> str:
    errors = [parser.get_error(k) for k in range(parser.num_errors)]
    return "; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors) or "it gave no reason"


def _bytes(memory: IHostMemory) -> bytes:
    made: Any = memory
    return bytes(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        trust = ByHash((), sha256=given.verified) if given.verified else trust_from(given)
        built = build_engine(
            open_bundle(given.bundle, trust),
            state_dir=given.state_dir or default_state_dir(),
            precision=given.precision,
            typing=given.typing,
            profile=Profile(best=min(given.best, given.largest), largest=given.largest),
        )
    except MicroscopeError as failure:
        sys.stderr.write(f"export.engine: {failure}\n")
        return failure.exit_code
    sys.stdout.write(
        f"{built.folder}: {built.stamp.board.gpu}, TensorRT {built.stamp.board.tensorrt}\n{built.layers}\n"
    )
    return 0


def _batch(text: str) -> int:
    if (size := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{size} is no batch size")
    return size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m export.engine", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the model")
    parser.add_argument(
        "--state-dir",
        type=Path,
        help="the agent's state folder (its setting `state_dir`); default: where the agent keeps it by default",
    )
    parser.add_argument("--precision", choices=sorted(GRAPHS), default="int8", help="default: int8")
    parser.add_argument("--typing", choices=["strong", "weak"], help="default: strong; weak for fp16, on TensorRT 10")
    parser.add_argument("--best", type=_batch, default=Profile().best, help="batch size that it is tuned for")
    parser.add_argument("--largest", type=_batch, default=Profile().largest, help="largest batch size")
    parser.add_argument("--verified", metavar="SHA256", help="of manifest.json, where the caller has verified it")
    add_trust(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
