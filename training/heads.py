"""The heads: linear in the trunk's features, one for each kind of blast, one for what is no cell to be judged.

Each is a logistic regression with L2 penalty on standardised features, or a discriminant (`training.linear`). A kind of
blast has two heads, and the lesser of their scores counts: one for the blasts of that kind beside the normal cells of
the same laboratories, one beside those of all others (`training.laboratories` draws more of them). One head for both
would either know the laboratory, or tell less well what is alike. Blasts of other kinds are left out: both kinds may
call them blasts.

The distance is that to the training's cells, in the directions in which they spread most, in units of their spread
(Mahalanobis 1936): 1 is the mean over the training's cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import UsageError
from contract.manifest import BLASTS, OTHER, ClassName, Columns
from evaluation.datasets.sample import Sample
from evaluation.metrics import Labels, Numbers
from training.linear import discriminant, logistic
from training.network import Architecture, BlastNet
from training.sizes import Changes

PENALTY = 0.01
"""Of the squared weights, where the cells' weights sum to one."""
FINE: frozenset[ClassName] = frozenset(("lymphoblast",))
"""Kinds that small differences of texture tell, which differ from person to person: their heads are discriminants."""
SIZES = 1.5
"""How much more than it varies within a class counts what a cell's features change by where it is drawn 5 % larger."""
DIRECTIONS = 64


