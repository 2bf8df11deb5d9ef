"""The network: a small residual CNN made of what INT8 kernels do best.

Only Conv, BatchNorm, ReLU and Add, then a global mean and one linear layer. Channel counts are multiples of 32,
because INT8 kernels work on blocks of 16 or 32 channels, and the stem leaves the three-channel picture, where they
gain nothing, after one strided convolution. Blocks follow He et al. 2016 (identity shortcuts, two 3x3 convolutions).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops
from contract.types import Tensor as Scores

BATCH = 64


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of the network: what one must know to build it again from a checkpoint.

    Attributes:
        stem: channels after the first convolution.
        stages: channels of each stage; every stage halves the resolution.
        blocks: residual blocks of each stage.
        dropout: share of features dropped before the linear layer, in training only.
    """

    stem: int = 32
    stages: tuple[int, ...] = (96, 128, 128)
    blocks: tuple[int, ...] = (1, 2, 1)
    dropout: float = 0.2


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, wide_in: int, wide_out: int, *, stride: int) -> None:
        super().__init__()
        self.first = convolution(wide_in, wide_out, stride=stride)
        self.second = convolution(wide_out, wide_out)
        same = stride == 1 and wide_in == wide_out
        self.shortcut = nn.Identity() if same else convolution(wide_in, wide_out, kernel=1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, wide_in, h, w) to (N, wide_out, h / stride, w / stride)."""
        inner = self.second(self.relu(self.first(x)))
        return torch.relu(inner + self.shortcut(x))


class BlastNet(nn.Module):
    """Tells blasts from other white cells."""

    def __init__(self, shape: Architecture | None = None) -> None:
        super().__init__()
        self.shape = shape or Architecture()
        self.stem = nn.Sequential(convolution(3, self.shape.stem, kernel=5, stride=2), nn.ReLU())
        self.body = nn.Sequential(*_stages(self.shape))
        self.dropout = nn.Dropout(self.shape.dropout)
        self.head = nn.Linear(self.shape.stages[-1], 2)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) normalised pixels to (N, 2) logits, normal then blast."""
        features = self.body(self.stem(image)).mean((2, 3))
        return torch.as_tensor(self.head(self.dropout(features)))


def scores_by(network: BlastNet, crops: Crops, spec: InputSpec) -> Scores:
    """Scores of crops in evaluation mode and float32, (N, 2); the mode that the network was in stays."""
    mode = network.training
    network.eval()
    rows = [np.zeros((0, 2), np.float32)]
    with torch.inference_mode():
        for k in range(0, len(crops), BATCH):
            rows.append(network(torch.from_numpy(to_batch(crops[k : k + BATCH], spec))).numpy())  # noqa: PERF401 - clearer
    network.train(mode)
    return np.concatenate(rows)


def convolution(wide_in: int, wide_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with its batch normalisation; no bias, for the normalisation has one."""
    plain = nn.Conv2d(wide_in, wide_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(wide_out))


def _stages(shape: Architecture) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    wide = shape.stem
    for channels, count in zip(shape.stages, shape.blocks, strict=True):
        for k in range(count):
            blocks.append(Residual(wide, channels, stride=2 if k == 0 else 1))
            wide = channels
    return blocks
