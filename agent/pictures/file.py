"""The file of the kept pictures: made, opened, and told from others by its stamp and its table."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.carve import PAGE_BYTES
from common.durable import make_private

APPLICATION_ID = 0x4D494350
"""Stands in the header of every such file."""
_LAYOUT = 1
_TABLE = """
create table picture (number integer primary key, kind text not null, name text not null, kept_at real not null,
about text not null, report text not null, sum integer not null, data blob not null, unique (kind, name))
"""


class Foreign(Exception):  # noqa: N818 - reads as what it is
    """The file is a database, but not of pictures, or of a later release."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open the pictures; the file is made, private, if there is none.

    Raises:
        Foreign: it is another program's, or a later release's.
        sqlite3.Error: and what else Python's sqlite3 raises, where SQLite can not read it.
    """
    with suppress(OSError):  # sqlite says better what is wrong with the place
        make_private(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=2, check_same_thread=False)
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    stamp, layout = number(db, "pragma application_id"), number(db, "pragma user_version")
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if tables - {"picture"} or (stamp not in {0, APPLICATION_ID} and not tables):
        raise Foreign
    if tables and stamp == APPLICATION_ID and layout != _LAYOUT:
        raise Foreign
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = incremental",
        "journal_mode = wal",
        "synchronous = normal",
        "secure_delete = fast",
        "journal_size_limit = 4194304",
    ):
        db.execute(f"pragma {pragma}").fetchall()
    if not tables:
        with transaction(db):
            db.execute(_TABLE)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {_LAYOUT}")
    db.execute("select number, kind, name, kept_at, about, report, sum, data from picture limit 0")


def number(db: sqlite3.Connection, query: str) -> int:
    """The one number that a query gives."""
    return int(db.execute(query).fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")
