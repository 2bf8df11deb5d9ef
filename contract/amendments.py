"""What reports say of the cells in earlier ones: some are taken back, and some go on under another name.

The one reader of ``withdraws`` and ``joined`` of ``contract.messages.FrameReport``. ``Amendment.name`` follows one
report, for who reads reports in their order; ``Amendments.name`` follows many, for who reads cells in any order.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from contract.messages import FrameReport

_OBJECT_ID = re.compile(r"(.*)-c([0-9]{1,18})", re.DOTALL)


class CellNumber(NamedTuple):
    """An `object_id`, `<count_id>-c<number>`, in its parts."""

    count_id: str
    number: int


class Amendment(NamedTuple):
    """What one report says of the cells in reports of the same device and epoch with a lower ``seq``.

    Attributes:
        seq: number of the report.
        withdraws: `object_id` of the first cell that is taken back, with all that have a higher number of the same
            count; empty: none is taken back.
        same: each `object_id` that is gone, and the one under which the cell goes on.
    """

    seq: int
    withdraws: str
    same: Mapping[str, str]

    def name(self, object_id: str) -> str | None:
        """The name under which a cell of an earlier report goes on; None if the cell is taken back."""
        first = cell_number(self.withdraws)
        if first and (cell := cell_number(object_id)) and cell.count_id == first.count_id and cell >= first:
            return None
        return self.same.get(object_id, object_id)


class Amendments:
    """What the reports of one device and epoch say of each other's cells."""

    def __init__(self) -> None:
        self._withdrawals = defaultdict[str, list[tuple[int, int]]](list)
        """By count: number of the report, number of the first cell."""
        self._renamed = defaultdict[str, list[tuple[int, str]]](list)
        """By name: number of the report, and the name from then on."""
        self._withdrawn = ""
        """The ``withdraws`` of the latest amendment, if that renamed nothing."""

    def add(self, amendment: Amendment) -> None:
        """Note an amendment; they come in the order of ``seq``."""
        if first := cell_number(amendment.withdraws):
            known = self._withdrawals[first.count_id]
            if amendment.withdraws == self._withdrawn:  # it is said again until a frame is accepted
                known.pop()
            known.append((amendment.seq, first.number))
        for gone, stays in amendment.same.items():
            self._renamed[gone].append((amendment.seq, stays))
        self._withdrawn = "" if amendment.same else amendment.withdraws

    def name(self, object_id: str, seq: int) -> str | None:
        """The name under which a cell of report ``seq`` goes on; None if the cell is taken back."""
        while renamed := next((later for later in self._renamed.get(object_id, ()) if later[0] > seq), None):
            if self._is_withdrawn(object_id, seq, renamed[0]):
                return None
            seq, object_id = renamed
        return None if self._is_withdrawn(object_id, seq) else object_id

    def _is_withdrawn(self, object_id: str, after: int, upto: int | None = None) -> bool:
        """Whether a report after one, and up to another, takes the cell back."""
        cell = cell_number(object_id)
        return cell is not None and any(
            after < seq and (upto is None or seq <= upto) and cell.number >= first
            for seq, first in self._withdrawals.get(cell.count_id, ())
        )


def amendment_of(report: FrameReport) -> Amendment | None:
    """What a report says of the cells in earlier ones; None if nothing, as of most."""
    if not (report.withdraws or report.joined):
        return None
    return Amendment(report.seq, report.withdraws, report.joined.same if report.joined else {})


def cell_number(object_id: str) -> CellNumber | None:
    """An `object_id` in its parts; None if it has another form."""
    found = _OBJECT_ID.fullmatch(object_id)
    return CellNumber(found[1], int(found[2])) if found else None
