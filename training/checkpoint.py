"""What training leaves on disk: ``last.pt`` to go on from, ``classifier.pt`` to export."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from common.durable import write_whole
from common.errors import UsageError
from contract.manifest import CellColours, ClassName, Columns, Decision, InputSpec, Unknown
from evaluation.datasets import LAYOUTS
from training.network import Architecture, BlastNet

FORMAT = "microscope-agent classifier 3"
LAST = "last.pt"
CLASSIFIER = "classifier.pt"
_DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What torch raises for files that are no whole checkpoint; a ValidationError is a ValueError."""
Channels = Annotated[int, Field(ge=1, le=1024)]
Blocks = Annotated[int, Field(ge=1, le=16)]


def _known(layout: str) -> str:
    if layout not in LAYOUTS:
        raise ValueError(f"there is no layout {layout}")
    return layout


Known = Annotated[str, AfterValidator(_known)]
"""A key of ``LAYOUTS``."""


class _Shape(BaseModel):
    """The architecture in a checkpoint, bounded before anything of its size is made."""

    model_config = ConfigDict(extra="forbid")

    stem: Channels
    stages: tuple[Channels, ...] = Field(min_length=1, max_length=8)
    blocks: tuple[Blocks, ...] = Field(min_length=1, max_length=8)
    classes: int = Field(ge=2, le=5)
    directions: int = Field(ge=0, le=256)
    twice: bool = False


class _Trained(BaseModel):
    """What the export needs of the recipe; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow")

    layout: Known
    datasets: list[Known] = []
    um_per_pixel: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    split: Literal["patient", "random"]
    seed: int


class _Record(BaseModel):
    """A checkpoint's content."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    format: Literal["microscope-agent classifier 3"]
    architecture: dict[str, Any]
    weights: dict[str, Tensor]
    input: InputSpec
    classes: tuple[ClassName, ...] = Field(min_length=2, max_length=5)
    decision: Decision
    unknown: Unknown | None
    colours: dict[str, CellColours]
    recipe: Annotated[
        dict[str, Any], AfterValidator(lambda recipe: _Trained.model_validate(recipe).model_dump(exclude_unset=True))
    ]
    epoch: int = Field(ge=0)
    validation: dict[str, float]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A trained network with every fact that a bundle needs of it.

    Attributes:
        network: in evaluation mode.
        input: what it sees.
        columns: what stands where in its scores.
        decision: temperature and thresholds, chosen on the validation split.
        unknown: from where on a cell is too unlike the training's; None where nothing such was learnt.
        colours: of the cells of each data set of the training, from which they are moved to those of ``input``.
        recipe: how it was trained.
        epoch: after which epoch it was taken, by validation.
        validation: figures on the validation split at that epoch.
    """

    network: BlastNet
    input: InputSpec
    columns: Columns
    decision: Decision
    unknown: Unknown | None
    colours: Mapping[str, CellColours]
    recipe: Mapping[str, Any]
    epoch: int
    validation: Mapping[str, float]


def write_classifier(path: Path, classifier: Classifier) -> None:
    """Write a classifier; ``read_classifier`` reads it."""
    record = {
        "format": FORMAT,
        "architecture": asdict(classifier.network.shape),
        "weights": {k: v.cpu() for k, v in classifier.network.state_dict().items()},
        "input": classifier.input.model_dump(),
        "classes": list(classifier.columns.names),
        "decision": classifier.decision.model_dump(),
        "unknown": classifier.unknown and classifier.unknown.model_dump(),
        "colours": {name: found.model_dump() for name, found in classifier.colours.items()},
        "recipe": dict(classifier.recipe),
        "epoch": classifier.epoch,
        "validation": dict(classifier.validation),
    }
    save(path, record)


def read_classifier(path: Path) -> Classifier:
    """Read a classifier; UsageError if the file is none, or any part of it is not what ``write_classifier`` writes."""
    with refused_if_damaged(path):
        record = _Record.model_validate(load(path))
        network = network_of(record.architecture, record.weights)
        columns = Columns(record.classes, distance=record.unknown is not None)
        if (len(columns.names), columns.distance) != (network.shape.classes, network.gate is not None):
            raise ValueError
        judging = columns, record.decision, record.unknown, record.colours
        return Classifier(network.eval(), record.input, *judging, record.recipe, record.epoch, record.validation)


def network_of(architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> BlastNet:
    """Build the network of a record; ValueError or RuntimeError if that can not be, or the weights do not fit."""
    shape = _Shape.model_validate(dict(architecture))
    network = BlastNet(Architecture(**shape.model_dump()))
    network.load_state_dict(dict(weights))
    return network


def save(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record whole or not at all: a power cut leaves the older file."""
    content = io.BytesIO()
    torch.save(dict(record), content)
    write_whole(path, content.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a record. Nothing in the file is executed (``weights_only``); UsageError if it can not be read."""
    with refused_if_damaged(path):
        try:
            record = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as cause:
            raise UsageError(f"there is no checkpoint {path}; train-classifier writes one") from cause
        if not isinstance(record, dict):
            raise TypeError
    return record


@contextmanager
def refused_if_damaged(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign checkpoint makes torch raise into a UsageError that names the file."""
    try:
        yield
    except _DAMAGE as cause:
        raise UsageError(
            f"{path} is no checkpoint of train-classifier, or is damaged; name the {CLASSIFIER} that it wrote, or "
            f"delete a damaged {LAST} to begin that training again"
        ) from cause
