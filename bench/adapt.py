"""What a hundred of a laboratory's own cells are worth: heads that have never seen it, before and after.

    python -m bench.adapt BUNDLE MIXTURE.toml [--laboratory cnmc]

Heads are fitted on the mixture's training cells without the laboratory, on the bundle's INT8 features. A hundred of its
cells, of half of its people, adapt them (training/adapt.py); the cells of the other half judge. Ten draws.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.arguments import place
from common.errors import UsageError
from contract.decide import margins_of
from contract.trust_options import add_trust, trust_from
from contract.types import Tensor
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_found
from evaluation.datasets.sample import Sample, labels_of
from evaluation.folds import group_numbers
from evaluation.metrics import Labels, auroc
from training.adapt import fitted
from training.augment import TURNS, quarter_turns
from training.heads import fit_heads, trainable
from training.judge import Judge, open_judge
from training.laboratories import foreign_features
from training.refit import features_of

CELLS, DRAWS = 100, 10
LEAST = 20
"""Cells of each class that must be left to judge by."""


def gains(judge: Judge, file: Path, laboratory: str) -> Mapping[str, float]:
    """Mean AUROC over the draws, before and after, and the least and largest gain.

    Raises:
        UsageError: no cell of the mixture is of that laboratory.
    """
    samples = LAYOUTS["mixture"].find(file)
    own = sorted((s for s in samples if s.dataset == laboratory and s.labelled), key=lambda s: s.path)
    rest = [s for s in trainable(samples) if s.dataset != laboratory and s.split == "training"]
    if not own:
        raise UsageError(f"{file} holds no labelled cells of {laboratory}; name one of its layouts")
    elsewhere, places = foreign_features(lambda views: features_of(judge, views, judge.spec), rest, judge.spec)
    owners = [rest[k] for k in places]
    known, rest = _features(judge, rest)
    heads = fit_heads(np.concatenate([*known, *elsewhere]), [*rest * TURNS, *owners])
    features, own = _features(judge, own)
    labels, people = labels_of(own), group_numbers(own)
    before = margins_of(heads.scores(features[0]), heads.columns)
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        use, held = _dealt(labels, people, rng)
        adapted = fitted(heads, np.concatenate(features[:, use]), [own[int(k)] for k in use] * TURNS)
        after = margins_of(adapted.scores(features[0, held]), heads.columns)
        found.append((auroc(labels[held], before[held]), auroc(labels[held], after)))
    old, new = np.array(found).T
    gain = new - old
    return {
        "auroc_before": float(old.mean()),
        "auroc_after": float(new.mean()),
        "gain": float(gain.mean()),
        "gain_least": float(gain.min()),
        "gain_largest": float(gain.max()),
    }


def _features(judge: Judge, samples: list[Sample]) -> tuple[Tensor, list[Sample]]:
    """(TURNS, N, features) of the samples in which a cell is found, and these."""
    crops, there = read_found(samples, judge.spec, colours=judge.colours)
    kept = [s for s, found in zip(samples, there, strict=True) if found]
    rows = features_of(judge, quarter_turns(crops[there]), judge.spec)
    return rows.reshape(TURNS, len(kept), -1), kept


def _dealt(labels: Labels, people: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Cells to adapt on, half of them blasts, of half of the people; and the cells of the others."""
    while True:
        names = rng.permutation(np.unique(people))
        chosen = np.isin(people, names[: len(names) // 2])
        parts = [np.flatnonzero(chosen & (labels == kind)) for kind in (0, 1)]
        left = [int((~chosen & (labels == kind)).sum()) for kind in (0, 1)]
        if min(map(len, parts)) >= CELLS // 2 and min(left) >= LEAST:
            drawn = [rng.choice(rows, CELLS // 2, replace=False) for rows in parts]
            return np.concatenate(drawn), np.flatnonzero(~chosen)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser("python -m bench.adapt", description=__doc__)
    parser.add_argument("bundle", type=place)
    parser.add_argument("mixture", type=place)
    parser.add_argument("--laboratory", choices=sorted(LAYOUTS), default="cnmc", help="whose cells are held out")
    add_trust(parser)
    given = parser.parse_args()
    for name, value in gains(open_judge(given.bundle, trust_from(given)), given.mixture, given.laboratory).items():
        sys.stdout.write(f"{name:20} {value:.4f}\n")


if __name__ == "__main__":
    main()
