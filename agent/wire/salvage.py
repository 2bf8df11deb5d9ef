"""What to do with a damaged outbox: rescue what can be read into a new one, keep the damaged file aside.

A rescued report keeps its epoch and number, so nobody counts it twice; new reports get a new epoch, because which
numbers were given last is no longer known for certain. A power cut may come between any two steps: the new store
becomes whole under a name of its own, and only then changes places with the damaged one.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from contract.messages import FrameReport

_MAGIC = b"SQLite format 3\0"
_KEPT = 3
"""Damaged files that are kept; they must not fill the disk."""
_DAMAGE = "malformed", "not a database", "disk image"


class Damaged(sqlite3.DatabaseError):
    """The integrity check has found something."""


def is_damage(path: Path, cause: sqlite3.Error) -> bool:
    """Whether this error means that our database is damaged; a file of another kind is none of ours to move."""
    if not isinstance(cause, Damaged) and not any(word in str(cause) for word in _DAMAGE):
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_MAGIC)) in {_MAGIC, bytes(len(_MAGIC))}
    return False


def salvage(path: Path, create: Callable[[sqlite3.Connection], None]) -> int:
    """Put a new store in the place of a damaged one.

    Args:
        path: the damaged database; nobody may have it open.
        create: makes the tables of an empty store, in layout 1.

    Returns:
        How many reports were rescued.

    Raises:
        OSError, sqlite3.Error: the new store can not be written; the damaged one is where it was.
    """
    fresh = _beside(path, ".salvaging")
    for leftover in (fresh, _beside(fresh, "-journal")):
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(fresh, isolation_level=None)) as store:
        store.execute("pragma synchronous = extra")
        create(store)
        store.execute("create table rescued (place integer primary key, epoch text not null, seq integer not null)")
        store.execute("pragma user_version = 2")
        count = _refill(store, _readable(path))
    _sync(fresh)
    fresh.rename(_beside(path, ".salvaged"))
    _sync(path.parent)
    finish(path)
    return count


def finish(path: Path) -> None:
    """Let the new store change places with the damaged one, if there is one that is whole; may be called again."""
    whole = _beside(path, ".salvaged")
    if not whole.exists():
        return
    date = datetime.fromtimestamp(whole.stat().st_mtime, timezone.utc)
    aside = _beside(path, f".damaged-{date:%Y%m%dT%H%M%S.%fZ}")
    for suffix in ("-wal", "-shm", ""):  # a log that stayed would be taken for the new store's
        with suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
    _sync(path.parent)
    whole.rename(path)
    _sync(path.parent)
    for old in damaged(path)[:-_KEPT]:
        for suffix in ("-wal", "-shm", ""):
            _beside(old, suffix).unlink(missing_ok=True)


def damaged(path: Path) -> list[Path]:
    """The damaged files that were kept aside, the oldest first."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(file for file in found if not file.name.endswith(("-wal", "-shm")))


def _refill(store: sqlite3.Connection, bodies: Iterator[bytes]) -> int:
    count = 0
    store.execute("begin")
    for body in bodies:
        try:
            report = FrameReport.model_validate_json(body)
        except ValidationError:
            continue  # damaged within; the file that is kept aside has it
        count += 1
        store.execute("insert into report (seq, body) values (?, ?)", (count, body))
        store.execute("insert into rescued values (?, ?, ?)", (count, report.epoch, report.seq))
    store.execute("insert into meta values ('base', ?)", (str(count),))
    store.execute("commit")
    return count


def _readable(path: Path) -> Iterator[bytes]:
    """Every report that can be read, in order; the database itself is left as it is."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
        low, high = _bounds(database)
        yield from _read(database, low, high)


def _bounds(database: sqlite3.Connection) -> tuple[int, int]:
    """Where to look; each end by the first way that works."""
    first = "select seq from report order by seq limit 1"
    last = "select seq from report order by seq desc limit 1"
    low = _answer(database, first)
    ends = [_answer(database, query) for query in (last, "select seq from sqlite_sequence where name = 'report'")]
    return low or 1, max((end for end in ends if end is not None), default=0)


def _answer(database: sqlite3.Connection, query: str) -> int | None:
    try:
        row = database.execute(query).fetchone()
    except sqlite3.Error:
        return None
    return int(row[0]) if row and isinstance(row[0], int) else None


def _read(database: sqlite3.Connection, low: int, high: int) -> Iterator[bytes]:
    """The reports from ``low`` to ``high``; where reading fails, each half for itself, down to single ones."""
    query = "select body from report where seq between ? and ? order by seq"
    try:
        found = [bytes(body) for (body,) in database.execute(query, (low, high)) if isinstance(body, bytes)]
    except sqlite3.Error:
        if low < high:
            middle = (low + high) // 2
            yield from _read(database, low, middle)
            yield from _read(database, middle + 1, high)
    else:
        yield from found


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
