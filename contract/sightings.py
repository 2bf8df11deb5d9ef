"""What the cells of many frames are called, as later reports leave them."""

from collections import Counter, deque

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
        self._said = ""

    def add(self, report: FrameReport) -> None:
        """Count a report's cells; reports come in the order of their numbers."""
        if report.withdraws != self._said:  # it is said with every frame until one is accepted
            self._said = report.withdraws
            self._take_back(report)
        if report.joined:
            same = report.joined.same
            self._keep([(same.get(name, name), kind) for name, kind in self._latest])
        for cell in report.cells:
            self.kinds[cell.label] += 1
            self._latest.append((cell.object_id, cell.label))

    def _take_back(self, report: FrameReport) -> None:
        gone = [kind for name, kind in self._latest if report.takes_back(name)]
        self._keep([(name, kind) for name, kind in self._latest if not report.takes_back(name)])
        self.kinds.subtract(gone)
        self.taken_back += len(gone)

    def _keep(self, sightings: list[tuple[str, str]]) -> None:
        self._latest.clear()
        self._latest.extend(sightings)
