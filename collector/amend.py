"""What later reports say of the cells in earlier ones: taken back, or known by another name.

See ``withdraws`` and ``joined`` of ``contract.messages.FrameReport``.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa
from pydantic import ValidationError

from collector.tables import report
from contract.messages import FrameReport

_NUMBERED = re.compile(r"(.*)-c([0-9]{1,18})", re.DOTALL)


class Names:
    """Each name that is gone, and the one under which the cell goes on."""

    def __init__(self, gone: Mapping[str, str]) -> None:
        self._gone, self._last = gone, dict[str, str]()

    def and_then(self, same: Mapping[str, str]) -> "Names":
        """These, and later ones."""
        return Names({**self._gone, **same})

    def last(self, name: str) -> str:
        """The name under which a cell goes on; names that lead in a circle are nobody's, and end nevertheless."""
        way = dict[str, None]()
        while name in self._gone and name not in way and name not in self._last:
            way[name] = None
            name = self._gone[name]
        end = self._last.get(name, name)
        self._last.update(dict.fromkeys(way, end))
        return end


class _Mark(NamedTuple):
    """Cells from number ``first`` on, by the ``names`` of then, are taken back in reports before number ``before``."""

    first: int
    before: int
    names: Names


@dataclass(slots=True)
class Amended:
    """The cells of one count as its later reports leave them; ``add`` those in the order of their numbers."""

    _names: Names = field(default_factory=lambda: Names({}))
    _marks: dict[int, _Mark] = field(default_factory=dict)
    """By the first number; what is said again replaces what was said."""

    def add(self, message: FrameReport) -> None:
        """Note what a report says of those before it."""
        if message.joined:
            self._names = self._names.and_then(message.joined.same)
        if first := parted(message.withdraws)[1]:
            self._marks[first] = _Mark(first, message.seq, self._names)

    def name(self, object_id: str) -> str:
        """The name under which a cell goes on."""
        return self._names.last(object_id)

    def took_back(self, object_id: str, seq: int) -> bool:
        """Whether what report ``seq`` says of a cell does not count."""
        return any(
            seq < mark.before and parted(mark.names.last(object_id))[1] >= mark.first for mark in self._marks.values()
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
        try:
            message = FrameReport.model_validate_json(body)
        except ValidationError:  # an earlier release took more
            continue
        spoken_of = [message.withdraws, *(message.joined.same if message.joined else ())]
        for count in {parted(name)[0] for name in spoken_of}:
            found[message.device, message.epoch, count].add(message)
    return found


def parted(object_id: str) -> tuple[str, int]:
    """Count and number of a cell's name, `<count>-c<number>`; number 0 of a name that has none."""
    found = _NUMBERED.fullmatch(object_id)
    return (found[1], int(found[2])) if found else (object_id, 0)


def _says(key: str, nothing: str) -> sa.ColumnElement[bool]:
    """Few reports do; they are sought by their text, as no column tells them."""
    return sa.and_(report.c.body.contains(key), sa.not_(report.c.body.contains(nothing)))