@dataclass(frozen=True, slots=True)
class Heads:
    """What is linear in the features.

    Attributes:
        columns: what stands where in the scores.
        weight: (classes, features) of each column's first head.
        bias: (classes,).
        second: (classes, features) of its second; where there is one head alone, the same again.
        second_bias: (classes,).
        gate: (directions, features) of the distance; no rows where there is none.
        gate_bias: (directions,).
    """

    columns: Columns
    weight: Numbers
    bias: Numbers
    second: Numbers
    second_bias: Numbers
    gate: Numbers
    gate_bias: Numbers

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores of cells, (N, columns.width), from (N, features)."""
        rows = np.asarray(features, np.float64)
        found = np.minimum(rows @ self.weight.T + self.bias, rows @ self.second.T + self.second_bias)
        if self.columns.distance:
            along = rows @ self.gate.T + self.gate_bias
            found = np.column_stack([found, np.square(along).mean(axis=1)])
        return found.astype(np.float32)

    def on(self, trunk: BlastNet) -> BlastNet:
        """A copy of a network with these heads."""
        twice = not np.array_equal(self.weight, self.second) or not np.array_equal(self.bias, self.second_bias)
        own_shape = {"classes": len(self.weight), "directions": len(self.gate), "twice": twice}
        network = BlastNet(Architecture(**asdict(trunk.shape) | own_shape))
        kept = {k: v for k, v in trunk.state_dict().items() if not k.startswith(("head.", "second.", "gate."))}
        own = {"head.weight": self.weight, "head.bias": self.bias}
        if twice:
            own |= {"second.weight": self.second, "second.bias": self.second_bias}
        if self.columns.distance:
            own |= {"gate.weight": self.gate, "gate.bias": self.gate_bias}
        network.load_state_dict(kept | {k: torch.from_numpy(v.astype(np.float32)) for k, v in own.items()})
        return network.eval()


def trainable(samples: Sequence[Sample]) -> list[Sample]:
    """Those that heads are fitted on: normal cells, blasts and what is no cell to be judged, in a fixed order."""
    return sorted((s for s in samples if s.labelled or s.label == OTHER), key=lambda s: s.path)


def columns_of(samples: Sequence[Sample]) -> Columns:
    """The columns that heads fitted on these cells have.

    Raises:
        UsageError: there is no normal cell, or no blast.
    """
    labels = {s.label for s in samples}
    kinds: list[ClassName] = [name for name in BLASTS if name in labels]
    if "normal" not in labels or not kinds:
        raise UsageError("heads need normal cells and blasts; add images of the class that is missing")
    if "blast" in kinds:
        kinds = ["blast"]  # of some cells the lineage is not known, so that nothing can be said of it
    others: list[ClassName] = [OTHER] if OTHER in labels else []
    return Columns(("normal", *kinds, *others), distance=bool(others))


def fit_heads(features: NDArray[np.floating], samples: Sequence[Sample], sizes: Changes | None = None) -> Heads:
    """Fit the heads.

    Args:
        features: (N, features) of the cells.
        samples: (N,) which these are; see ``trainable``.
        sizes: what a wrong scale changes in some of them, for kinds of ``FINE``.

    Raises:
        UsageError: there is no normal cell, or no blast.
    """
    columns = columns_of(samples)
    rows = np.asarray(features, np.float64)
    judged = np.array([s.labelled for s in samples])
    mean, spread = rows[judged].mean(axis=0), rows[judged].std(axis=0) + 1e-6
    scaled = (rows - mean) / spread
    _, people = np.unique([f"{s.dataset}/{s.patient}" for s in samples], return_inverse=True)
    weight, bias = np.zeros((2, len(columns.names), rows.shape[1])), np.zeros((2, len(columns.names)))
    for k, name in enumerate(columns.names):
        if name != "normal":
            nuisances = _nuisances(sizes, name, spread) if sizes and name in FINE else []
            for which, (truth, share) in enumerate(_roles(samples, name)):
                use = share > 0
                if name in FINE:
                    nuisance = nuisances[which] if which < len(nuisances) else 0.0
                    slope, weight_0 = discriminant(scaled[use], truth[use], share[use], people[use], nuisance=nuisance)
                else:
                    slope, weight_0 = logistic(scaled[use], truth[use], share[use], penalty=PENALTY)
                weight[which:, k] = slope / spread
                bias[which:, k] = weight_0 - (slope / spread) @ mean
    heads = Heads(columns, weight[0], bias[0], weight[1], bias[1], np.zeros((0, rows.shape[1])), np.zeros(0))
    if not columns.distance:
        return heads
    along = _directions(scaled[judged], _alike([s for s in samples if s.labelled]))
    return replace(heads, gate=along / spread, gate_bias=-(along / spread) @ mean)


def calibrated(heads: Heads, features: NDArray[np.floating], samples: Sequence[Sample]) -> Heads:
    """The same heads, the score of each kind of blast made a log-odds on its own data sets (Platt 1999).

    Each kind gets a scale and an offset of its own, so that one threshold is right for data sets of either kind. A
    kind's second head, beside the normal cells of others, stays as it is.

    Args:
        heads: fitted on other cells.
        features: (N, features) of cells that the heads have not seen.
        samples: (N,) which these are.
    """
    weight, bias = heads.weight.copy(), heads.bias.copy()
    scores = np.asarray(features, np.float64) @ weight.T + bias
    for k in heads.columns.blasts:
        name = heads.columns.names[k]
        home = {s.dataset for s in samples if _is(s, name)}
        use = np.array([s.dataset in home and (_is(s, name) or s.kind == "normal") for s in samples])
        truth = np.array([_is(s, name) for s in samples], np.int64)[use]
        if 0 < truth.sum() < len(truth):
            share = np.full(len(truth), 1 / len(truth))
            (scale,), offset = logistic(scores[use, k : k + 1], truth, share, penalty=1e-4)
            if scale > 0:
                weight[k] *= scale
                bias[k] = bias[k] * scale + offset
    second, second_bias = heads.second.copy(), heads.second_bias.copy()
    single = (heads.second == heads.weight).all(axis=1)
    second[single], second_bias[single] = weight[single], bias[single]
    return replace(heads, weight=weight, bias=bias, second=second, second_bias=second_bias)


def _nuisances(sizes: Changes, name: ClassName, spread: Numbers) -> list[Numbers]:
    """For each head of a class that there are such cells for: the covariance of what a wrong scale changes."""
    changes = sizes.features / spread
    return [SIZES * (changes * share[:, None]).T @ changes for _, share in _roles(sizes.samples, name)]


def _is(sample: Sample, name: ClassName) -> bool:
    """Whether a cell is of a class; a blast of any kind is a `blast`."""
    return sample.label in BLASTS if name == "blast" else sample.label == name


def _roles(samples: Sequence[Sample], name: ClassName) -> Iterator[tuple[Labels, Numbers]]:
    """For each head of a class (N,) whether a cell is of it, and its weight in the fit; 0 is left out.

    Blasts and normal cells weigh alike. A kind of blast has a head for each of the two sorts of normal cells that there
    are: of data sets with such blasts, and of others.
    """
    truth, share = np.array([_is(s, name) for s in samples], np.int64), _alike(samples)
    if name == OTHER:
        yield truth, _weights(share, [(truth == 1, 0.5), (np.array([s.labelled for s in samples]), 0.5)])
        return
    home = {s.dataset for s in samples if _is(s, name)}
    normal, at_home = (np.array([s.kind == "normal" for s in samples]), np.array([s.dataset in home for s in samples]))
    for against in (normal & at_home, normal & ~at_home):
        if against.any():
            yield truth, _weights(share, [(truth == 1, 0.5), (against, 0.5)])


def _weights(share: Numbers, parts: Sequence[tuple[NDArray[np.bool_], float]]) -> Numbers:
    """(N,) of which each part has its mass."""
    found = np.zeros(len(share))
    for use, mass in parts:
        if use.any() and mass:
            found[use] = mass * share[use] / share[use].sum()
    return np.asarray(found / found.sum(), np.float64)


def _alike(samples: Sequence[Sample]) -> Numbers:
    """(N,) weights: the cells of each data set and class weigh alike, patients by the root of their cells."""
    owners = [f"{s.dataset}/{s.label}/{s.patient}" for s in samples]
    _, place, count = np.unique(owners, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(count[place])
    _, part = np.unique([f"{s.dataset}/{s.label}" for s in samples], return_inverse=True)
    return np.asarray(weights / np.bincount(part, weights)[part])


def _directions(rows: Numbers, weights: Numbers) -> Numbers:
    """(directions, features): along each, the standardised cells spread by one."""
    weights = weights / weights.sum()
    curve = (rows * weights[:, None]).T @ rows
    spread, along = np.linalg.eigh(curve)
    most = np.argsort(-spread)[: min(DIRECTIONS, len(rows) - 1)]
    return np.asarray(along[:, most].T / np.sqrt(np.maximum(spread[most], 1e-9))[:, None])
