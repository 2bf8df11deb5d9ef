"""From what every activation was to the range that INT8 must cover: one function per method.

To add one: a function and a line in ``METHODS``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from contract.types import Tensor

Activations: TypeAlias = Iterable[Mapping[str, Tensor]]
"""Per batch, every activation by tensor name. May be walked more than once."""
Ranges: TypeAlias = dict[str, tuple[float, float]]
"""By tensor name, the smallest and the largest value to cover."""


def minmax(activations: Activations) -> Ranges:
    """Smallest and largest value seen: nothing is clipped."""
    ranges: Ranges = {}
    for batch in activations:
        for name, values in batch.items():
            low, high = ranges.get(name, (float("inf"), float("-inf")))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


METHODS: dict[str, Callable[[Activations], Ranges]] = {"minmax": minmax}
