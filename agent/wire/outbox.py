"""What nobody has acknowledged yet: SQLite, bounded, survives kill -9 and power loss.

A report is put, and thereby due to be sent, in one statement: there is no other table that could disagree. It has a
*seq*, which the world knows it by, and a *place*, by which it stands in line here. The two differ by a constant; but
reports that were rescued from a damaged outbox keep their epoch and seq, and stand first in line.
"""

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from agent.wire.aside import Aside, Large
from agent.wire.epochs import begin_epoch, identity, put_back
from agent.wire.nearby import BALLAST_BYTES, Ballast, claim
from agent.wire.outbox_file import create, open_file, transaction
from agent.wire.salvage import FAULTS, damaged, finish, is_damage, salvage
from common.errors import OutboxError, OutboxFull
from contract.messages import LARGEST_NUMBER, MOST_RESCUED, FrameReport

log = logging.getLogger(__name__)
_LOG_BYTES = 256 * 1024
"""Room that the write-ahead log needs between two checkpoints."""
_ASK_EVERY_S = 0.25


class Outbox:
    """The store of reports between the pipeline and the broker.

    One connection, one lock: any thread may call any method. WAL with synchronous=FULL makes a
    commit durable before ``put`` returns (https://www.sqlite.org/pragma.html#pragma_synchronous);
    AUTOINCREMENT keeps a number from ever being given twice, deletes and restarts included.

    To delete, SQLite must write, so the database never takes the last of the disk; and should others take it, a
    ballast file beside the database gives its room to deletes and to the opening, and is made again after them.

    A database that fails the check at the opening is kept aside under a dated name, and a new one holds what could be
    read of it.

    Args:
        path: the database; made if there is none. A lock file and the ballast, 512 KiB, lie beside it.
        max_mb: bound of the database in MiB. The write-ahead log, 4 MiB at most in rest, comes on top.

    Raises:
        OutboxError: it can not be opened, is not an outbox, is damaged beyond repair, or another agent holds it.
    """

    _epoch: str
    _base: int
    _next: int
    _rescued: set[str]

    def __init__(self, path: Path, *, max_mb: int) -> None:
        self._path, self._max_mb = path, max_mb
        self._lock = threading.RLock()
        self._listener: Callable[[], None] = _nobody
        self._acknowledged: dict[str, int] = {}
        self._fullness = self._moved = ""
        self._unasked_bytes, self._ask_again_at = 0, 0.0
        self._guard = claim(path)
        self._ballast = Ballast(path.with_name(path.name + ".ballast"))
        try:
            self._ballast.drop()
            with self._explained("opened"):
                finish(path)
                self._open_or_salvage()
                self._file = identity(path)
                self._ballast.load(self._spare_bytes())
        except OutboxError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def epoch(self) -> str:
        """Identity of this database: made with it, random, in every report."""
        return self._epoch

    def next_seq(self) -> int:
        """Number that the next ``put`` must carry; without gaps, and never given twice within an epoch."""
        return self._next

    def on_change(self, listener: Callable[[], None]) -> None:
        """Name the one function to call after every ``put``, from the thread that put; it must not block."""
        self._listener = listener

    def put(self, report: FrameReport) -> None:
        """Store a report; once this returns, it survives a power cut.

        Raises:
            ValueError: epoch or seq are not the next ones.
            OutboxFull: the bound, or the disk, is reached; what is held is kept.
            OutboxError: the database can not be written.
        """
        with self._lock, self._explained("written"):
            self._see_to_file()
            if report.epoch in self._rescued:  # it was made while a new epoch began
                report = report.model_copy(update={"epoch": self._epoch, "seq": self._next})
            if (report.epoch, report.seq) != (self._epoch, self._next):
                raise ValueError(f"report {report.epoch}/{report.seq} is not the next one, {self._epoch}/{self._next}")
            body = report.model_dump_json().encode()
            self._bound(len(body))
            self._db.execute("insert into report (seq, body) values (?, ?)", (self._base + report.seq, body))
            self._next += 1
            self._fullness = ""
        self._listener()

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to ``limit`` stored reports in line behind ``after``: (place, JSON), in order."""
        with self._lock, self._explained("read"):
            query = "select seq, body from line where seq > ? order by seq limit ?"
            return self._db.execute(query, (after, limit)).fetchall()

    def has(self, place: int) -> bool:
        """Whether there is a report in this place."""
        return any(found == place for found, _ in self.pending(place - 1, 1))

    def forget(self, places: Iterable[int]) -> None:
        """Delete the reports in these places, in one transaction; empty places are ignored."""
        self._delete("delete from report where seq = ?", [(place,) for place in places])

    def acknowledge(self, epoch: str, upto: int) -> int | None:
        """Delete the reports of an epoch up to and including a number.

        Returns:
            How many were deleted; None if such reports were never made here: no such epoch, or no such number yet.
        """
        with self._lock:
            if epoch == self._epoch:
                if upto >= self._next:
                    return None
                rows: Sequence[tuple[int | str, ...]] = [(self._base, self._base + upto)]
                statement = "delete from report where seq in (select seq from line where seq > ? and seq <= ?)"
            elif epoch in self._rescued:
                rows = [(epoch, min(upto, LARGEST_NUMBER))]
                statement = (
                    "delete from report where seq in (select place from rescued join line on line.seq = place "
                    "where epoch = ? and rescued.seq <= ?)"
                )
            else:
                return None
            if upto <= self._acknowledged.get(epoch, 0):
                return 0
            count = self._delete(statement, rows)
            self._acknowledged[epoch] = upto
            return count

    def begin_epoch(self) -> None:
        """Begin a new epoch: this file is an older copy of itself, so the numbers of this life were given before.

        What waits from lives before keeps its number, which consumers may know; the rest gets new numbers.
        """
        with self._lock, self._explained("written"):
            self._renumber(self._began_at)

    def _renumber(self, since: int) -> None:
        with transaction(self._db):
            fresh, base = begin_epoch(self._db, epoch=self._epoch, base=self._base, since=since)
        last = self._base + self._next - 1
        self._rescued.add(self._epoch)
        self._epoch, self._base, self._next = fresh, base, last - base + 1
        self._began_at = last

    def _see_to_file(self) -> None:
        """What is written must be found again: see that the file is where it was when it was opened."""
        if identity(self._path) == self._file:
            return
        self._moved = put_back(self._db, self._path)
        log.error("%s", self._moved)
        os.close(self._guard)
        self._guard = claim(self._path)
        self._open()
        self._renumber(self._base + self._next - 1)
        self._file = identity(self._path)

    def set_aside(self, place: int, large: Large) -> None:
        """Pass a report over from here on: what the broker does not take must not stop what stands behind it."""
        with self._lock, self._explained("written"):
            self.aside.add(place, large)

    def bring_back(self, largest: int) -> int:
        """Put the reports back into line whose packets are no larger than this; how many."""
        with self._lock, self._explained("written"):
            back = self.aside.bring_back(largest)
            if back:
                self._acknowledged.clear()  # what was acknowledged spoke of the others
            return back

    def oldest(self) -> int:
        """Lowest number of the epoch that is still in line; if there is none, the number that comes next."""
        with self._lock, self._explained("read"):
            query = "select min(seq) from line where seq > ?"
            found = self._db.execute(query, (self._base,)).fetchone()[0]
            return self._next if found is None else int(found) - self._base

    def oldest_rescued(self) -> dict[str, int]:
        """The same of the reports that were rescued, by their epochs; those of which nothing is here are left out."""
        query = (
            "select epoch, min(rescued.seq) from rescued join line on line.seq = place "
            "group by epoch order by min(place) limit ?"
        )
        with self._lock, self._explained("read"):
            return dict(self._db.execute(query, (MOST_RESCUED,))) if self._rescued else {}

    def alarms(self) -> list[str]:
        """What a person should see to: no room, or a damaged file that was kept aside; in words."""
        kept = [
            f"an outbox was damaged and what could be read of it rescued; look at {file}, then move it away"
            for file in damaged(self._path)
        ]
        return [*filter(None, [self._fullness, self._moved]), *self.aside.alarms(), *kept]

    def count(self) -> int:
        """How many reports are stored."""
        with self._lock, self._explained("read"):
            self._see_to_file()
            return self._number("select count(*) from report")

    def count_in_line(self, *, after: int) -> int:
        """How many are to be sent, and are placed behind ``after``."""
        with self._lock, self._explained("read"):
            query = "select count(*) from line where seq > ?"
            return int(self._db.execute(query, (after,)).fetchone()[0])

    def close(self) -> None:
        """Close the database and let another agent have it; a second call does nothing."""
        with self._lock:
            if hasattr(self, "_db"):
                self._db.close()
            if self._guard >= 0:
                os.close(self._guard)
                self._guard = -1

    def _open_or_salvage(self) -> None:
        try:
            self._open()
        except FAULTS as cause:
            if not is_damage(self._path, cause):
                raise
            count = salvage(self._path, create)
            log.warning("the outbox %s was damaged (%s); %d reports were rescued", self._path, cause, count)
            self._open()

    def _open(self) -> None:
        self._db, found = open_file(self._path)
        self._epoch, self._base, self._rescued = found.epoch, found.base, found.rescued
        self._next, self._began_at = found.last - found.base + 1, found.last
        self.aside = Aside(self._db)

    def _delete(self, statement: str, rows: Sequence[tuple[int | str, ...]]) -> int:
        """Delete in one transaction, on a full disk in the room of the ballast; returns how many rows it was."""
        with self._lock, self._explained("written"):
            self._see_to_file()
            try:
                count = self._execute(statement, rows)
            except sqlite3.Error as cause:
                if not _is_full(cause):
                    raise
                self._ballast.drop()
                count = self._execute(statement, rows)
            if not self._ballast.whole:
                self._db.execute("pragma wal_checkpoint(truncate)")
                self._ballast.drop()
                self._ballast.load(self._spare_bytes())
            return count

    def _execute(self, statement: str, rows: Sequence[tuple[int | str, ...]]) -> int:
        """Do it without waiting for the disk.

        A delete that a power cut undoes costs a report sent twice; and the next ``put`` syncs the whole log.
        """
        self._db.execute("pragma synchronous = normal")
        try:
            with transaction(self._db):
                return self._db.executemany(statement, rows).rowcount
        finally:
            self._db.execute("pragma synchronous = full")

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    @contextmanager
    def _explained(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except (OSError, *FAULTS) as cause:
            if _is_full(cause):
                self._fullness = (
                    f"{self._full()}: nothing new is kept until reports are delivered; bring the broker back"
                )
                raise OutboxFull(self._fullness) from cause
            raise OutboxError(
                f"the outbox {self._path} can not be {attempt} ({cause}); check the disk and the file's "
                "owner; if the file is damaged, start the agent again: it rescues what can be read"
            ) from cause

    def _bound(self, coming_bytes: int) -> None:
        """Let the database grow as far as the settings and its disk allow; what it has taken, it keeps.

        The free space of the disk is read only now and then, for reading it takes longer than storing a report. The
        space that is kept for the log covers what other programs write in between.
        """
        self._unasked_bytes += coming_bytes
        if self._unasked_bytes < _LOG_BYTES // 4 and time.monotonic() < self._ask_again_at and not self._fullness:
            return
        self._unasked_bytes, self._ask_again_at = 0, time.monotonic() + _ASK_EVERY_S
        page_bytes = self._number("pragma page_size")
        growth = self._spare_bytes() // page_bytes
        pages = min(self._max_mb * 2**20 // page_bytes, self._number("pragma page_count") + growth)
        self._db.execute(f"pragma max_page_count = {pages}")

    def _spare_bytes(self) -> int:
        """What the disk can give beside the room of the log."""
        return max(0, shutil.disk_usage(self._path.parent).free - _LOG_BYTES)

    def _full(self) -> str:
        if self._spare_bytes() < BALLAST_BYTES:
            return f"the disk of the outbox {self._path} is full; free some of it"
        return f"the outbox {self._path} is full: it holds the {self._max_mb} MiB of outbox.max_mb"


def _is_full(cause: BaseException) -> bool:
    return "is full" in str(cause)


def _nobody() -> None:
    """Stand in until somebody listens."""
