"""What is written beside a cell."""

from contract.labels import spoken
from contract.messages import CellReport
from contract.views import DOUBTS


def words_of(cell: CellReport) -> str:
    """Name on the slide, label, the probability of a cell that is judged, and why it is in doubt whatever that is."""
    name = cell.object_id.rpartition("-")[2]
    said = "" if cell.probability is None else f"{cell.probability:.2f}"
    doubts = [flag.replace("_", " ") for flag in cell.flags if flag in DOUBTS and cell.label == "uncertain"]
    why = f"({', '.join(doubts)})" if doubts else ""
    return f"{name} {spoken(cell.label)} {said} {why}".strip()
