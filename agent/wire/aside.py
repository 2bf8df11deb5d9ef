"""Reports that the broker does not take for their size: kept in the outbox, passed over, told of in an alarm.

For consumers they are gone for as long as they stand aside, so that they wait for nothing.
"""

import sqlite3
from dataclasses import dataclass

ASIDE = "create table if not exists aside (place integer primary key, bytes integer not null, name text not null)"
"""An older release does not see the table, and sends in its turn what it names."""
_LINE = "create temp view line as select seq, body from report where seq not in (select place from aside)"
"""The reports that are to be sent."""


@dataclass(frozen=True, slots=True)
class Large:
    """A report that stands aside.

    Attributes:
        size: bytes of its packet.
        name: what people know it by.
    """

    size: int
    name: str


class Aside:
    """Which reports stand aside, by their places; the view ``line`` shows the others."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute(ASIDE)
        database.execute("drop view if exists temp.line")
        database.execute(_LINE)
        rows = database.execute("select place, bytes, name from aside join report on seq = place order by place")
        self.places = {int(place): Large(int(size), str(name)) for place, size, name in rows}

    def add(self, place: int, large: Large) -> None:
        """Let a report stand aside."""
        self._database.execute("insert or replace into aside values (?, ?, ?)", (place, large.size, large.name))
        self.places = {**self.places, place: large}

    def bring_back(self, largest: int) -> int:
        """Put those back into line that are no larger than this; how many."""
        back = {place for place, large in self.places.items() if large.size <= largest}
        self._database.executemany("delete from aside where place = ?", [(place,) for place in back])
        self.places = {place: large for place, large in self.places.items() if place not in back}
        return len(back)

    def alarms(self) -> list[str]:
        """What a person should see to, in words; nothing if none stands aside; any thread may ask."""
        large = list(self.places.values())
        if not large:
            return []
        others = f", and so have {len(large) - 1} others" if large[1:] else ""
        alarm = (
            f"{large[0].name} has {large[0].size} bytes, more than the broker takes{others}: kept, and the rest is "
            "sent; raise the broker's max_packet_size"
        )
        return [alarm]
