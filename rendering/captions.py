"""What is written beside a cell."""

from typing import get_args

from contract.labels import spoken
from contract.messages import CellReport
from contract.types import Doubt

DOUBTS = frozenset(get_args(Doubt))
"""Flags of a cell that is `uncertain` whatever its probability."""


def words_of(cell: CellReport) -> str:
    """Name on the slide, label, the probability of a cell that is judged, and why it is in doubt whatever that is."""
    name = cell.object_id.rpartition("-")[2]
    said = "" if cell.probability is None else f"{cell.probability:.2f}"
    doubts = [flag.replace("_", " ") for flag in cell.flags if flag in DOUBTS and cell.label == "uncertain"]
    why = f"({', '.join(doubts)})" if doubts else ""
    return f"{name} {spoken(cell.label)} {said} {why}".strip()
