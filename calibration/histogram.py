"""What a tensor's values were over the whole sample: extremes and a histogram of magnitudes, in bounded memory."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.errors import CheckError
from contract.types import Tensor

BINS = 8192
"""Between half and all of them are in use, whatever the values are."""
NARROWEST = -100
"""Smallest exponent of a bin's width; below it scaling would overflow float32."""


@dataclass(slots=True)
class Histogram:
    """Collects values, batch by batch; the result does not depend on their order.

    A bin is ``2 ** exponent`` wide and the first starts at zero. When a value does not fit, neighbours are merged until
    it does: since widths are powers of two, every value then lies in the bin that it would have got from the start.

    Attributes:
        low: smallest value.
        high: largest value.
        counts: (BINS,) how many magnitudes fell into each bin.
        exponent: of two; the width of a bin.
    """

    low: float = float("inf")
    high: float = float("-inf")
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64), repr=False)
    exponent: int = NARROWEST

    @property
    def width(self) -> float:
        """Width of a bin."""
        return float(2.0**self.exponent)

    @property
    def magnitude(self) -> float:
        """Largest magnitude seen."""
        return max(abs(self.low), abs(self.high)) if self.counts.any() else 0.0

    @property
    def used(self) -> int:
        """How many bins there are up to the largest magnitude; at least one."""
        return int(self.magnitude / self.width) + 1

    def add(self, values: Tensor) -> None:
        """Count float32 values of any shape.

        Raises:
            CheckError: one of them is infinite or no number.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite((low, high)).all():
            raise CheckError("an activation is infinite or no number: the network is broken; train or export it again")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(exponent_for(max(abs(low), abs(high))))
        magnitudes = np.abs(values).ravel()
        magnitudes *= np.float32(2.0**-self.exponent)
        self.counts += np.bincount(magnitudes.astype(np.intp), minlength=BINS)

    def _widen(self, exponent: int) -> None:
        if exponent > self.exponent:
            merged = min(2 ** (exponent - self.exponent), BINS)
            sums = self.counts.reshape(-1, merged).sum(axis=1)
            self.counts = np.pad(sums, (0, BINS - len(sums)))
            self.exponent = exponent


def exponent_for(magnitude: float) -> int:
    """Exponent of the narrowest bins that hold a magnitude."""
    if not magnitude:
        return NARROWEST
    whole = int(np.frexp(magnitude)[1])  # magnitude < 2 ** whole
    return max(whole - (BINS.bit_length() - 1), NARROWEST)
