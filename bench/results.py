"""What a benchmark returns."""

from typing import TypeAlias

Figures: TypeAlias = dict[str, float | int | str]
