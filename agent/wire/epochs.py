"""What an outbox does when it may have given its numbers before: it begins a new epoch.

Its file may be an older copy of itself, which consumers notice first; or it was removed, or another put in its place,
while we wrote on.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from agent.wire.salvage import RESCUED
from common.arguments import make_state_dir
from common.durable import make_private
from contract.messages import FrameReport

log = logging.getLogger(__name__)
_AT_ONCE = 500


def begin_epoch(database: sqlite3.Connection, *, epoch: str, base: int, since: int) -> tuple[str, int]:
    """Give the reports placed behind ``since`` new numbers in a new epoch; those before keep theirs, as rescued ones.

    Args:
        database: amid a transaction.
        epoch: the one that ends.
        base: places less numbers in it.
        since: place of the last report whose number is certainly its own.

    Returns:
        The new epoch, and its base.
    """
    fresh = secrets.token_hex(8)
    first = database.execute("select min(seq) from report where seq > ?", (since,)).fetchone()[0]
    last = database.execute("select coalesce(max(seq), 0) from sqlite_sequence").fetchone()[0]
    start = int(last if first is None else first - 1)
    if database.execute("pragma user_version").fetchone() == (1,):
        database.execute(RESCUED)
        database.execute("pragma user_version = 2")
    old = "insert or ignore into rescued select seq, ?, seq - ? from report where seq > ? and seq <= ?"
    database.execute(old, (epoch, base, base, start))
    if start:  # the last place of the old epochs is told, whatever is there
        database.execute("insert or ignore into rescued values (?, ?, ?)", (start, epoch, start - base))
    for place, body in _behind(database, start):
        with suppress(ValidationError):  # damaged within
            report = FrameReport.model_validate_json(body).model_copy(update={"epoch": fresh, "seq": place - start})
            database.execute("update report set body = ? where seq = ?", (report.model_dump_json().encode(), place))
    database.executemany("insert or replace into meta values (?, ?)", [("epoch", fresh), ("base", str(start))])
    return fresh, start


def _behind(database: sqlite3.Connection, place: int) -> Iterator[tuple[int, bytes]]:
    query = "select seq, body from report where seq > ? order by seq limit ?"
    while rows := database.execute(query, (place, _AT_ONCE)).fetchall():
        yield from rows
        place = rows[-1][0]


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from any other that bears its name; None if there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def put_back(database: sqlite3.Connection, path: Path) -> str:
    """Write what we hold to where it belongs, and close it; what stands there now is kept aside.

    SQLite deletes a log by its name, so ours must be closed before there is a new one.

    Returns:
        What happened, in words.
    """
    make_state_dir(path.parent)
    stranger = path.with_name(f"{path.name}.replaced-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}")
    with suppress(FileNotFoundError):
        path.rename(stranger)
    moving = path.with_name(path.name + ".moving")
    moving.unlink(missing_ok=True)
    make_private(moving)
    with closing(sqlite3.connect(moving)) as copy:
        database.backup(copy)
    with suppress(sqlite3.Error):  # where our file has gone, it shall be whole
        database.execute("pragma wal_checkpoint(truncate)")
    database.close()
    for suffix in ("-wal", "-shm"):  # a log that stayed would be taken for the new file's
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    descriptor = os.open(moving, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    moving.rename(path)
    kept = f"; what stood in its place is kept as {stranger.name}: look at it, then move it away"
    return (
        f"the outbox {path} was removed or replaced while it was in use: what it held was written there again, and a "
        f"new epoch begun{kept if stranger.exists() else ''}"
    )
