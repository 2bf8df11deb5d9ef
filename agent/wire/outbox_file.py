"""The outbox's file: made, opened, and held against what it says of itself."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.wire.aside import ASIDE
from agent.wire.salvage import APPLICATION_ID, RESCUED, Damaged, may_be_written
from common.carve import PAGE_BYTES
from common.durable import make_private
from common.errors import OutboxError

_LAYOUTS = 1, 2
"""2 has the table `rescued`: only an outbox that was damaged, or set back; any other can go back to an older release. A
later layout must have another table, by which it is known."""
_TABLES = """
create table meta (key text primary key, value text not null) without rowid;
create table report (seq integer primary key autoincrement, body blob not null);
"""
_OURS = {"meta", "report", "rescued", "aside", "sqlite_sequence"}
_ODD = """
select 1 from report left join rescued_here on place = seq where case when typeof(body) = 'blob' and
json_valid(cast(body as text)) then json_extract(cast(body as text), '$.epoch') is not coalesce(its_epoch, :epoch)
or json_extract(cast(body as text), '$.seq') is not coalesce(its_seq, seq - :base) else 1 end limit 1
"""
"""A row that is no report, or none of this place."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an outbox's file says of itself.

    Attributes:
        epoch: identity of the database, in every report.
        base: what is added to a report's number to give its place.
        last: the last place that was given.
        rescued: epochs of the reports that were rescued from a damaged file.
    """

    epoch: str
    base: int
    last: int
    rescued: set[str]


def open_file(path: Path) -> tuple[sqlite3.Connection, Contents]:
    """Open the database of an outbox; it is made if there is none.

    Raises:
        OutboxError: it is no outbox, or of a later layout.
        Damaged: what it says of itself and what it holds do not agree.
        sqlite3.Error: and the other ``FAULTS``, where SQLite can not read it.
    """
    with suppress(OSError):  # sqlite says better what is wrong with the place
        make_private(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
    try:
        return db, _prepared(db, path)
    except (TypeError, ValueError) as cause:  # a number that is none, a row that is missing
        db.close()
        raise Damaged(f"what it says of itself can not be read: {cause!r}") from cause
    except BaseException:
        db.close()
        raise


def create(database: sqlite3.Connection) -> None:
    """Make the tables of an empty outbox."""
    for statement in filter(str.strip, _TABLES.split(";")):
        database.execute(statement)
    database.execute("insert into meta values ('epoch', ?)", (secrets.token_hex(8),))
    database.execute(f"pragma user_version = {_LAYOUTS[0]}")
    database.execute(f"pragma application_id = {APPLICATION_ID}")


def _schema(database: sqlite3.Connection) -> list[tuple[str, ...]]:
    """What SQLite has of the tables."""
    return database.execute("select type, name, tbl_name, sql from sqlite_master order by type, name").fetchall()


def _sound_schemas(layout: int) -> list[list[tuple[str, ...]]]:
    """Without, and with, the table of what stands aside, which comes with the first opening by this release."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        create(sound)
        if layout > 1:
            sound.execute(RESCUED)
        plain = _schema(sound)
        sound.execute(ASIDE)
        return [plain, _schema(sound)]


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing."""
    database.execute("begin immediate")
    try:
        yield
        database.execute("commit")
    finally:
        if database.in_transaction:
            database.execute("rollback")


def number(db: sqlite3.Connection, query: str) -> int:
    """The one number that a query gives."""
    return int(db.execute(query).fetchone()[0])


def _prepared(db: sqlite3.Connection, path: Path) -> Contents:
    stamp = number(db, "pragma application_id")
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if stamp != APPLICATION_ID and tables:
        if tables <= _OURS and {"meta", "report"} <= tables:
            raise Damaged("its stamp is gone")
        raise OutboxError(f"{path} is a database, but no outbox; name another state_dir or move the file away")
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "journal_mode = wal",
        "synchronous = full",
        "secure_delete = fast",  # to wipe each freed page would cost as much room as it held
        "wal_autocheckpoint = 50",
        "journal_size_limit = 4194304",
    ):
        db.execute(f"pragma {pragma}")
    if stamp != APPLICATION_ID:
        with transaction(db):
            create(db)
    layout = number(db, "pragma user_version")
    if layout not in _LAYOUTS and tables - _OURS:
        raise OutboxError(f"{path} has layout {layout}, this agent reads {_LAYOUTS[-1]}; use the agent that wrote it")
    return _checked(db, path, layout)


def _checked(db: sqlite3.Connection, path: Path, layout: int) -> Contents:
    """Read what it says of itself, and hold every row against that; SQLite sees only what breaks its own rules."""
    found = db.execute("pragma quick_check(1)").fetchone()
    schema = _schema(db)
    if found != ("ok",) or not may_be_written(path) or schema not in _sound_schemas(layout):
        raise Damaged(found)
    known = dict(db.execute("select key, value from meta"))
    last = number(db, "select coalesce(max(seq), 0) from sqlite_sequence where name = 'report'")
    rescued = layout > 1
    epoch, base = str(known.get("epoch")), int(known.get("base", 0))
    source = "rescued" if rescued else "(select 0 as place, '' as epoch, 0 as seq where false)"
    db.execute("drop view if exists temp.rescued_here")
    db.execute(
        f"create temp view rescued_here as select place, epoch as its_epoch, seq as its_seq from {source}"  # noqa: S608
    )
    facts = {"epoch": epoch, "base": base}
    wrong = [
        layout not in _LAYOUTS,
        set(known) != ({"epoch", "base"} if rescued else {"epoch"}),
        last < number(db, "select coalesce(max(seq), 0) from report"),
        rescued and base != number(db, "select coalesce(max(place), 0) from rescued"),
        bool(db.execute(_ODD, facts).fetchone()),
    ]
    if any(wrong):
        raise Damaged("what it says of itself and what it holds do not agree")
    epochs = {str(its) for (its,) in db.execute("select distinct its_epoch from rescued_here")}
    return Contents(epoch, base, last, epochs)
