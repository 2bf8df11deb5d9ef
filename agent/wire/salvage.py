"""What to do with a damaged outbox: rescue what can be read into a new one, keep the damaged file aside.

A rescued report keeps its epoch and number, so nobody counts it twice; new reports get a new epoch, because which
numbers were given last is no longer known for certain. A power cut may come between any two steps: the new store
becomes whole under a name of its own, and only then changes places with the damaged one.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from common.carve import Row, open_pages
from common.durable import make_private
from contract.messages import FrameReport

APPLICATION_ID = 0x4D494352
"""Stands in the header of every outbox."""
RESCUED = "create table rescued (place integer primary key, epoch text not null, seq integer not null)"
"""The table of layout 2: what the reports in the first places are known by."""
FAULTS = sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError
"""What Python's sqlite3 raises of a damaged file: SQLite's own words about it may be no UTF-8 any more."""
_MAGIC = b"SQLite format 3\0"
_MOST_ODD = 4
"""Bytes of the beginning that may be damaged, so that it still shows what the file is."""
_KEPT = 3
"""Damaged files that are kept; they must not fill the disk."""
_ELSEWHERE = "locked", "is full", "unable to open", "readonly", "disk I/O", "no such function", "interrupted"
"""Words of errors that come from the disk, from rights or from another program."""


class Damaged(sqlite3.DatabaseError):
    """A check has found something."""


def is_damage(path: Path, cause: BaseException) -> bool:
    """Whether this error means that our database is damaged; a file of another kind is none of ours to move."""
    if isinstance(cause, MemoryError):
        return False
    said_elsewhere = isinstance(cause, sqlite3.Error) and any(word in str(cause) for word in _ELSEWHERE)
    return isinstance(cause, FAULTS) and not (said_elsewhere and may_be_written(path)) and _is_ours(path)


def _is_ours(path: Path) -> bool:
    """Whether the file is SQLite's by its first bytes, of which some may be damaged, or an outbox by its stamp."""
    with suppress(OSError), path.open("rb") as file:
        header = file.read(100)
        odd = sum(one != other for one, other in zip(header, _MAGIC, strict=False))
        stamped = header[68:72] == APPLICATION_ID.to_bytes(4, "big")
        return len(header) > len(_MAGIC) and (odd <= _MOST_ODD or stamped or not any(header))
    return False


def may_be_written(path: Path) -> bool:
    """Whether the file says of itself that this release of SQLite may write it."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(19)[18:] in {b"\1", b"\2", b""}
    return True


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
    make_private(fresh)
    with closing(sqlite3.connect(fresh, isolation_level=None)) as store:
        store.execute("pragma synchronous = extra")
        create(store)
        store.execute(RESCUED)
        store.execute("pragma user_version = 2")
        try:
            count = _refill(store, _in_order(path))
        except FAULTS:
            count = _refill(store, _carved(path))
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


def _refill(store: sqlite3.Connection, bodies: Iterable[bytes]) -> int:
    count, known = 0, set[tuple[str, int]]()
    store.execute("begin")
    try:
        for body in bodies:
            key = _key(body)
            if key is None or key in known:
                continue  # damaged within; the file that is kept aside has it
            count += 1
            known.add(key)
            store.execute("insert into report (seq, body) values (?, ?)", (count, body))
            store.execute("insert into rescued values (?, ?, ?)", (count, *key))
        store.execute("insert into meta values ('base', ?)", (str(count),))
        store.execute("commit")
    finally:
        if store.in_transaction:
            store.execute("rollback")
    return count


def _key(body: bytes) -> tuple[str, int] | None:
    """Epoch and number of a report; None of what is none."""
    try:
        report = FrameReport.model_validate_json(body)
    except ValidationError:
        return None
    return (report.epoch, report.seq) if report.seq < 1 << 63 else None


def _in_order(path: Path) -> Iterator[bytes]:
    """The reports, as long as SQLite finds every row; raises one of ``FAULTS`` where it does not."""
    uri = f"{path.absolute().as_uri()}?mode=ro"  # the database is left as it is
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
        found = database.execute("pragma quick_check(1)").fetchone()
        if found != ("ok",):
            raise Damaged(found)
        for (body,) in database.execute("select body from report where typeof(body) = 'blob' order by seq"):
            yield bytes(body)


def _carved(path: Path) -> Iterator[bytes]:
    """The reports that stand in the pages of a damaged one, in order; perhaps some that were deleted before."""
    with open_pages(path) as pages:
        found: dict[tuple[str, int], tuple[int, int, int]] = {}
        for row in pages.rows():
            body = _body(row)
            if body and (key := _key(body)):
                found.setdefault(key, row[:3])
        for _, page, at in sorted(found.values()):
            if (again := pages.row(page, at)) and (body := _body(again)):
                yield body


def _body(row: Row) -> bytes | None:
    """What a row of reports holds: its number is its place, so there is none beside the body."""
    number, *more = row.values
    return more[0] if number is None and len(more) == 1 and isinstance(more[0], bytes) else None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
