"""From a bundle to its TensorRT plan on this board: is there one, does it fit, was it changed?"""

import hashlib
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import EngineError, IntegrityError
from common.owned import read_owned
from contract.bundle import Bundle
from contract.manifest import Precision
from contract.trust_options import trusting
from engines.cuda_protocols import DeviceMemory
from engines.device import open_device
from engines.stamp import (
    PLAN,
    Board,
    Stamp,
    board_of,
    differences,
    engine_folder,
    read_stamp,
)
from engines.trt import TensorRtEngine, load_tensorrt
from engines.trt_protocols import RuntimeApi

log = logging.getLogger(__name__)
Build = Callable[[Bundle, Precision, Path], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a start of the agent waits for the builder.

    A build takes up to 20 minutes on the slowest board; who needs longer builds by hand, where there is no limit.
    """

    limit_s: float = 45 * 60.0
    sign_of_life_s: float = 60.0
    farewell_s: float = 10.0


PATIENCE = Patience()


def open_engine(
    bundle: Bundle, *, state_dir: Path | None = None, rebuild: bool = False, precision: Precision = "int8"
) -> TensorRtEngine:
    """Open the plan of a verified bundle.

    Args:
        bundle: the model.
        state_dir: plans lie in its folder `engines`.
        rebuild: build the plan where there is none that fits; takes minutes.
        precision: of the plan.

    Raises:
        EngineError: TensorRT or the GPU is missing, or no plan fits; the text says why, and how to build one.
        IntegrityError: the plan is not the one that was built, or somebody else can write it.
    """
    trt, memory = load_tensorrt(), open_device()
    if state_dir is None:
        raise EngineError("no state folder was named, and TensorRT's engines lie there; set `state_dir`")
    build = build_apart if rebuild else None
    return open_plan(bundle, precision, state_dir=state_dir, trt=trt, memory=memory, build=build)


def open_plan(
    bundle: Bundle,
    precision: Precision,
    *,
    state_dir: Path,
    trt: RuntimeApi,
    memory: DeviceMemory,
    build: Build | None = None,
) -> TensorRtEngine:
    """Open a plan with the libraries given; ``build`` is called where none fits. Raises as ``open_engine``."""
    board = board_of(trt.__version__, memory.device, memory.cuda)
    folder = engine_folder(state_dir, bundle, precision)
    found = _fitting(folder, board, bundle, precision)
    if isinstance(found, str) and build is not None:
        log.warning("building the TensorRT engine of %s, some minutes: %s", bundle.manifest.id, found)
        build(bundle, precision, state_dir)
        found = _fitting(folder, board, bundle, precision)
    command = rebuild_command(state_dir, bundle, precision)
    if isinstance(found, str):
        raise EngineError(f"the TensorRT engine {folder} can not be used: {found}; build it here: {command}")
    plan = _verified(folder / PLAN, found, command)
    return _proven(TensorRtEngine(plan, precision=precision, trt=trt, memory=memory), found, command)


def rebuild_command(state_dir: Path, bundle: Bundle, precision: Precision) -> str:
    """What a user types to build a plan, with this Python."""
    where = [str(bundle.path), "--precision", precision, "--state-dir", str(state_dir)]
    return shlex.join([*_builder(), *where, *trusting(bundle.signed_by)])


def _builder() -> tuple[str, ...]:
    from engines import build  # noqa: PLC0415 - few starts build

    return sys.executable, "-m", build.__name__


def build_apart(
    bundle: Bundle,
    precision: Precision,
    state_dir: Path,
    *,
    program: Sequence[str] = (),
    patience: Patience = PATIENCE,
) -> None:
    """Build a plan in a process of its own: the builder takes gigabytes.

    Its progress goes to our stderr. However this ends, that process has ended too.

    Args:
        bundle: the model.
        precision: of the plan.
        state_dir: the agent's.
        program: a builder in place of `python -m engines.build`, with what stands before its arguments.
        patience: after what time it is ended.

    Raises:
        EngineError: it failed, its own text has said why; or it took too long.
    """
    what = [str(bundle.path), "--precision", precision, "--state-dir", str(state_dir), "--verified", bundle.sha256]
    command = rebuild_command(state_dir, bundle, precision)
    builder = subprocess.Popen([*(program or _builder()), *what])
    try:
        code = _wait(builder, patience)
    finally:
        _end(builder, patience)
    if code is None:
        raise EngineError(
            f"the TensorRT engine was not built within {patience.limit_s / 60:.0f} min, and its builder was ended; see "
            f"above how far it came, or build it without a limit: {command}"
        )
    if code:
        raise EngineError(f"the TensorRT engine could not be built (exit {code}); see above, or run: {command}")


def _wait(builder: "subprocess.Popen[bytes]", patience: Patience) -> int | None:
    """The exit code of the builder; None if it goes on beyond the limit. Says now and then that it goes on."""
    started = time.monotonic()
    while (left_s := started + patience.limit_s - time.monotonic()) > 0:
        try:
            return builder.wait(min(left_s, patience.sign_of_life_s))
        except subprocess.TimeoutExpired:
            passed_s = time.monotonic() - started
            log.info("building the TensorRT engine: %.0f of at most %.0f s", passed_s, patience.limit_s)
    return None


def _end(builder: "subprocess.Popen[bytes]", patience: Patience) -> None:
    """End the builder if it still runs, the hard way if it does not listen."""
    if builder.poll() is not None:
        return
    builder.terminate()
    try:
        builder.wait(patience.farewell_s)
    except subprocess.TimeoutExpired:
        builder.kill()
        builder.wait()


def _fitting(folder: Path, board: Board, bundle: Bundle, precision: Precision) -> Stamp | str:
    """The stamp of a plan that fits, or why there is none."""
    try:
        stamp = read_stamp(folder)
    except EngineError as cause:
        return str(cause)
    if stamp is None or not (folder / PLAN).is_file():
        return "it has not been built"
    return "; ".join(differences(stamp, board, bundle, precision)) or stamp


def _verified(path: Path, stamp: Stamp, command: str) -> bytes:
    """Read a plan once, and return those bytes only if they are what the builder wrote."""
    try:
        plan = read_owned(path)
    except OSError as cause:
        raise EngineError(f"{path} can not be read ({cause.strerror}); build it again: {command}") from cause
    found = hashlib.sha256(plan).hexdigest()
    if found != stamp.plan_sha256:
        raise IntegrityError(
            f"{path} was changed after it was built: its SHA-256 was {stamp.plan_sha256}, is {found}; "
            f"build it again: {command}"
        )
    return plan


def _proven(engine: TensorRtEngine, stamp: Stamp, command: str) -> TensorRtEngine:
    """Return an engine whose profile is the one that its stamp names."""
    if (found := engine.largest) != stamp.recipe.profile.largest:
        engine.close()
        raise IntegrityError(
            f"the largest batch of the TensorRT engine was {stamp.recipe.profile.largest} by its stamp, is "
            f"{found}: the stamp was changed after the engine was built; build it again: {command}"
        )
    return engine
