"""Which pictures are wanted, and where they go: the table `picture`, written by the thread that fetches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from collector import database, tables
from collector.held import HeldConnection
from collector.layouts import layout_of
from collector.tables import Row, insert_into
from common.errors import StoreError
from contract.requests import PictureInfo, PictureKind

MOST_WANTED = 500
"""Pictures that one look at the database finds, at most."""
_FULL, _EMPTIED = 0.85, 0.9
"""Shares of the bound: beyond the first, nothing is wanted that is older than what is here; when the bound is reached,
the oldest are deleted down to the second."""
_AT_ONCE = 20
"""Pictures that one transaction deletes: the thread that stores reports must not wait for it."""
_R, _C, _P = tables.report.c, tables.cell.c, tables.picture.c
_SILENT = "stale"
"""Reasons of a report that only says that the camera is silent: there is no picture."""


class NotMadeYet(StoreError):  # noqa: N818 - reads as what is so
    """The collector has not made its tables: it is about to, or waits for its database."""


class Wanted(NamedTuple):
    """A picture that is not here."""

    kind: PictureKind
    name: str
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture that has come, or that the agent does not have (``info`` is None)."""

    wanted: Wanted
    info: PictureInfo | None = None
    data: bytes = b""


class PictureTable:
    """The table of one collector, for one thread. Every method raises StoreError where the database can not be used.

    Args:
        url: SQLAlchemy's address of the database; another makes its tables.
        max_mb: bound of all pictures together, MiB.
        days: after which a picture is deleted, and no older one is wanted; by the time of capture.
    """

    def __init__(self, url: str, *, max_mb: int, days: float) -> None:
        self._connection = HeldConnection(url)
        self._bound_bytes, self._days = max_mb * 2**20, timedelta(days=days)
        self._bytes = 0
        """Of all pictures, as far as this program knows."""

    def close(self) -> None:
        """Let go of the database; the next call connects again."""
        self._connection.close()

    @contextmanager
    def _work(self) -> Iterator[sa.Connection]:
        """A transaction; what goes wrong in it becomes a StoreError, and the connection is given up."""
        try:
            if self._connection.has_moved:
                self.close()  # what is written to a file that was replaced is lost
            connection = self._connection.connected(_check_layout)
            with connection.begin():
                yield connection
        except (SQLAlchemyError, *database.FAULTS) as cause:
            self.close()
            said = database.said_by(cause)
            raise StoreError(
                f"no pictures are fetched: the database can not be used ({said}); reports go on"
            ) from cause

    def devices(self) -> dict[str, str]:
        """Every agent that was heard of, with the laboratory where it was heard last."""
        stream = tables.stream.c
        with self._work() as connection:
            wanted = sa.select(stream.device, stream.site).order_by(stream.received_at)
            return {row.device: row.site for row in connection.execute(wanted)}

    def newest(self) -> int:
        """The number of the newest report's row; 0 if there is none."""
        with self._work() as connection:
            return int(connection.scalar(sa.select(sa.func.max(_R.id))) or 0)

    def wanted(self, device: str, low: int, high: int) -> list[Wanted]:
        """Pictures that reports of an agent speak of and that are not here, the newest first; ``MOST_WANTED`` at most.

        Args:
            device: the agent.
            low: number of the first row of ``report`` that is looked at.
            high: number of the last.
        """
        with self._work() as connection:
            since = self._since(connection)
            here = (_R.device == device, _R.id.between(low, high), _R.captured_at >= since)
            cells = (
                sa.select(sa.literal("cell"), _C.cell_id, _R.captured_at)
                .join(tables.report, _R.id == _C.report_id)
                .where(*here, ~_is_here("cell", _C.cell_id))
                .order_by(_R.id.desc(), _C.number)
                .limit(MOST_WANTED)
            )
            found = [Wanted(*row) for row in connection.execute(cells)]
            frames = (
                sa.select(sa.literal("frame"), _R.frame_id, _R.captured_at)
                .where(*here, _R.reasons != _SILENT, ~_is_here("frame", _R.frame_id))
                .order_by(_R.id.desc())
                .limit(MOST_WANTED - len(found))
            )
            found += [Wanted(*row) for row in connection.execute(frames)]
        return found

    def keep(self, device: str, fetched: Sequence[Fetched]) -> None:
        """Store pictures; room is made for them by deleting the oldest."""
        with self._work() as connection:
            for row in (self._row(device, one) for one in fetched):
                insert = insert_into(connection, tables.picture)
                changes = {column.name: insert.excluded[column.name] for column in _P if column.name != "id"}
                unique = ["device", "kind", "name"]
                connection.execute(insert.on_conflict_do_update(index_elements=unique, set_=changes), row)
        self._bytes += sum(len(one.data) for one in fetched)
        if self._bytes > self._bound_bytes:
            self._bytes = self._held()
            wanted = _EMPTIED * self._bound_bytes
            while self._bytes > wanted and (freed := self._delete_oldest(_P.bytes > 0, most=self._bytes - wanted)):
                self._bytes -= freed

    def tidy(self) -> None:
        """Delete what is older than the days."""
        while self._delete_oldest(_P.captured_at < self._too_old()):
            pass
        self._bytes = self._held()

    def _too_old(self) -> datetime:
        return datetime.now(timezone.utc) - self._days

    def _since(self, connection: sa.Connection) -> datetime:
        """Nothing older is wanted: it would be deleted at once."""
        since = self._too_old()
        if self._bytes > _FULL * self._bound_bytes:
            oldest = connection.scalar(sa.select(sa.func.min(_P.captured_at)).where(_P.bytes > 0))
            if oldest is not None:
                since = max(since, oldest if oldest.tzinfo else oldest.replace(tzinfo=timezone.utc))
        return since

    def _held(self) -> int:
        with self._work() as connection:
            return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(_P.bytes), 0))) or 0)

    def _delete_oldest(self, which: sa.ColumnElement[bool], *, most: float = float("inf")) -> int:
        """Delete some of these, until so many bytes are free; 0 if there was none, else bytes and rows that went."""
        with self._work() as connection:
            oldest = sa.select(_P.id, _P.bytes).where(which).order_by(_P.captured_at).limit(_AT_ONCE)
            every = connection.execute(oldest).all()
        before = accumulate((int(size) for _, size in every), initial=0)
        found = [row for row, freed in zip(every, before, strict=False) if freed < most]
        with self._work() as connection:  # another: SQLite does not let a reader wait for the right to write
            connection.execute(sa.delete(tables.picture).where(_P.id.in_([number for number, _ in found])))
        return sum(int(size) for _, size in found) + len(found)

    @staticmethod
    def _row(device: str, one: Fetched) -> Row:
        about = one.info
        return {
            "device": device,
            "kind": one.wanted.kind,
            "name": one.wanted.name,
            "captured_at": one.wanted.captured_at,
            "fetched_at": datetime.now(timezone.utc),
            "bytes": len(one.data),
            "media_type": about.media_type if about else "",
            "width": about.width if about else 0,
            "height": about.height if about else 0,
            "um_per_pixel": about.um_per_pixel if about else 0.0,
            "box": about.box.model_dump_json() if about and about.box else None,
            "data": one.data,
        }


def _check_layout(connection: sa.Connection) -> None:
    if layout_of(connection) != tables.LAYOUT:
        raise NotMadeYet("no pictures are fetched: the database's tables are not made yet")


def _is_here(kind: PictureKind, name: sa.ColumnElement[str]) -> sa.Exists:
    return sa.exists().where(_P.device == _R.device, _P.kind == kind, _P.name == name)
