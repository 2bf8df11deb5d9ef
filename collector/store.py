"""Stores what arrives, each report once; what it returns from is safe. Knows nothing of MQTT's library."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import exc
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import Self

from collector import database, rows
from collector.arrivals import (
    Arrival,
    Batch,
    Key,
    StreamName,
    conflict_row,
    quarantine_row,
    same_report,
    sorted_by_kind,
)
from collector.held import HeldConnection
from collector.layouts import make_tables
from collector.numbers import Numbers, Stream
from collector.tables import Row
from common.errors import IntegrityError, StoreError
from contract.messages import Ack, FrameReport

log = logging.getLogger(__name__)
MOST_EPOCHS = 1000
"""No agent makes so many stores, and each costs memory."""
_FAR_AHEAD = 100_000
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


@dataclass(slots=True)
class _Work:
    """What a transaction has done so far."""

    streams: dict[StreamName, Stream] = field(default_factory=dict)
    """Those that have changed."""
    topics: dict[StreamName, str] = field(default_factory=dict)
    greeted: dict[StreamName, str] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)


class Store:
    """The database of one collector; one thread may use it.

    ``store`` returns after the commit, so whoever acknowledges then acknowledges what survives a power cut
    (SQLite: WAL with synchronous=FULL; PostgreSQL: synchronous_commit). To store a report again changes nothing.

    Args:
        url: SQLAlchemy's address of the database.
        quarantine_rows: how many malformed messages are kept, at most.
        most_epochs: of one device; the reports of any further one go into quarantine.

    Raises:
        UsageError: the address can not be used.
        MissingError: the driver is not installed.
    """

    def __init__(self, url: str, *, quarantine_rows: int = 10_000, most_epochs: int = MOST_EPOCHS) -> None:
        self._held = HeldConnection(url)
        self._quarantine_rows, self._most_epochs = quarantine_rows, most_epochs
        self.streams: dict[StreamName, Stream] = {}
        self._doubted: set[StreamName] = set()
        """Streams of which more was said to be gone than has come; said once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address, without its password."""
        return self._held.where

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        return self._held.file

    def store(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Store these messages in one transaction; those that can not be stored go into quarantine.

        Raises:
            StoreError: the database can not be used now; nothing of the batch was stored, and it may be tried again.
            UsageError, IntegrityError: as ``open``.
        """
        connection, work = self.open(), _Work()
        try:
            with connection.begin():
                self._store(connection, arrivals, work)
                rows.upsert_streams(connection, work.streams, at=max(arrival.at for arrival in arrivals))
        except (SQLAlchemyError, *database.FAULTS) as cause:
            raise self._explained(cause) from cause
        self._check_file()
        self.streams.update(work.streams)
        work.outcome.replies = self._replies(work)
        return work.outcome

    @property
    def is_open(self) -> bool:
        """Whether the database answered when it was last asked, and is where it was."""
        return self._held.is_connected and not self._held.has_moved

    def open(self) -> sa.Connection:
        """Connect and read how far every stream is, if that is not done; ``store`` does so by itself.

        Raises:
            StoreError: the database can not be used now.
            UsageError: its tables are of another layout, or another program's.
            IntegrityError: its file is damaged.
        """
        if self._held.has_moved:
            log.error("%s", self._moved())
            self._held.leave()
        try:
            return self._held.connected(self._prepare)
        except (SQLAlchemyError, *database.FAULTS) as cause:
            raise self._explained(cause) from cause

    def _prepare(self, connection: sa.Connection) -> None:
        make_tables(connection)
        self.streams = rows.read_streams(connection)

    def _check_file(self) -> None:
        """What was written to a file that was removed or replaced may not be acknowledged."""
        if self._held.has_moved:
            self._held.leave()
            raise StoreError(self._moved())

    def _moved(self) -> str:
        return (
            f"the file of the database {self.where} was removed or replaced while it was in use: what is not stored "
            "where it stands now is not acknowledged; what was stored before is where that file has gone"
        )

    def close(self) -> None:
        """Let go of the database; the next call connects again."""
        self._held.close()

    def _explained(self, cause: Exception) -> StoreError | IntegrityError:
        self.close()
        said = database.said_by(cause)
        if self.file and database.is_damage(cause):
            return IntegrityError(
                f"the database {self.where} is damaged, or none ({said}); nothing is acknowledged: put the newest "
                "back-up in its place, or move the file away and a new one is made; `microscope-collect rescue` "
                "makes one of what can be read"
            )
        return StoreError(
            f"the database {self.where} can not be used ({said}); nothing is acknowledged until it can: see that it "
            "runs and lets this user write, that its disk has room, and that no other program holds it locked"
        )

    def _store(self, connection: sa.Connection, arrivals: Sequence[Arrival], work: _Work) -> None:
        """Store these; what the database will not have as a report is found by halves, and costs the others nothing."""
        try:
            with connection.begin_nested():
                self._store_sound(connection, arrivals, work)
        except UnicodeDecodeError:  # the database's: a message is read before
            raise
        except _UNSTORABLE as cause:
            if len(arrivals) == 1:
                row = quarantine_row(arrivals[0], "refused", database.said_by(cause))
                rows.insert_quarantine(connection, [row], most=self._quarantine_rows)
                work.outcome.quarantined += 1
                return
            middle = len(arrivals) // 2
            for half in (arrivals[:middle], arrivals[middle:]):
                self._store(connection, half, work)

    def _store_sound(self, connection: sa.Connection, arrivals: Sequence[Arrival], work: _Work) -> None:
        """The same; raises one of ``_UNSTORABLE`` before ``work`` has changed."""
        batch = sorted_by_kind(arrivals)
        self._refuse_more_epochs(batch, work)
        new = rows.insert_reports(connection, batch.reports)
        again = [key for key in batch.reports if key not in new]
        batch.quarantined.extend(self._conflicts(connection, batch, again))
        rows.upsert_slides(connection, batch.slides)
        rows.insert_quarantine(connection, batch.quarantined, most=self._quarantine_rows)
        self._advance(batch, work)
        work.topics |= batch.topics
        work.greeted |= batch.greeted
        work.outcome.new += len(new)
        work.outcome.again += len(again) + batch.again
        work.outcome.quarantined += len(batch.quarantined)

    def _refuse_more_epochs(self, batch: Batch, work: _Work) -> None:
        """Keep the streams of each device within a bound; the reports of any further one go into quarantine."""
        fresh = {key[:2] for key in batch.reports} - self.streams.keys() - work.streams.keys()
        if not fresh:
            return
        made = Counter(device for device, _ in self.streams.keys() | work.streams.keys())
        for device, epoch in sorted(fresh):
            made[device] += 1
            if made[device] > self._most_epochs:
                error = f"{device} has sent reports of {self._most_epochs} epochs; a further one is not begun"
                for key in [key for key in batch.reports if key[:2] == (device, epoch)]:
                    batch.quarantined.append(quarantine_row(batch.reports.pop(key)[1], "refused", error))

    def _conflicts(self, connection: sa.Connection, batch: Batch, again: Sequence[Key]) -> Iterable[Row]:
        """Reports whose key another report has: a copied, or restored, outbox gives numbers twice."""
        stored = rows.read_bodies(connection, again)
        for key in again:
            report, arrival = batch.reports[key]
            if not _says_the_same(stored[key], report):
                yield conflict_row(arrival)

    def _advance(self, batch: Batch, work: _Work) -> None:
        """Bring the streams to where they are once the batch is stored."""

        def changing(name: StreamName, site: str) -> Stream:
            if name not in work.streams:
                known = self.streams.get(name)
                work.streams[name] = (
                    Stream(site, known.numbers.copy(), known.floor) if known else Stream(site, Numbers())
                )
            work.streams[name].site = site
            return work.streams[name]

        for (device, epoch, seq), (report, _) in batch.reports.items():
            changing((device, epoch), report.site).numbers.cover(seq, seq)
        for name, (site, floor) in batch.floors.items():
            known = work.streams.get(name) or self.streams.get(name)
            if known and floor > known.floor and self._is_likely(floor, name, known):
                changing(name, site).floor = floor
        for stream in work.streams.values():
            stream.settle()

    def _is_likely(self, floor: int, name: StreamName, known: Stream) -> bool:
        """Whether a floor may be true: an agent gives numbers without gaps."""
        ahead = floor - known.numbers.highest
        if ahead > 0 and name not in self._doubted:
            self._doubted.add(name)
            log.warning(
                "%s/%s, epoch %s, says that it holds nothing up to number %d, but none above %d has come: %s",
                *(known.site, *name, floor, known.numbers.highest),
                "this is not believed" if ahead > _FAR_AHEAD else "what lies between is lost unless it comes",
            )
        return ahead <= _FAR_AHEAD

    def _replies(self, work: _Work) -> list[Reply]:
        where = dict(work.topics)
        for (site, device), topic in work.greeted.items():
            where |= {name: topic for name, known in self.streams.items() if (known.site, name[0]) == (site, device)}
        known = {name: self.streams[name].numbers for name in where if name in self.streams}
        return [
            Reply(where[name], Ack(epoch=name[1], upto=numbers.upto, seen=numbers.highest))
            for name, numbers in known.items()
        ]


def _says_the_same(stored: str, report: FrameReport) -> bool:
    try:
        return same_report(FrameReport.model_validate_json(stored), report)
    except ValidationError:  # an earlier release took more
        return False
