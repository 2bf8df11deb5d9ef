"""`python -m engines.build`: build the TensorRT plan of a bundle, on the board that will run it.

No torch, and onnx for FP16 on TensorRT 11 alone: it must run on the board. The agent starts it as a process of its own
where `engine_rebuild` allows it. It imports this module for its name, so no library that builds is loaded with it.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from common import journal
from common.arguments import default_state_dir, place, whole
from common.commands import outcome, process
from common.durable import write_whole
from common.errors import EngineError, IntegrityError, UsageError
from common.terminal import say
from contract.bundle import CALIBRATION, Bundle, open_bundle
from contract.manifest import Precision
from contract.signature import Trust
from contract.trust_options import add_trust, trust_from
from engines.cuda_protocols import CudaDriver
from engines.stamp import (
    GRAPHS,
    LAYERS,
    Board,
    Profile,
    Recipe,
    Stamp,
    Typing,
    board_of,
    can_be_weak,
    engine_folder,
    flags_of,
    make_own_folder,
    write_plan,
)
from engines.trt_build import Work
from engines.trt_layers import Layers
from engines.trt_log import INSTALL, refuse_old
from engines.trt_protocols import BuilderApi

TIMING_CACHE = "timing.cache"


@dataclass(frozen=True, slots=True)
class Tools:
    """The libraries that build: TensorRT, and CUDA through pycuda."""

    trt: BuilderApi
    cuda: CudaDriver


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
            Default: strong; for fp16 weak where that is possible, as the bundle has no graph in FP16, and a copy in
            FP16 is made with onnx, which a board may lack.
        profile: batch sizes.
        tools: the libraries, if not the installed ones.

    Raises:
        EngineError: a library or the GPU is missing, or TensorRT failed; every reason that it gave is in the text.
        UsageError: this TensorRT has no such typing.
        IntegrityError: others can write into the folder of the engines.
    """
    tools = tools or load_tools()
    trt = tools.trt
    refuse_old(trt)
    recipe = _recipe(bundle, precision, _typing(trt, precision, typing), profile or Profile())
    graph = _graph(bundle, recipe)
    folder = engine_folder(state_dir, bundle, precision)
    board, free = _survey(trt, tools.cuda)
    make_own_folder(folder)
    work = Work(trt, recipe, free=free, cache=folder.parent / TIMING_CACHE)
    plan = work.build(graph)
    layers = work.inspect(plan)
    try:
        stamp = write_plan(folder, plan, board, recipe)
        write_whole(folder / LAYERS, (json.dumps(layers.as_json(), indent=1) + "\n").encode())
    except OSError as cause:
        raise EngineError(f"the engine can not be written to {folder} ({cause.strerror}); make room there") from cause
    return Built(folder, stamp, layers)


def _recipe(bundle: Bundle, precision: Precision, typing: Typing, profile: Profile) -> Recipe:
    files = bundle.manifest.files
    return Recipe(
        graph_sha256=files[GRAPHS[precision]],
        table_sha256=files[CALIBRATION],
        precision=precision,
        typing=typing,
        profile=profile,
        flags=flags_of(precision, typing),
    )


def _typing(trt: BuilderApi, precision: Precision, asked: Typing | None) -> Typing:
    """Who chooses types: as asked; else the graph, but for FP16 on TensorRT 10, which then needs no other library."""
    has = (getattr(trt.BuilderFlag, "INT8", None), getattr(trt.BuilderFlag, "FP16", None))
    weak = can_be_weak(trt.__version__) and None not in has
    if asked == "weak" and not weak:
        raise UsageError(
            f"TensorRT {trt.__version__} knows strong typing only: take --typing strong (TensorRT 10 can do both)"
        )
    return asked or ("weak" if precision == "fp16" and weak else "strong")


def _graph(bundle: Bundle, recipe: Recipe) -> bytes:
    """What TensorRT is given: a graph of the bundle, or its copy in FP16 where TensorRT may not choose that itself."""
    graph = bundle.read(GRAPHS[recipe.precision])
    if recipe.precision != "fp16" or recipe.typing == "weak":
        return graph
    try:
        from engines.half import half_copy  # noqa: PLC0415 - onnx need not be on a board; FP16 alone needs it
    except ImportError as missing:
        raise EngineError(
            f"{missing.name} can not be loaded, and an engine in FP16 with strong typing is built from a copy of the "
            "graph that is made with onnx: pip install onnx, or take --typing weak on TensorRT 10"
        ) from missing
    return half_copy(graph)


def _survey(trt: BuilderApi, cuda: CudaDriver) -> tuple[Board, int]:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    journal.set_up("INFO")

    def work() -> int:
        trust = ByHash((), sha256=given.verified) if given.verified else trust_from(given)
        built = build_as_asked(open_bundle(given.bundle, trust), given)
        say(f"{built.folder}: {built.stamp.board.gpu}, TensorRT {built.stamp.board.tensorrt}", str(built.layers))
        return 0

    return outcome("engines.build", work)


def add_engine(group: argparse._ActionsContainer) -> None:
    """Add what both commands that build an engine can be told of it."""
    add = group.add_argument
    add(
        "--typing",
        choices=["strong", "weak"],
        help="who chooses the types of layers: the graph, or TensorRT, which is for 10.x only; default: the graph, but "
        "TensorRT for FP16 on 10.x",
    )
    best, largest = Profile().best, Profile().largest
    add("--best", type=whole(), default=best, metavar="N", help=f"batch size that it is tuned for; default: {best}")
    add("--largest", type=whole(), default=largest, metavar="N", help=f"largest batch size; default: {largest}")
    add(
        "--state-dir",
        type=place,
        metavar="DIR",
        help="the agent's state folder (its setting `state_dir`), where it goes; default: the user's",
    )


def build_as_asked(bundle: Bundle, given: argparse.Namespace) -> Built:
    """Build what the arguments of ``add_engine`` ask for; raises as ``build_engine``."""
    return build_engine(
        bundle,
        state_dir=given.state_dir or default_state_dir(),
        precision=given.precision,
        typing=given.typing,
        profile=Profile(best=min(given.best, given.largest), largest=given.largest),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m engines.build",
        description="Build the TensorRT engine of a bundle, on the board that will run it.",
        epilog="Exit codes: 0 done, 2 wrong usage, 4 a component is missing or TensorRT failed, 5 the bundle or the "
        "folder of engines can not be trusted.",
    )
    parser.add_argument("bundle", type=place, help="the model")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--precision", choices=sorted(GRAPHS), default="int8", help="of it; default: int8")
    add_engine(engine)
    trust = parser.add_argument_group("whose bundle")
    add_trust(trust)
    trust.add_argument(
        "--verified", metavar="SHA256", help="of manifest.json: the caller has verified it, as the agent has"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(process("engines.build", main))
