"""How far a command is, on a terminal."""

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
USUAL = 80, 24
"""Columns and rows of a terminal that does not know its size, as a serial console; with none no bar would be drawn."""


def with_bar(items: Iterable[Item], total: int | None = None, *, shown: bool) -> "tqdm[Item]":
    """Hand frames on, and draw a bar on standard error that says how many have come."""
    columns, rows = (None, None) if _knows_its_size() else USUAL
    return tqdm(items, total=total, unit="frame", disable=not shown, ncols=columns, nrows=rows)


def _knows_its_size() -> bool:
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except (AttributeError, OSError, ValueError):  # no terminal, or none any more
        return True
