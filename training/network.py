"""The network: a small residual CNN made of what INT8 kernels do best, and heads that are linear in its features.

The trunk is only Conv, BatchNorm, ReLU and Add. Channel counts are multiples of 32, because INT8 kernels work on
blocks of 16 or 32 channels, and the stem leaves the three-channel picture, where they gain nothing, after one strided
convolution. Blocks follow He et al. 2016 (identity shortcuts, two 3x3 convolutions).

Features are logarithms of the mean and of the root mean square of each channel of the stem and of every block; of wide
stages the largest of four neighbours counts, which takes a quarter of the time and tells no less. The early stages
hold the texture by which lymphoblasts are known, which the last one has forgotten; in logarithms, a larger cell
adds the same to each channel, so that a linear head can tell size from texture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops
from contract.types import Tensor as Scores

BATCH = 64
WIDE = 28
"""Side from which on a stage is wide."""
TINY = 0.01
"""Least value of a channel that counts: the logarithm of 0 is infinite."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of the network: what one must know to build it again from a checkpoint.

    Attributes:
        stem: channels after the first convolution.
        stages: channels of each stage; every stage halves the resolution.
        blocks: residual blocks of each stage.
        classes: columns of the scores, without that of the distance.
        directions: of the features in which the distance to the training's cells is measured; 0: it is not.
        twice: each column is scored twice, and the lesser score counts.
    """

    stem: int = 32
    stages: tuple[int, ...] = (96, 128, 128)
    blocks: tuple[int, ...] = (1, 2, 1)
    classes: int = 2
    directions: int = 0
    twice: bool = False

    @property
    def features(self) -> int:
        """Number of features: two for each channel of the stem and of every block."""
        return 2 * (self.stem + sum(c * n for c, n in zip(self.stages, self.blocks, strict=True)))


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
        self.head = nn.Linear(self.shape.features, self.shape.classes)
        self.second = nn.Linear(self.shape.features, self.shape.classes) if self.shape.twice else None
        self.gate = nn.Linear(self.shape.features, self.shape.directions) if self.shape.directions else None

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) normalised pixels to (N, classes) logits, and the distance where it is measured."""
        features = self.features(image)
        scores = torch.as_tensor(self.head(features))
        if self.second is not None:
            scores = torch.minimum(scores, self.second(features))
        if self.gate is None:
            return scores
        along = self.gate(features)
        return torch.cat([scores, (along * along).mean(1, keepdim=True)], dim=1)

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) normalised pixels to (N, shape.features)."""
        x = self.stem(image)
        found = _pooled(x)
        for block in self.body:
            x = block(x)
            found += _pooled(x)
        return torch.cat(found, dim=1)


def scores_by(network: BlastNet, crops: Crops, spec: InputSpec) -> Scores:
    """Scores of crops in evaluation mode and float32, (N, columns); the mode that the network was in stays."""
    return _run(network, network, crops, spec)


def features_by(network: BlastNet, crops: Crops, spec: InputSpec) -> Scores:
    """Features of crops in evaluation mode and float32, (N, shape.features); the mode that it was in stays."""
    return _run(network, network.features, crops, spec)


def convolution(wide_in: int, wide_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with its batch normalisation; no bias, for the normalisation has one."""
    plain = nn.Conv2d(wide_in, wide_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(wide_out))


def _run(network: BlastNet, ask: Callable[[Tensor], Tensor], crops: Crops, spec: InputSpec) -> Scores:
    mode = network.training
    network.eval()
    with torch.inference_mode():
        batches = [crops[k : k + BATCH] for k in range(0, max(len(crops), 1), BATCH)]
        rows = [ask(torch.from_numpy(to_batch(batch, spec))).numpy() for batch in batches]
    network.train(mode)
    return np.concatenate(rows)


def _pooled(x: Tensor) -> list[Tensor]:
    if x.shape[2] >= WIDE:
        x = nn.functional.max_pool2d(x, 2)
    mean = x.mean((2, 3))
    root = torch.linalg.vector_norm(x, dim=(2, 3)) * (x.shape[2] * x.shape[3]) ** -0.5
    return [found.clamp(min=TINY).log() for found in (mean, root)]


def _stages(shape: Architecture) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    wide = shape.stem
    for channels, count in zip(shape.stages, shape.blocks, strict=True):
        for k in range(count):
            blocks.append(Residual(wide, channels, stride=2 if k == 0 else 1))
            wide = channels
    return blocks
