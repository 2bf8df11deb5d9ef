"""What nobody has acknowledged yet: SQLite, bounded, survives kill -9 and power loss."""

import fcntl
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from contract.errors import OutboxError, OutboxFull
from contract.messages import FrameReport

_APPLICATION_ID = 0x4D494352
_LAYOUT = 1
_PAGE_BYTES = 4096
_BALLAST_BYTES = 512 * 1024
_LOG_BYTES = 256 * 1024
"""Room that the write-ahead log needs between two checkpoints."""
_TABLES = """
create table meta (key text primary key, value text not null) without rowid;
create table report (seq integer primary key autoincrement, body blob not null);
"""


class Outbox:
    """The store of reports between the pipeline and the broker.

    One connection, one lock: any thread may call any method. WAL with synchronous=FULL makes a
    commit durable before ``put`` returns (https://www.sqlite.org/pragma.html#pragma_synchronous);
    AUTOINCREMENT keeps a number from ever being given twice, deletes and restarts included.

    To delete, SQLite must write, so the database never takes the last of the disk; and should others take it, a
    ballast file beside the database gives its room to deletes and to the opening, and is made again after them.

    Args:
        path: the database; made if there is none. A lock file and the ballast, 512 KiB, lie beside it.
        max_mb: bound of the database in MiB. The write-ahead log, 4 MiB at most in rest, comes on top.

    Raises:
        OutboxError: it can not be opened, is not an outbox, is damaged, or another agent holds it.
    """

    def __init__(self, path: Path, *, max_mb: int) -> None:
        self._path, self._max_mb = path, max_mb
        self._lock = threading.RLock()
        self._listener: Callable[[], None] = _nobody
        self._guard = _claim(path)
        self._ballast = _Ballast(path.with_name(path.name + ".ballast"))
        try:
            self._ballast.drop()
            with self._explained("opened"):
                self._db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
                self._prepare()
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
        body = report.model_dump_json().encode()
        with self._lock:
            if (report.epoch, report.seq) != (self._epoch, self._next):
                raise ValueError(f"report {report.epoch}/{report.seq} is not the next one, {self._epoch}/{self._next}")
            with self._explained("written"):
                self._bound()
                self._db.execute("insert into report (seq, body) values (?, ?)", (report.seq, body))
            self._next += 1
        self._listener()

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to ``limit`` stored reports numbered above ``after``: (seq, JSON), in order of seq."""
        with self._lock, self._explained("read"):
            query = "select seq, body from report where seq > ? order by seq limit ?"
            return self._db.execute(query, (after, limit)).fetchall()

    def forget(self, seqs: Iterable[int]) -> None:
        """Delete these reports, in one transaction; unknown numbers are ignored."""
        self._delete("delete from report where seq = ?", [(seq,) for seq in seqs])

    def forget_upto(self, seq: int) -> None:
        """Delete every report up to and including this number."""
        self._delete("delete from report where seq <= ?", [(seq,)])

    def count(self, *, after: int = 0) -> int:
        """How many reports are stored, or of these how many are numbered above ``after``."""
        with self._lock, self._explained("read"):
            query = "select count(*) from report where seq > ?"
            return int(self._db.execute(query, (after,)).fetchone()[0])

    def close(self) -> None:
        """Close the database and let another agent have it; a second call does nothing."""
        with self._lock:
            if hasattr(self, "_db"):
                self._db.close()
            if self._guard >= 0:
                os.close(self._guard)
                self._guard = -1

    def _prepare(self) -> None:
        stamp = self._number("pragma application_id")
        if stamp != _APPLICATION_ID and self._number("select count(*) from sqlite_master"):
            raise OutboxError(
                f"{self._path} is a database, but no outbox; name another state_dir or move the file away"
            )
        for pragma in (
            f"page_size = {_PAGE_BYTES}",
            "journal_mode = wal",
            "synchronous = full",
            "secure_delete = fast",  # to wipe each freed page would cost as much room as it held
            "wal_autocheckpoint = 50",
            "journal_size_limit = 4194304",
        ):
            self._db.execute(f"pragma {pragma}")
        if stamp != _APPLICATION_ID:
            self._create()
        self._check()
        self._epoch = str(self._db.execute("select value from meta where key = 'epoch'").fetchone()[0])
        self._next = self._number("select coalesce(max(seq), 0) from sqlite_sequence") + 1

    def _delete(self, statement: str, rows: Sequence[tuple[int]]) -> None:
        """Delete in one transaction, on a full disk in the room of the ballast."""
        with self._lock, self._explained("written"):
            try:
                self._execute(statement, rows)
            except sqlite3.Error as cause:
                if not _is_full(cause):
                    raise
                self._ballast.drop()
                self._execute(statement, rows)
            if not self._ballast.whole:
                self._db.execute("pragma wal_checkpoint(truncate)")
                self._ballast.drop()
                self._ballast.load(self._spare_bytes())

    def _execute(self, statement: str, rows: Sequence[tuple[int]]) -> None:
        with self._transaction():
            self._db.executemany(statement, rows)

    def _create(self) -> None:
        with self._transaction():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._db.execute("insert into meta values ('epoch', ?)", (secrets.token_hex(8),))
            self._db.execute(f"pragma user_version = {_LAYOUT}")
            self._db.execute(f"pragma application_id = {_APPLICATION_ID}")

    def _check(self) -> None:
        layout = self._number("pragma user_version")
        if layout != _LAYOUT:
            raise OutboxError(
                f"{self._path} has layout {layout}, this agent reads {_LAYOUT}; use the agent that wrote it"
            )
        found = self._db.execute("pragma quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        finally:
            if self._db.in_transaction:
                self._db.execute("rollback")

    @contextmanager
    def _explained(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as cause:
            if _is_full(cause):
                raise OutboxFull(
                    f"{self._full()}: nothing new is kept until reports are delivered; bring the broker back"
                ) from cause
            raise OutboxError(
                f"the outbox {self._path} can not be {attempt} ({cause}); check the disk and the file's "
                "owner; if the file is damaged, move it away and the agent starts a new one"
            ) from cause

    def _bound(self) -> None:
        """Let the database grow as far as the settings and its disk allow; what it has taken, it keeps."""
        page_bytes = self._number("pragma page_size")
        growth = self._spare_bytes() // page_bytes
        pages = min(self._max_mb * 2**20 // page_bytes, self._number("pragma page_count") + growth)
        self._db.execute(f"pragma max_page_count = {pages}")

    def _spare_bytes(self) -> int:
        """What the disk can give beside the room of the log."""
        return max(0, shutil.disk_usage(self._path.parent).free - _LOG_BYTES)

    def _full(self) -> str:
        if self._spare_bytes() < _BALLAST_BYTES:
            return f"the disk of the outbox {self._path} is full; free some of it"
        return f"the outbox {self._path} is full: it holds the {self._max_mb} MiB of outbox.max_mb"


class _Ballast:
    """A file of no use but the room that it takes on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.whole = False

    def drop(self) -> None:
        """Give the room away; if the file can not be deleted, there is none to give."""
        self.whole = False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def load(self, spare_bytes: int) -> None:
        """Take the room again, or as much of it as can be spared; written, for promised room may count as free."""
        with suppress(OSError):
            self.whole = self._path.write_bytes(bytes(min(_BALLAST_BYTES, spare_bytes))) == _BALLAST_BYTES


def _is_full(cause: OSError | sqlite3.Error) -> bool:
    return "is full" in str(cause)


def _claim(path: Path) -> int:
    """Lock the outbox for this process; the kernel lets go of the lock however the process ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise OutboxError(
            f"the outbox {path} can not be opened ({cause.strerror}); name a state_dir that this user may write"
        ) from cause
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(descriptor)
        raise OutboxError(
            f"another agent holds the outbox {path}; stop it, or give this one its own state_dir"
        ) from cause
    return descriptor


def _nobody() -> None:
    """Stand in until somebody listens."""
