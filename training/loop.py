"""The loop that teaches the trunk: epochs, batches, steps, and the running mean of the weights that is kept.

The trunk learns to tell the kinds of cells of each data set, each among its own: which laboratory a cell comes from is
never asked. The heads are fitted when it has learnt; see training/heads.py.
"""

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
from evaluation.datasets.sample import Sample
from evaluation.metrics import Labels, Numbers
from training.augment import Jitter, augment
from training.network import Architecture, BlastNet
from training.recipe import Recipe
from training.trunk import Trunk

LONGEST_GRADIENT = 5.0
FEWEST = 12
"""Cells of a kind; of fewer nothing is learnt."""
DROPOUT = 0.2
FURTHER = 0.35
"""Of the peak learning rate, for a trunk that has learnt before."""


@dataclass(frozen=True, slots=True)
class CellKind:
    """What the trunk learns to know: one group of cells of one data set.

    Attributes:
        dataset: key of ``LAYOUTS``.
        group: what that data set calls it.
        truth: 1 for blasts, 0 for normal cells, -1 for neither.
    """

    dataset: str
    group: str
    truth: int


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells to learn from, in memory.

    Attributes:
        crops: (N, side, side, 4) uint8 with a margin around the field; the fourth plane is the cell's outline, filled.
        kinds: (N,) index of each cell's kind.
        weights: (N,) how likely each is drawn; they sum to 1.
    """

    crops: NDArray[np.uint8]
    kinds: Labels
    weights: Numbers


class Taught(nn.Module):
    """A network and the linear layer that says the kind of a cell from its features."""

    def __init__(self, kinds: Sequence[CellKind]) -> None:
        super().__init__()
        self.kinds = list(kinds)
        self.network = BlastNet(Architecture())
        self.dropout = nn.Dropout(DROPOUT)
        self.guess = nn.Linear(self.network.shape.features, max(len(kinds), 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) normalised pixels to (N, kinds) logits."""
        return torch.as_tensor(self.guess(self.dropout(self.network.features(image))))

    def own(self, dataset: str) -> list[int]:
        """Which kinds are of a data set."""
        return [k for k, kind in enumerate(self.kinds) if kind.dataset == dataset]


@dataclass(slots=True)
class Run:
    """A training under way; ``mean`` is the running mean of ``taught``."""

    taught: Taught
    mean: Taught
    optimizer: torch.optim.Optimizer
    epoch: int
    history: list[dict[str, float]]


def kinds_of(samples: Sequence[Sample]) -> list[CellKind]:
    """The kinds of cells of each data set; a data set with a single kind teaches nothing and is left out."""
    names, count = np.unique([f"{s.dataset}\n{s.group}" for s in samples], return_counts=True)
    truth = {f"{s.dataset}\n{s.group}": {"blast": 1, "normal": 0}.get(s.kind, -1) for s in samples}
    enough = [str(name) for name, n in zip(names, count, strict=True) if n >= min(FEWEST, count.max())]
    parts = [(*name.partition("\n"), truth[name]) for name in enough]
    found = [CellKind(dataset, group, role) for dataset, _, group, role in parts]
    several = {k.dataset for k in found if sum(k.dataset == other.dataset for other in found) > 1}
    return [k for k in found if k.dataset in several]


