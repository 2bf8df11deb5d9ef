"""Linear scores of two classes: logistic regression, and Fisher's discriminant that serves the hardest people.

Rows are standardised features; shares are the rows' weights.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import Labels, Numbers

STEPS, CLOSE = 25, 1e-4
"""Newton's method ends after so many steps, or with a step that small."""
SPREAD = 0.05
"""Added to the variance of each feature within the classes, for the discriminant."""
ROUNDS, RATE, LIGHTEST, HEAVIEST = 4, 1.0, 0.1, 10.0
"""How often the weights of people are chosen again by their loss; how fast they change, and between which bounds."""
LEAST = 1e-6
"""Penalty of the scale that makes a discriminant's score a log-odds."""


def logistic(
    rows: Numbers, truth: Labels, share: Numbers, *, penalty: float, given: Numbers | float = 0.0
) -> tuple[Numbers, float]:
    """Weights and bias of a logistic regression with L2 penalty, by Newton's method.

    Args:
        rows: (N, features), standardised.
        truth: (N,) 0 or 1.
        share: (N,) weights of the rows that sum to one.
        penalty: of half the squared weights, twice.
        given: (N,) what is known before: the log-odds to which the fitted ones are added.
    """
    wide = np.column_stack([rows, np.ones(len(rows))])
    rough = wide.astype(np.float32)  # the slope alone must be exact; the curvature only says how far to go
    held = np.append(np.full(rows.shape[1], 2 * penalty), 1e-9)
    found = np.zeros(wide.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(given + wide @ found, -40, 40)))
        slope = wide.T @ (share * (chance - truth)) + held * found
        bend = (share * np.maximum(chance * (1 - chance), 1e-6)).astype(np.float32)
        curve = ((rough * bend[:, None]).T @ rough).astype(np.float64)
        step = np.linalg.solve(curve + np.diag(held), slope)
        found -= step
        if np.abs(step).max() < CLOSE:
            break
    return found[:-1], float(found[-1])


def discriminant(
    rows: Numbers, truth: Labels, share: Numbers, owners: NDArray[np.int64], *, nuisance: Numbers | float = 0.0
) -> tuple[Numbers, float]:
    """Weights and bias of a linear discriminant (R. A. Fisher, Annals of Eugenics 7, 1936), its score a log-odds.

    Groups of rows on which it does badly count for more in the next round, so that it serves all people and not the
    mean cell (group distributionally robust optimisation: Sagawa et al., ICLR 2020).

    Args:
        rows: (N, features), standardised.
        truth: (N,) 0 or 1; both are there.
        share: (N,) weights of the rows, half of their sum in either class.
        owners: (N,) number of the person whose each row is.
        nuisance: (features, features) covariance of what must not count, beside that within the classes.
    """
    _, group = np.unique(np.stack([owners, truth]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    heed = np.ones(int(group.max()) + 1)
    for _ in range(ROUNDS):
        weight = _balanced(share * heed[group], truth)
        slope, bias = _fisher(rows, truth, weight, nuisance)
        score = rows @ slope + bias
        loss = np.logaddexp(0, np.where(truth == 1, -score, score))
        mean = np.bincount(group, share * loss) / np.bincount(group, share)
        heed = heed * np.exp(RATE * (mean - mean.mean()))
        heed = np.clip(heed / heed.mean(), LIGHTEST, HEAVIEST)
    return slope, bias


def _fisher(rows: Numbers, truth: Labels, share: Numbers, nuisance: Numbers | float) -> tuple[Numbers, float]:
    means = np.stack([2 * (share[truth == k] @ rows[truth == k]) for k in (0, 1)])
    beside = rows - means[truth]
    within = (beside * share[:, None]).T @ beside + nuisance
    slope = np.linalg.solve(within + SPREAD * np.eye(len(within)), means[1] - means[0])
    score = (rows - means.mean(axis=0)) @ slope
    (scale,), bias = logistic(score[:, None], truth, share, penalty=LEAST)
    return slope * scale, float(bias - scale * (means.mean(axis=0) @ slope))


def _balanced(share: Numbers, truth: Labels) -> Numbers:
    """Weights of which either class has half."""
    return np.asarray(share / (2 * np.bincount(truth, share))[truth], np.float64)
