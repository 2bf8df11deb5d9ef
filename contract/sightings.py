"""What the cells of many frames are called, as later reports leave them."""

from collections import Counter, deque

from contract.amendments import Amendment, amendment_of
from contract.messages import FrameReport

_REMEMBERED = 20_000


class Sightings:
    """Counts every sighting of a cell, one cell in three frames thrice; what an agent takes back counts no more.

    The latest 20 000 sightings can be taken back. An agent doubts fewer, unless it has never known its scale.

    Attributes:
        kinds: sightings by what the cell is called.
        taken_back: how many more there were.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.taken_back = 0
        self._latest: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
        self._withdrawn = ""

    def add(self, report: FrameReport) -> None:
        """Count a report's cells; reports come in the order of their numbers."""
        amendment = amendment_of(report)
        if amendment and (amendment.same or amendment.withdraws != self._withdrawn):
            self._amend(amendment)
        self._withdrawn = report.withdraws  # it is said with every frame until one is accepted
        for cell in report.cells:
            self.kinds[cell.label] += 1
            self._latest.append((cell.object_id, cell.label))

    def _amend(self, amendment: Amendment) -> None:
        earlier = list(self._latest)
        self._latest.clear()
        for object_id, label in earlier:
            name = amendment.name(object_id)
            if name is None:
                self.kinds[label] -= 1
                self.taken_back += 1
            else:
                self._latest.append((name, label))
