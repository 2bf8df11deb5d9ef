"""What is drawn over a picture: where each cell lies, what it is called, and how sure that is."""

from typing import NamedTuple

from contract.labels import Label
from contract.messages import CellReport, FrameReport


class Outline(NamedTuple):
    """The box of a cell in pixels of the frame, with what is written beside it."""

    x: int
    y: int
    width: int
    height: int
    label: Label
    name: str
    probability: float | None


def outlines(report: FrameReport) -> list[Outline]:
    """The cells of a frame."""
    return [_outline(cell) for cell in report.cells]


def _outline(cell: CellReport) -> Outline:
    box = cell.box
    name = cell.object_id.rpartition("-")[2] or cell.cell_id.rpartition("-")[2]
    return Outline(box.x, box.y, box.width, box.height, cell.label, name, cell.probability)
