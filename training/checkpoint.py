"""What training leaves on disk: ``last.pt`` to go on from, ``classifier.pt`` to export."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from contract.durable import write_whole
from contract.errors import UsageError
from contract.manifest import Decision, InputSpec
from training.network import Architecture, BlastNet

FORMAT = "microscope-agent classifier 1"
LAST = "last.pt"
CLASSIFIER = "classifier.pt"


@dataclass(frozen=True, slots=True)
class Classifier:
    """A trained network with every fact that a bundle needs of it.

    Attributes:
        network: in evaluation mode; columns of its scores are normal, blast.
        input: what it sees.
        decision: temperature and thresholds, chosen on the validation split.
        recipe: how it was trained.
        epoch: after which epoch it was taken, by validation.
        validation: figures on the validation split at that epoch.
    """

    network: BlastNet
    input: InputSpec
    decision: Decision
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
        "decision": classifier.decision.model_dump(),
        "recipe": dict(classifier.recipe),
        "epoch": classifier.epoch,
        "validation": dict(classifier.validation),
    }
    save(path, record)


def read_classifier(path: Path) -> Classifier:
    """Read a classifier; UsageError if the file is none."""
    record = load(path)
    try:
        if record["format"] != FORMAT:
            raise _no_classifier(path)
        network = network_of(record["architecture"], record["weights"])
        spec = InputSpec.model_validate(record["input"])
        decision = Decision.model_validate(record["decision"])
        return Classifier(network.eval(), spec, decision, record["recipe"], record["epoch"], record["validation"])
    except (KeyError, TypeError, RuntimeError, ValidationError) as cause:
        raise _no_classifier(path) from cause


def network_of(architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> BlastNet:
    """Build the network of a record; RuntimeError if the weights do not fit."""
    shape = Architecture(
        stem=int(architecture["stem"]),
        stages=tuple(architecture["stages"]),
        blocks=tuple(architecture["blocks"]),
        dropout=float(architecture["dropout"]),
    )
    network = BlastNet(shape)
    network.load_state_dict(dict(weights))
    return network


def save(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record whole or not at all: a power cut leaves the older file."""
    content = io.BytesIO()
    torch.save(dict(record), content)
    write_whole(path, content.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a record. Nothing in the file is executed (``weights_only``); UsageError if it can not be read."""
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as cause:
        raise UsageError(f"there is no checkpoint {path}; train-classifier writes one") from cause
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as cause:
        raise _no_classifier(path) from cause
    if not isinstance(record, dict):
        raise _no_classifier(path)
    return record


def _no_classifier(path: Path) -> UsageError:
    return UsageError(f"{path} is no checkpoint of train-classifier; name the {CLASSIFIER} that it wrote")
