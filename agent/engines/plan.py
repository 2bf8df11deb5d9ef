"""From a bundle to its TensorRT plan on this board: is there one, does it fit, was it changed?"""

import hashlib
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from agent.engines.device import open_device
from agent.engines.trt import TensorRtEngine, load_tensorrt
from agent.engines.trt_api import DeviceMemory, TensorRt
from contract.bundle import Bundle
from contract.errors import EngineError, IntegrityError
from contract.manifest import Precision
from contract.stamp import (
    PLAN,
    Board,
    Stamp,
    board_of,
    differences,
    engine_folder,
    read_stamp,
    rebuild_command,
)

log = logging.getLogger(__name__)
Build = Callable[[Bundle, Precision, Path], None]
FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH


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
        IntegrityError: the plan is not the one that was built.
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
    trt: TensorRt,
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
    if isinstance(found, str):
        command = rebuild_command(state_dir, bundle, precision)
        raise EngineError(f"the TensorRT engine {folder} can not be used: {found}; build it here: {command}")
    plan = _verified(folder / PLAN, found, rebuild_command(state_dir, bundle, precision))
    return TensorRtEngine(plan, precision=precision, trt=trt, memory=memory)


def build_apart(bundle: Bundle, precision: Precision, state_dir: Path) -> None:
    """Build a plan in a process of its own: the builder takes gigabytes, and the agent does not import the workshops.

    Its progress goes to our stderr.

    Raises:
        EngineError: it failed; its own text has said why.
    """
    what = [str(bundle.path), "--precision", precision, "--state-dir", str(state_dir), "--verified", bundle.sha256]
    done = subprocess.run([sys.executable, "-m", "export.engine", *what], check=False)
    if done.returncode:
        command = rebuild_command(state_dir, bundle, precision)
        raise EngineError(
            f"the TensorRT engine could not be built (exit {done.returncode}); see above, or run: {command}"
        )


def _fitting(folder: Path, board: Board, bundle: Bundle, precision: Precision) -> Stamp | str:
    """The stamp of a plan that fits, or why there is none."""
    try:
        stamp = read_stamp(folder)
    except EngineError as cause:
        return str(cause)
    if stamp is None or not (folder / PLAN).is_file():
        return "it has not been built"
    facts = differences(stamp, board, bundle)
    if stamp.recipe.precision != precision:
        facts.append(f"its precision is {stamp.recipe.precision}")
    return "; ".join(facts) or stamp


def _verified(path: Path, stamp: Stamp, command: str) -> bytes:
    """Read a plan once, and return those bytes only if they are what the builder wrote."""
    about = path.stat()
    if about.st_uid not in {0, os.geteuid()} or about.st_mode & FOREIGN_WRITERS:
        raise IntegrityError(f"{path} can be written by others, and a plan is native code; build it again: {command}")
    plan = path.read_bytes()
    if hashlib.sha256(plan).hexdigest() != stamp.plan_sha256:
        raise IntegrityError(
            f"{path} was changed after it was built: its SHA-256 is another; build it again: {command}"
        )
    return plan
