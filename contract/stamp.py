"""The stamp beside a TensorRT plan: what it was built from, and the one board on which it may be loaded.

Plans are native code that TensorRT runs. So the stamp is read, and held against this board and this bundle, before
the plan is given to TensorRT; export writes it, the agent reads it.
"""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.bundle import CALIBRATION, FP32, INT8, Bundle
from contract.errors import EngineError
from contract.manifest import Precision, Sha256

PLAN = "model.engine"
STAMP = "engine.json"
LAYERS = "layers.json"
L4T_RELEASE = Path("/etc/nv_tegra_release")

Typing: TypeAlias = Literal["strong", "weak"]
GRAPHS: dict[Precision, str] = {"fp32": FP32, "fp16": FP32, "int8": INT8}
"""The graph of the bundle that a plan of each precision is built from."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CudaDevice(Protocol):
    """What the stamp asks of a GPU; the names are pycuda's."""

    def name(self) -> str:
        """Product name."""
        ...

    def compute_capability(self) -> tuple[int, int]:
        """Major and minor."""
        ...


class Board(_Record):
    """The software and hardware that a plan is bound to."""

    tensorrt: str = Field(description="Full version of TensorRT.")
    gpu: str = Field(description="Name of the GPU.")
    compute_capability: str = Field(description="Of the GPU, for example 8.7.")
    cuda: str = Field(description="CUDA version of the driver.")
    l4t: str = Field("", description="Release of Jetson Linux; empty elsewhere.")


class Profile(_Record):
    """Batch sizes of the one optimisation profile; the smallest is 1."""

    best: int = Field(8, ge=1, description="Batch size that the plan is tuned for.")
    largest: int = Field(16, ge=1, description="Largest batch size.")


class Recipe(_Record):
    """What a plan was built from."""

    graph_sha256: Sha256 = Field(description="Of the ONNX graph.")
    table_sha256: Sha256 = Field(description="Of the calibration table.")
    precision: Precision = Field(description="Of the plan's fastest layers.")
    typing: Typing = Field("strong", description="Who chooses the types of layers: the graph, or TensorRT.")
    profile: Profile = Field(Profile(), description="Batch sizes.")
    flags: tuple[str, ...] = Field((), description="Builder flags.")


class Stamp(_Record):
    """`engine.json`."""

    schema_version: Literal[1] = Field(1, description="Version of this record's form.")
    board: Board
    recipe: Recipe
    plan_sha256: Sha256 = Field(description="Of model.engine.")


def board_of(tensorrt: str, device: CudaDevice, cuda: int) -> Board:
    """This board.

    Args:
        tensorrt: its version.
        device: the GPU.
        cuda: the driver's CUDA version as CUDA counts: 12060 is 12.6.
    """
    major, minor = device.compute_capability()
    version = f"{cuda // 1000}.{cuda % 1000 // 10}"
    return Board(
        tensorrt=tensorrt, gpu=device.name(), compute_capability=f"{major}.{minor}", cuda=version, l4t=l4t_release()
    )


def l4t_release(path: Path = L4T_RELEASE) -> str:
    """Release of Jetson Linux, for example 36.4.3; empty where there is none."""
    try:
        found = re.search(r"R(\d+).*?REVISION: ([\d.]+)", path.read_text())
    except OSError:
        return ""
    return f"{found[1]}.{found[2]}" if found else ""


def engine_folder(state_dir: Path, bundle: Bundle, precision: Precision) -> Path:
    """Where the plan of a bundle lies, with its stamp."""
    return state_dir / "engines" / f"{bundle.manifest.id}-{precision}"


def rebuild_command(state_dir: Path, bundle: Bundle, precision: Precision) -> str:
    """What a user types to build a plan."""
    return f"python -m export.engine {bundle.path} --precision {precision} --state-dir {state_dir}"


def differences(stamp: Stamp, board: Board, bundle: Bundle) -> list[str]:
    """Each fact in which a plan was made for something else than this board and this bundle, in words."""
    made, found = stamp.board.model_dump(), board.model_dump()
    names = {"tensorrt": "TensorRT", "gpu": "GPU", "compute_capability": "compute capability", "cuda": "CUDA"}
    facts = [
        f"{names.get(key, 'Jetson Linux')} was {made[key] or 'none'}, is {found[key] or 'none'}"
        for key in made
        if made[key] != found[key]
    ]
    graph = GRAPHS[stamp.recipe.precision]
    if stamp.recipe.graph_sha256 != bundle.manifest.files[graph]:
        facts.append(f"it was built from another {graph}")
    if stamp.recipe.table_sha256 != bundle.manifest.files[CALIBRATION]:
        facts.append(f"it was built with another {CALIBRATION}")
    return facts


def read_stamp(folder: Path) -> Stamp | None:
    """Read the stamp of a folder; None where there is none.

    Raises:
        EngineError: it is not what export writes.
    """
    path = folder / STAMP
    if not path.is_file():
        return None
    try:
        return Stamp.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as cause:
        raise EngineError(f"{path} is no stamp of an engine ({cause}); delete it and build the engine again") from cause


def write_plan(folder: Path, plan: bytes, board: Board, recipe: Recipe) -> Stamp:
    """Store a plan and its stamp; at no moment does a stamp lie beside another plan than its own."""
    stamp = Stamp(board=board, recipe=recipe, plan_sha256=hashlib.sha256(plan).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    write_whole(folder / PLAN, plan)
    write_whole(folder / STAMP, (stamp.model_dump_json(indent=2) + "\n").encode())
    return stamp


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a power loss leaves the old one or the new one, never a part."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
