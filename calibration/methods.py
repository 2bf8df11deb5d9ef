"""From what an activation was to the range that INT8 must cover: one function per method.

Each takes the ``Histogram`` of one tensor that was not always zero, and returns the largest magnitude to cover; what
lies beyond is clipped.
INT8 is symmetric here, so magnitudes are all that matters.

To add one: a function and a line in ``METHODS``. Keyword-only arguments with a default are its parameters.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import Histogram
from common.errors import UsageError

Range: TypeAlias = tuple[float, float]
"""The smallest and the largest value to cover."""
Method: TypeAlias = Callable[..., float]

AUTO = "auto"
"""Stands for the picked method where a method is named."""
LEVELS = 127
"""Largest INT8 magnitude."""
NEARLY = 1e-9
"""Nats by which sums may round."""
KL_BINS = 2048
KL_LEVELS = 128
CANDIDATES = 256


def minmax(seen: Histogram) -> float:
    """Everything that was seen: nothing is clipped."""
    return seen.magnitude


def percentile(seen: Histogram, *, share: float = 99.999) -> float:
    """Cover at least ``share`` percent of the values."""
    if not 0 < share <= 100:  # noqa: PLR2004 - percent
        raise UsageError(f"percentile needs a share over 0 and up to 100, not {share}")
    wanted = np.ceil(share / 100 * seen.counts.sum())
    return _edge(seen, int(np.searchsorted(np.cumsum(seen.counts), wanted)) + 1)


def mse(seen: Histogram) -> float:
    """The range with the least mean squared error of quantising, of ``CANDIDATES`` equally spaced ones."""
    counts = seen.counts[: seen.used]
    middles = np.asarray((np.arange(len(counts)) + 0.5) * seen.width, np.float64)
    present = counts > 0
    counts, middles = counts[present], middles[present]
    edges = seen.magnitude * np.arange(1, CANDIDATES + 1) / CANDIDATES
    errors = [float(counts @ _rounding(middles, edge) ** 2) for edge in edges]
    return float(edges[int(np.argmin(errors))])


def entropy(seen: Histogram) -> float:
    """The range whose INT8 histogram loses least information, by Kullback-Leibler divergence (Migacz, GTC 2017).

    2048 bins and 128 levels, every cut from 128 bins on, as TensorRT's calibrator did. Its weakness: it weighs a value
    by how often it comes, not by how large it is. Rare large activations are what a small network decides by, and it
    clips them; measured on the shipped one, it is by far the worst method (docs/decisions/0006-own-quantiser.md).
    """
    counts = _rebinned(seen, KL_BINS)
    cuts = np.arange(KL_LEVELS, KL_BINS + 1)
    nearly = _divergences(counts, cuts)
    cuts = cuts[nearly <= nearly.min() + NEARLY]  # as sums round, any of these may be the least
    return seen.magnitude * int(min(cuts, key=lambda cut: _divergence(counts, cut))) / KL_BINS


METHODS: Mapping[str, Method] = {"minmax": minmax, "percentile": percentile, "entropy": entropy, "mse": mse}
"""By name, as in `calibration.json` and on the command line."""


def parameters_of(method: str, given: Mapping[str, float] | None = None) -> dict[str, float]:
    """Every parameter of a method, those given and the defaults of the others.

    Raises:
        UsageError: no such method or parameter.
    """
    if method not in METHODS:
        raise UsageError(f"there is no calibration method {method!r}; choose from {', '.join(METHODS)}")
    arguments = inspect.signature(METHODS[method]).parameters.values()
    known = {a.name: float(a.default) for a in arguments if a.kind is a.KEYWORD_ONLY}
    if strange := sorted(set(given or {}) - set(known)):
        raise UsageError(f"method {method} has no parameter {strange[0]!r}; it has {', '.join(known) or 'none'}")
    return {**known, **(given or {})}


def range_of(seen: Histogram, method: str, parameters: Mapping[str, float] | None = None) -> Range:
    """The range of one tensor by one method: within what was seen, and its ends in order."""
    if not seen.magnitude:
        return 0.0, 0.0
    reach = METHODS[method](seen, **parameters_of(method, parameters))
    low, high = np.clip((-reach, reach), seen.low, seen.high)
    return float(low), float(high)


def _edge(seen: Histogram, bins: int) -> float:
    return min(bins * seen.width, seen.magnitude)


def _rounding(values: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """By how much INT8 misses each magnitude when its range ends at ``reach``."""
    scale = reach / LEVELS
    return np.asarray(values - np.minimum(np.rint(values / scale), LEVELS) * scale)


def _rebinned(seen: Histogram, bins: int) -> NDArray[np.float64]:
    """The same histogram in ``bins`` equal bins that end at the largest magnitude; bins move by their middles."""
    middles = (np.arange(seen.used) + 0.5) * seen.width
    where = np.minimum(middles / seen.magnitude * bins, bins - 1).astype(np.intp)
    return np.asarray(np.bincount(where, weights=seen.counts[: seen.used], minlength=bins), np.float64)


def _divergences(counts: NDArray[np.float64], cuts: NDArray[np.intp]) -> NDArray[np.float64]:
    """``_divergence`` of every cut but for how its sums round, (C,) for cuts (C,): by sums up to each bin."""
    upto, present = np.append(0, np.cumsum(counts)), np.append(0, np.cumsum(counts > 0))
    there = np.maximum(counts, 1e-300)
    information = np.append(0, np.cumsum(counts * np.log(there)))
    edges = np.arange(KL_LEVELS + 1) * cuts[:, None] // KL_LEVELS
    beyond = upto[-1] - upto[cuts]
    last = counts[cuts - 1]
    sums = np.diff(upto[edges])
    filled = np.diff(present[edges])
    filled[:, -1] += (last == 0) & (beyond > 0)  # what lies beyond is counted in the last bin
    even = sums / np.maximum(filled, 1) / np.maximum(upto[cuts], 1e-300)[:, None]
    weights = sums.copy()
    weights[:, -1] += beyond
    ends = last + beyond
    own = information[cuts - 1] + ends * np.log(np.maximum(ends, 1e-300))
    lost = own - upto[-1] * np.log(upto[-1]) - (weights * np.log(np.maximum(even, 1e-12))).sum(axis=1)
    return np.where(upto[cuts] > 0, lost / upto[-1], np.inf)


def _divergence(counts: NDArray[np.float64], cut: int) -> float:
    """How much worse 128 levels over the first ``cut`` bins tell the values than the bins do, in nats.

    What lies beyond the cut is counted in the last bin of the original and in none of the quantised one, which is what
    makes clipping cost anything.
    """
    kept = counts[:cut]
    original = kept.copy()
    original[-1] += counts[cut:].sum()
    starts = np.arange(KL_LEVELS) * cut // KL_LEVELS
    sums = np.add.reduceat(kept, starts)
    filled = np.add.reduceat((original > 0).astype(float), starts)
    sizes = np.diff(starts, append=cut)
    even = np.repeat(sums / np.maximum(filled, 1), sizes)
    quantised = np.where(original > 0, even, 0)
    total = quantised.sum()
    there = original > 0
    if not total:
        return float("inf")
    p = original[there] / original.sum()
    q = np.maximum(quantised[there] / total, 1e-12)
    return float((p * np.log(p / q)).sum())
