"""The stamp beside a TensorRT plan: what it was built from, and the one board on which it may be loaded.

Plans are native code that TensorRT runs. So the stamp is read, and held against this board and this bundle, before
the plan is given to TensorRT; export writes it, the agent reads it.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.durable import write_whole
from common.errors import EngineError
from common.owned import read_owned, refuse_shared
from contract.bundle import CALIBRATION, FP32, INT8, Bundle
from contract.manifest import Precision, Sha256
from engines.cuda_protocols import CudaDevice

PLAN = "model.engine"
STAMP = "engine.json"
LAYERS = "layers.json"
L4T_RELEASE = Path("/etc/nv_tegra_release")

Typing: TypeAlias = Literal["strong", "weak"]
GRAPHS: dict[Precision, str] = {"fp32": FP32, "fp16": FP32, "int8": INT8}
"""The graph of the bundle that a plan of each precision is built from."""
WEAK_FLAGS: dict[Precision, tuple[str, ...]] = {"int8": ("INT8", "FP16"), "fp16": ("FP16",), "fp32": ()}
"""What TensorRT may choose from where the graph does not decide."""
STRONG_ONLY = 11
"""From this major version on TensorRT takes every type from the graph."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


def flags_of(precision: Precision, typing: Typing) -> tuple[str, ...]:
    """Builder flags that a plan is built with."""
    return WEAK_FLAGS[precision] if typing == "weak" else ()


def can_be_weak(tensorrt: str) -> bool:
    """Whether a version of TensorRT knows weak typing."""
    return int(tensorrt.split(".", maxsplit=1)[0]) < STRONG_ONLY


def differences(stamp: Stamp, board: Board, bundle: Bundle, precision: Precision) -> list[str]:
    """Each fact in which a plan was made for something else than this board, this bundle and this order, in words.

    Profile and typing are the choice of who built it: the agent runs any, so each is only held against what is
    possible; the profile is held against the plan once it is loaded.
    """
    recipe, files = stamp.recipe, bundle.manifest.files
    graph = GRAPHS[precision]
    possible = recipe.typing == "strong" or can_be_weak(board.tensorrt)
    facts = {
        "TensorRT": (stamp.board.tensorrt, board.tensorrt),
        "GPU": (stamp.board.gpu, board.gpu),
        "compute capability": (stamp.board.compute_capability, board.compute_capability),
        "CUDA": (stamp.board.cuda, board.cuda),
        "Jetson Linux": (stamp.board.l4t, board.l4t),
        "precision": (recipe.precision, precision),
        f"SHA-256 of {graph}": (recipe.graph_sha256, files[graph]),
        f"SHA-256 of {CALIBRATION}": (recipe.table_sha256, files[CALIBRATION]),
        "typing": (recipe.typing, recipe.typing if possible else "strong"),
        "builder flags": (" ".join(recipe.flags), " ".join(flags_of(recipe.precision, recipe.typing))),
    }
    return [f"{name} was {a or 'none'}, is {b or 'none'}" for name, (a, b) in facts.items() if a != b]


def read_stamp(folder: Path) -> Stamp | None:
    """Read the stamp of a folder; None where there is none.

    Raises:
        EngineError: it is not what export writes.
        IntegrityError: somebody beside this user and root can write it, or put another there.
    """
    path = folder / STAMP
    if not path.is_file():
        return None
    for place in (folder.parent, folder):
        refuse_shared(place)
    try:
        return Stamp.model_validate_json(read_owned(path))
    except (ValidationError, OSError) as cause:
        raise EngineError(f"{path} is no stamp of an engine ({cause}); delete it and build the engine again") from cause


def write_plan(folder: Path, plan: bytes, board: Board, recipe: Recipe) -> Stamp:
    """Store a plan and its stamp; at no moment does a stamp lie beside another plan than its own.

    Raises:
        IntegrityError: others can write into the folder.
    """
    stamp = Stamp(board=board, recipe=recipe, plan_sha256=hashlib.sha256(plan).hexdigest())
    make_own_folder(folder)
    (folder / STAMP).unlink(missing_ok=True)
    write_whole(folder / PLAN, plan)
    write_whole(folder / STAMP, (stamp.model_dump_json(indent=2) + "\n").encode())
    return stamp


def make_own_folder(folder: Path) -> None:
    """Make a folder of an engine that nobody else can write into, whatever this user's umask is.

    Raises:
        EngineError: it can not be made.
        IntegrityError: it is there, and others can write into it.
    """
    try:
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for place in (folder.parent, folder):
            place.mkdir(mode=0o755, exist_ok=True)
    except OSError as cause:
        raise EngineError(
            f"the folder {folder} can not be made ({cause.strerror}); name another --state-dir"
        ) from cause
    for place in (folder.parent, folder):
        refuse_shared(place)
