"""The tables, and the database that holds them. SQLite, or PostgreSQL.

An integrator may read every table; only the collector writes them.
"""

import math
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from contract.errors import MissingError, UsageError

LAYOUT = 1
BUSY_MS = 1000
"""How long a statement waits for another's lock; the network must not wait longer."""
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The driver for each way to write an address."""
_SILENCE_MS = 10_000
"""A server whose machine is gone says nothing; TCP by itself would wait for a quarter of an hour, or for ever."""

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only in an INTEGER key
_Moment = sa.DateTime(timezone=True)
metadata = sa.MetaData()

meta = sa.Table(
    "meta", metadata, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

report = sa.Table(
    "report",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("epoch", sa.String(255), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("slide_id", sa.String(255), nullable=False),
    sa.Column("frame_id", sa.String(255), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("captured_at", _Moment, nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("model_id", sa.String(255), nullable=False),
    sa.Column("engine", sa.String(255), nullable=False),
    sa.Column("cells", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("device", "epoch", "seq", name="report_key"),
    sa.Index("report_slide", "slide_id", "captured_at"),
)
"""One row for each report, which stands whole in ``body``. The site is no part of the key: a device that moves
keeps its outbox, and what waits there must not count twice."""

cell = sa.Table(
    "cell",
    metadata,
    sa.Column("report_id", _Number, sa.ForeignKey("report.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cell_id", sa.String(255), nullable=False),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("x", sa.Integer, nullable=False),
    sa.Column("y", sa.Integer, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("area_um2", sa.Float, nullable=False),
    sa.Column("label", sa.String(32), nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("flags", sa.Text, nullable=False),
)

stream = sa.Table(
    "stream",
    metadata,
    sa.Column("device", sa.String(255), primary_key=True),
    sa.Column("epoch", sa.String(255), primary_key=True),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("floor", sa.BigInteger, nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
)
"""One row for each outbox that was heard: ``upto`` is what was acknowledged, and at or below ``floor`` the agent
holds nothing any more, so that what is missing there can not come."""

slide = sa.Table(
    "slide",
    metadata,
    sa.Column("device", sa.String(255), primary_key=True),
    sa.Column("slide_id", sa.String(255), primary_key=True),
    sa.Column("count_id", sa.String(255), primary_key=True),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""The newest summary of each count of a slide."""

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("times", _Number, nullable=False),
    sa.Column("first_at", _Moment, nullable=False),
    sa.Column("last_at", _Moment, nullable=False),
)
"""What could not be stored. ``cause``: `malformed`, `refused` (by the database), or `conflict` (a report whose key
another report has; these are kept for ever, for the agent forgets them)."""


def open_engine(url: str) -> sa.Engine:
    """A database that is not connected to yet.

    Raises:
        UsageError: the address can not be read, or names a database of another make.
        MissingError: the driver is not installed.
    """
    try:
        address = sa.make_url(url)
        if address.drivername not in _DRIVERS:
            raise UsageError(f"database: {address.drivername} is not supported; write sqlite:// or postgresql://")
        if address.drivername == "sqlite" and _is_in_memory(address):
            raise UsageError("database: what is stored in memory is lost; write sqlite:////folder/file.sqlite")
        engine = sa.create_engine(address.set(drivername=_DRIVERS[address.drivername]), **_options(address))
    except (ArgumentError, NoSuchModuleError, ValueError) as cause:
        raise UsageError(
            f"database: the address can not be read ({cause}); write sqlite:////folder/file.sqlite, or "
            "postgresql://user@host/name"
        ) from cause
    except ModuleNotFoundError as cause:
        raise MissingError(f"{cause.name} is not installed; pip install 'microscope-agent[postgresql]'") from cause
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _at_connect_sqlite)
        sa.event.listen(engine, "begin", _at_begin_sqlite)
    else:
        sa.event.listen(engine, "connect", _at_connect_pg)
    return engine


def file_of(engine: sa.Engine) -> Path | None:
    """The file of an SQLite database; None for a server's."""
    name = engine.url.database if engine.dialect.name == "sqlite" else None
    return None if name is None else Path(name.removeprefix("file:"))


def make_tables(connection: sa.Connection) -> None:
    """Make the tables in an empty database; those that are there stay as they are.

    Raises:
        UsageError: they are of another layout, or another program's.
    """
    if has_tables(connection):
        return
    metadata.create_all(connection)
    connection.execute(sa.insert(meta), {"key": "layout", "value": str(LAYOUT)})


def has_tables(connection: sa.Connection) -> bool:
    """Whether the database holds a collector's tables; False if it holds none of their names.

    Raises:
        UsageError: they are of another layout, or another program's.
    """
    inspector = sa.inspect(connection)
    taken = sorted(metadata.tables.keys() & set(inspector.get_table_names()))
    if not taken:
        return False
    columns = {column["name"] for column in inspector.get_columns("meta")} if "meta" in taken else set()
    wanted = sa.select(meta.c.value).where(meta.c.key == "layout")
    found = connection.scalar(wanted) if columns == {"key", "value"} else None
    if found is None:
        raise UsageError(
            f"database: its tables {', '.join(taken)} are another program's; name a database for the collector alone"
        )
    if found != str(LAYOUT):
        raise UsageError(
            f"the database has layout {found}, this release of the collector knows {LAYOUT}; install the release that "
            "made it, or name another database"
        )
    return True


def said_by(cause: Exception) -> str:
    """The database's own words, in one line."""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())


def is_damage(cause: SQLAlchemyError) -> bool:
    """Whether SQLite says that the file is no database, or none any more."""
    said = said_by(cause)
    return "file is not a database" in said or "disk image is malformed" in said


def insert_into(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An insert that knows ON CONFLICT, in the dialect of the database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _options(address: sa.URL) -> dict[str, Any]:
    if address.get_backend_name() == "sqlite":
        return {"poolclass": NullPool, "connect_args": {"timeout": BUSY_MS / 1000}}
    seconds = math.ceil(5 * BUSY_MS / 1000)
    limits = f"-c lock_timeout={5 * BUSY_MS} -c statement_timeout={30 * BUSY_MS}"
    silence = {
        "tcp_user_timeout": _SILENCE_MS,
        "keepalives_idle": _SILENCE_MS // 2000,
        "keepalives_interval": 1,
        "keepalives_count": _SILENCE_MS // 2000,
    }
    arguments = {"connect_timeout": seconds, "options": limits, **silence}
    return {"pool_size": 1, "max_overflow": 0, "connect_args": arguments}


def _is_in_memory(address: sa.URL) -> bool:
    return not address.database or ":memory:" in address.database or address.query.get("mode") == "memory"


def _at_connect_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's own transactions would leave out the making of tables
    for pragma in ("synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}").close()
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    if tables <= metadata.tables.keys():  # a file of another program's stays as it is
        connection.execute("pragma journal_mode = wal").close()


def _at_begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin")


def _at_connect_pg(connection: Any, _record: Any) -> None:
    """What was committed must survive, also on a server that was told to take it easy."""
    with connection.cursor() as cursor:
        cursor.execute("show synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("set synchronous_commit = on")
    connection.commit()
