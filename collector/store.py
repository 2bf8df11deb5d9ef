"""Stores what arrives, each report once; what it returns from is safe. Knows nothing of MQTT's library."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import Self

from collector import database, rows, tables
from collector.arrivals import Arrival, Batch, Key, StreamName, conflict_row, quarantine_row, sorted_by_kind
from collector.numbers import Numbers, Stream
from collector.tables import Row
from contract.errors import IntegrityError, StoreError, UsageError
from contract.messages import Ack, FrameReport

_UNSTORABLE = (exc.DataError, exc.IntegrityError, OverflowError, ValueError)
"""The report's fault, not the database's: another attempt would fail alike."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An acknowledgement, and where the agent listens for it."""

    topic: str
    ack: Ack


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    new: int = 0
    again: int = 0
    quarantined: int = 0
    replies: list[Reply] = field(default_factory=list)


class Store:
    """The database of one collector; one thread may use it.

    ``store`` returns after the commit, so whoever acknowledges then acknowledges what survives a power cut
    (SQLite: WAL with synchronous=FULL; PostgreSQL: synchronous_commit). To store a report again changes nothing.

    Args:
        url: SQLAlchemy's address of the database.
        quarantine_rows: how many malformed messages are kept, at most.

    Raises:
        UsageError: the address can not be used.
        MissingError: the driver is not installed.
    """

    def __init__(self, url: str, *, quarantine_rows: int = 10_000) -> None:
        self._engine = database.open_engine(url)
        self._quarantine_rows = quarantine_rows
        self._connection: sa.Connection | None = None
        self.streams: dict[StreamName, Stream] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        return database.file_of(self._engine)

    def store(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Store these messages in one transaction; those that can not be stored go into quarantine.

        Raises:
            StoreError: the database can not be used now; nothing of the batch was stored, and it may be tried again.
            UsageError, IntegrityError: as ``open``.
        """
        connection = self.open()
        try:
            return self._store(connection, arrivals)
        except _UNSTORABLE as cause:
            if len(arrivals) == 1:
                return self._refuse(connection, arrivals[0], cause)
            return _together([self.store([arrival]) for arrival in arrivals])
        except SQLAlchemyError as cause:
            raise self._explained(cause) from cause

    @property
    def is_open(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self._connection is not None

    def open(self) -> sa.Connection:
        """Connect and read how far every stream is, if that is not done; ``store`` does so by itself.

        Raises:
            StoreError: the database can not be used now.
            UsageError: its tables are of another layout, or another program's.
            IntegrityError: its file is damaged.
        """
        if self._connection is not None:
            return self._connection
        try:
            self._connection = self._engine.connect()
            with self._connection.begin():
                tables.make_tables(self._connection)
                self.streams = rows.read_streams(self._connection)
        except SQLAlchemyError as cause:
            raise self._explained(cause) from cause
        except UsageError:
            self.close()
            raise
        return self._connection

    def close(self) -> None:
        """Let go of the database; the next call connects anew."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except SQLAlchemyError:
            pass  # it was lost already
        finally:
            self._engine.dispose()

    def _explained(self, cause: SQLAlchemyError) -> StoreError | IntegrityError:
        self.close()
        said = database.said_by(cause)
        if database.is_damage(cause):
            return IntegrityError(
                f"the database {self.where} is damaged, or none ({said}); nothing is acknowledged: put the newest "
                "back-up in its place, or move the file away and a new one is made"
            )
        return StoreError(
            f"the database {self.where} can not be used ({said}); nothing is acknowledged until it can: see that it "
            "runs and lets this user write, that its disk has room, and that no other program holds it locked"
        )

    def _store(self, connection: sa.Connection, arrivals: Sequence[Arrival]) -> Outcome:
        batch = sorted_by_kind(arrivals)
        with connection.begin():
            new = rows.insert_reports(connection, batch.reports)
            again = [key for key in batch.reports if key not in new]
            batch.quarantined.extend(self._conflicts(connection, batch, again))
            rows.upsert_slides(connection, batch.slides)
            rows.insert_quarantine(connection, batch.quarantined, most=self._quarantine_rows)
            advanced = self._advanced(batch)
            rows.upsert_streams(connection, advanced, at=max(arrival.at for arrival in arrivals))
        self.streams.update(advanced)
        return Outcome(len(new), len(again) + batch.again, len(batch.quarantined), self._replies(batch))

    def _refuse(self, connection: sa.Connection, arrival: Arrival, cause: Exception) -> Outcome:
        """Keep a message that the database will not have as a report."""
        row = quarantine_row(arrival, "refused", database.said_by(cause))
        try:
            with connection.begin():
                rows.insert_quarantine(connection, [row], most=self._quarantine_rows)
        except SQLAlchemyError as broken:
            raise self._explained(broken) from broken
        return Outcome(quarantined=1)

    def _conflicts(self, connection: sa.Connection, batch: Batch, again: Sequence[Key]) -> Iterable[Row]:
        """Reports whose key another report has: a copied, or restored, outbox gives numbers twice."""
        stored = rows.read_bodies(connection, again)
        for key in again:
            report, arrival = batch.reports[key]
            if FrameReport.model_validate_json(stored[key]) != report:
                yield conflict_row(arrival)

    def _advanced(self, batch: Batch) -> dict[StreamName, Stream]:
        """The streams as they are once the batch is stored."""
        changed: dict[StreamName, Stream] = {}

        def changing(name: StreamName, site: str) -> Stream:
            if name not in changed:
                known = self.streams.get(name)
                changed[name] = Stream(site, known.numbers.copy(), known.floor) if known else Stream(site, Numbers())
            return changed[name]

        for (device, epoch, seq), (report, _) in batch.reports.items():
            changing((device, epoch), report.site).numbers.cover(seq, seq)
        for name, (site, floor) in batch.floors.items():
            if floor > (self.streams[name].floor if name in self.streams else 0):
                settled = changing(name, site)
                settled.floor = floor
                settled.numbers.cover(1, floor)
        return changed

    def _replies(self, batch: Batch) -> list[Reply]:
        where = dict(batch.topics)
        for (site, device), topic in batch.greeted.items():
            where |= {name: topic for name, known in self.streams.items() if (known.site, name[0]) == (site, device)}
        known = {name: self.streams[name].numbers for name in where if name in self.streams}
        return [
            Reply(where[name], Ack(epoch=name[1], upto=numbers.upto, seen=numbers.highest))
            for name, numbers in known.items()
        ]


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    total = Outcome()
    latest: dict[tuple[str, str], Reply] = {}
    for outcome in outcomes:
        total.new += outcome.new
        total.again += outcome.again
        total.quarantined += outcome.quarantined
        latest |= {(reply.topic, reply.ack.epoch): reply for reply in outcome.replies}
    total.replies = list(latest.values())
    return total