def start(recipe: Recipe, kinds: Sequence[CellKind], trunk: Trunk | None = None) -> Run:
    """A training that has not learnt anything yet, or starts from a trunk that has."""
    torch.manual_seed(recipe.seed)
    taught = Taught(kinds)
    if trunk:
        taught.network.load_state_dict(dict(trunk.weights), strict=False)
    taught = taught.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kernels = [p for p in taught.parameters() if p.ndim > 1]
    others = [p for p in taught.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return Run(taught, copy.deepcopy(taught), torch.optim.AdamW(groups, lr=recipe.rate), 0, [])


def state_of(run: Run) -> dict[str, Any]:
    """What ``restore`` needs. Chance has no state: it is drawn from (seed, epoch) again in each epoch."""
    return {
        "taught": run.taught.state_dict(),
        "mean": run.mean.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "epoch": run.epoch,
        "history": run.history,
    }


def restore(recipe: Recipe, kinds: Sequence[CellKind], state: dict[str, Any]) -> Run:
    """The training that ``state_of`` described."""
    run = start(recipe, kinds)
    run.taught.load_state_dict(state["taught"])
    run.mean.load_state_dict(state["mean"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.epoch, run.history = state["epoch"], state["history"]
    return run


def weigh(samples: Sequence[Sample]) -> Numbers:
    """How often to draw each cell: kinds count by the square root of their cells, and so do the patients of each.

    Without it a few patients with hundreds of cells would decide what a blast looks like.
    """
    _, kind, kinds = np.unique([f"{s.dataset}/{s.group}" for s in samples], return_inverse=True, return_counts=True)
    owners = [f"{s.dataset}/{s.group}/{s.patient}" for s in samples]
    _, place, count = np.unique(owners, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(count[place])
    weights *= (np.sqrt(kinds) / np.bincount(kind, weights))[kind]
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
    order = rng.choice(len(cells.kinds), len(cells.kinds), p=cells.weights)
    chunks = np.array_split(order, max(1, len(order) // recipe.batch))
    batches = _batches(cells, chunks, spec, rng)
    run.taught.train()
    if recipe.start:  # a batch of another mixture of cells must not move what the trunk knows of its activations
        for part in run.taught.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
    total = 0.0
    bar = tqdm(batches, f"epoch {run.epoch + 1}", len(chunks), disable=quiet or None, leave=False)
    for k, (batch, kinds) in enumerate(bar):
        share = (run.epoch + k / len(chunks)) / recipe.epochs
        for group in run.optimizer.param_groups:
            group["lr"] = recipe.rate * (FURTHER if recipe.start else 1) * pace(share)
        total += _step(run, batch, kinds, recipe=recipe) * len(kinds)
    run.epoch += 1
    return total / len(order)


def _batches(
    cells: Cells, chunks: Sequence[NDArray[np.int64]], spec: InputSpec, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in order, each made while the one before is being learnt."""

    def one(chunk: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        crops = augment(cells.crops[chunk], spec.size, spec.um_per_pixel, Jitter(), rng)
        return torch.from_numpy(to_batch(crops, spec)), torch.from_numpy(cells.kinds[chunk])

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one, chunks[0])
        for chunk in chunks[1:]:
            ready = waiting.result()
            waiting = pool.submit(one, chunk)
            yield ready
        yield waiting.result()


def _step(run: Run, batch: Tensor, kinds: Tensor, *, recipe: Recipe) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        scores = run.taught(batch.contiguous(memory_format=torch.channels_last))
    loss = _loss(run.taught, scores.float(), kinds, smoothing=recipe.smoothing)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.taught.parameters(), LONGEST_GRADIENT)
    run.optimizer.step()
    _average(run, recipe.average)
    return float(loss.detach())


def _loss(taught: Taught, scores: Tensor, kinds: Tensor, *, smoothing: float) -> Tensor:
    """Cross entropy of each cell among the kinds of its own data set; mean over the cells."""
    total = scores.sum() * 0
    for dataset in dict.fromkeys(kind.dataset for kind in taught.kinds):
        own = torch.tensor(taught.own(dataset))
        rows = (kinds[:, None] == own).any(1).nonzero()[:, 0]
        if len(rows):
            truth = (kinds[rows][:, None] == own).to(torch.int64).argmax(1)
            among = nn.functional.cross_entropy(scores[rows][:, own], truth, label_smoothing=smoothing)
            total = total + among * len(rows)
    return total / len(kinds)


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    """Move the mean towards the network; faster at first, or it would remember its random start."""
    steps = int(run.optimizer.state[next(run.taught.parameters())]["step"])
    kept = min(decay, (1 + steps) / (10 + steps))
    for mean, now in zip(run.mean.state_dict().values(), run.taught.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - kept)
        else:
            mean.copy_(now)
