"""What later reports say of the cells in earlier ones: taken back, or known by another name.

See ``withdraws`` and ``joined`` of ``contract.messages.FrameReport``.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from collector.tables import report
from contract.messages import FrameReport

Names: TypeAlias = Mapping[str, str]
"""Each name that is gone, and the one under which the cell goes on."""


class _Mark(NamedTuple):
    """Cells from number ``first`` on, by the ``names`` of then, are taken back in reports before number ``before``."""

    first: int
    before: int
    names: Names


@dataclass(slots=True)
class Amended:
    """The cells of one count as its later reports leave them; ``add`` those in the order of their numbers."""

    _names: Names = field(default_factory=dict)
    _marks: dict[int, _Mark] = field(default_factory=dict)
    """By the first number; what is said again replaces what was said."""

    def add(self, message: FrameReport) -> None:
        """Note what a report says of those before it."""
        if message.joined:
            self._names = {**self._names, **message.joined.same}
        if first := parted(message.withdraws)[1]:
            self._marks[first] = _Mark(first, message.seq, self._names)

    def name(self, object_id: str) -> str:
        """The name under which a cell goes on."""
        return _followed(object_id, self._names)

    def took_back(self, object_id: str, seq: int) -> bool:
        """Whether what report ``seq`` says of a cell does not count."""
        return any(
            seq < mark.before and parted(_followed(object_id, mark.names))[1] >= mark.first
            for mark in self._marks.values()
        )


Amendments: TypeAlias = dict[tuple[str, str, str], Amended]
"""By device, epoch and count."""


def read_amendments(connection: sa.Connection, slide_id: str | None) -> Amendments:
    """What the stored reports say of each other's cells; of one slide, if it is named."""
    wanted = sa.or_(_says('"withdraws"', '"withdraws":""'), _says('"joined"', '"joined":null'))
    query = sa.select(report.c.body).where(wanted).order_by(report.c.device, report.c.epoch, report.c.seq)
    if slide_id is not None:
        query = query.where(report.c.slide_id == slide_id)
    found: Amendments = defaultdict(Amended)
    for (body,) in connection.execute(query):
        message = FrameReport.model_validate_json(body)
        spoken_of = [message.withdraws, *(message.joined.same if message.joined else ())]
        for count in {parted(name)[0] for name in spoken_of}:
            found[message.device, message.epoch, count].add(message)
    return found


def parted(object_id: str) -> tuple[str, int]:
    """Count and number of a cell's name, `<count>-c<number>`; number 0 of a name that has none."""
    count, _, number = object_id.rpartition("-c")
    return (count, int(number)) if number.isdecimal() else (object_id, 0)


def _followed(object_id: str, names: Names) -> str:
    for _ in range(len(names)):  # names that lead in a circle are nobody's, and end nevertheless
        if object_id not in names:
            break
        object_id = names[object_id]
    return object_id


def _says(key: str, nothing: str) -> sa.ColumnElement[bool]:
    """Few reports do; they are sought by their text, as no column tells them."""
    return sa.and_(report.c.body.contains(key), sa.not_(report.c.body.contains(nothing)))
