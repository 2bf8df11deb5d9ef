"""The loop: epochs, batches, steps, and the running mean of the weights that is kept."""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops
from training.augment import Jitter, augment
from training.datasets.sample import Sample, labels_of
from training.metrics import Labels, Numbers
from training.network import Architecture, BlastNet
from training.recipe import Recipe

LONGEST_GRADIENT = 5.0


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells to learn from, in memory.

    Attributes:
        crops: (N, side, side, 3) uint8 with a margin around the field.
        labels: (N,) 1 for a blast.
        weights: (N,) how likely each is drawn; they sum to 1.
    """

    crops: Crops
    labels: Labels
    weights: Numbers


@dataclass(slots=True)
class Run:
    """A training under way; ``mean`` is the running mean of ``network``."""

    network: BlastNet
    mean: BlastNet
    optimizer: torch.optim.Optimizer
    epoch: int
    history: list[dict[str, float]]


def start(recipe: Recipe) -> Run:
    """A training that has not learnt anything yet."""
    torch.manual_seed(recipe.seed)
    network = _channels_last(BlastNet(Architecture()))
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return Run(network, copy.deepcopy(network), torch.optim.AdamW(groups, lr=recipe.rate), 0, [])


def state_of(run: Run) -> dict[str, Any]:
    """What ``restore`` needs. Chance has no state: it is drawn from (seed, epoch) anew in each epoch."""
    return {
        "network": run.network.state_dict(),
        "mean": run.mean.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "epoch": run.epoch,
        "history": run.history,
    }


def restore(recipe: Recipe, state: dict[str, Any]) -> Run:
    """The training that ``state_of`` described."""
    run = start(recipe)
    run.network.load_state_dict(state["network"])
    run.mean.load_state_dict(state["mean"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.epoch, run.history = state["epoch"], state["history"]
    return run


def weigh(samples: Sequence[Sample]) -> Numbers:
    """How often to draw each cell: patients count by the square root of their cells, classes as they are.

    Without it a few patients with hundreds of cells would decide what a blast looks like.
    """
    keys = [f"{s.kind}/{s.patient}" for s in samples]
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(count[place])
    labels = labels_of(samples)
    for kind in (0, 1):
        weights[labels == kind] *= (labels == kind).mean() / weights[labels == kind].sum()
    return np.asarray(weights / weights.sum())


def pace(share: float, warm: float = 0.05) -> float:
    """Learning rate at a share of the training, in units of its peak: a linear rise, then a half cosine."""
    if share < warm:
        return (share + 0.01 * warm) / warm
    return float(0.5 * (1 + np.cos(np.pi * (share - warm) / (1 - warm))))


def learn(run: Run, cells: Cells, *, spec: InputSpec, recipe: Recipe, quiet: bool) -> float:
    """Train for one epoch; returns the mean loss.

    All chance comes from (seed, epoch), so a run that goes on draws what it would have drawn.
    """
    rng = np.random.default_rng([recipe.seed, run.epoch])
    torch.manual_seed(int(rng.integers(2**31)))
    order = rng.choice(len(cells.labels), len(cells.labels), p=cells.weights)
    chunks = np.array_split(order, max(1, len(order) // recipe.batch))
    batches = _batches(cells, chunks, spec, rng)
    run.network.train()
    total = 0.0
    bar = tqdm(batches, f"epoch {run.epoch + 1}", len(chunks), disable=quiet or None, leave=False)
    for k, (batch, labels) in enumerate(bar):
        share = (run.epoch + k / len(chunks)) / recipe.epochs
        for group in run.optimizer.param_groups:
            group["lr"] = recipe.rate * pace(share)
        total += _step(run, batch, labels, recipe=recipe) * len(labels)
    run.epoch += 1
    return total / len(order)


def _batches(
    cells: Cells, chunks: Sequence[NDArray[np.int64]], spec: InputSpec, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in order, each made while the one before is being learnt."""

    def one(chunk: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        crops = augment(cells.crops[chunk], spec.size, spec.um_per_pixel, Jitter(), rng)
        return torch.from_numpy(to_batch(crops, spec)), torch.from_numpy(cells.labels[chunk])

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one, chunks[0])
        for chunk in chunks[1:]:
            ready = waiting.result()
            waiting = pool.submit(one, chunk)
            yield ready
        yield waiting.result()


def _step(run: Run, batch: Tensor, labels: Tensor, *, recipe: Recipe) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        scores = run.network(batch.contiguous(memory_format=torch.channels_last))
    loss = nn.functional.cross_entropy(scores.float(), labels, label_smoothing=recipe.smoothing)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), LONGEST_GRADIENT)
    run.optimizer.step()
    _average(run, recipe.average)
    return float(loss.detach())


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    """Move the mean towards the network; faster at first, or it would remember its random start."""
    steps = int(run.optimizer.state[next(run.network.parameters())]["step"])
    kept = min(decay, (1 + steps) / (10 + steps))
    for mean, now in zip(run.mean.state_dict().values(), run.network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - kept)
        else:
            mean.copy_(now)


def _channels_last(network: BlastNet) -> BlastNet:
    """Kernels in the order of memory in which CPUs convolve faster; the numbers stay as they are."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
    return network
