"""Where a training may start from: the trunk of a checkpoint, or of a bundle."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from common.errors import UsageError
from contract import bundle
from contract.manifest import InputSpec
from contract.signature import SHIPPED_ONLY, Trust
from training.checkpoint import load, refused_if_damaged
from training.network import BlastNet

TRUNK = ("stem.", "body.")
"""How the names of its weights begin."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """What a network has learnt, without its heads.

    Attributes:
        weights: by name, as ``BlastNet`` calls them.
        input: what the network saw.
    """

    weights: Mapping[str, Tensor]
    input: InputSpec

    def seen(self, spec: InputSpec) -> InputSpec:
        """An input with the normalisation that the trunk knows."""
        return spec.model_copy(update={"mean": self.input.mean, "std": self.input.std})


def trunk_of(path: Path, trust: Trust = SHIPPED_ONLY) -> Trunk:
    """The trunk of a checkpoint, of this format or the one before, or of a bundle (a folder).

    Raises:
        UsageError: there is none, or it has not the shape of ``BlastNet``'s.
        IntegrityError: the bundle is not to be trusted.
    """
    if path.is_dir():
        opened = bundle.open_bundle(path, trust)
        graph = onnx.load_from_string(opened.read(bundle.FP32)).graph
        weights, seen = _unfolded(graph), opened.manifest.input
    else:
        with refused_if_damaged(path):
            record = load(path)
            weights, seen = dict(record["weights"]), InputSpec.model_validate(record["input"])
    weights = {name: values for name, values in weights.items() if name.startswith(TRUNK)}
    try:
        absent = BlastNet().load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as cause:
        raise _other(path) from cause
    if any(name.startswith(TRUNK) for name in absent):
        raise _other(path)
    return Trunk(weights, seen)


def digest_of(path: Path) -> str:
    """Which checkpoint or bundle it is: the SHA-256 of the file, or of the bundle's manifest; UsageError if unread."""
    try:
        return hashlib.sha256((path / bundle.MANIFEST if path.is_dir() else path).read_bytes()).hexdigest()
    except OSError as cause:
        raise UsageError(f"--start {path} can not be read ({cause.strerror}); name a checkpoint or a bundle") from cause


def _unfolded(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """The weights of a graph whose normalisations are folded into its convolutions, with ones that change nothing."""
    found = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    network = BlastNet()
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            conv = f"{name.rpartition('.')[0]}.0"
            if (bias := found.pop(f"{conv}.bias", None)) is not None:
                found |= {
                    f"{name}.weight": torch.full_like(bias, (1 + part.eps) ** 0.5),
                    f"{name}.bias": bias,
                    f"{name}.running_mean": torch.zeros_like(bias),
                    f"{name}.running_var": torch.ones_like(bias),
                    f"{name}.num_batches_tracked": torch.tensor(0),
                }
    return found


def _other(path: Path) -> UsageError:
    return UsageError(f"{path} holds a network of another shape; start from one that this version trained")
