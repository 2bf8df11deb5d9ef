"""The tables, and the database that holds them. SQLite, or PostgreSQL.

An integrator may read every table; only the collector writes them.
"""

import math
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from contract.errors import MissingError, UsageError

LAYOUT = 1
BUSY_MS = 1000
"""How long a statement waits for another's lock; the network must not wait longer."""

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
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() not in {"sqlite", "postgresql"}:
            raise UsageError(f"database: {address.get_backend_name()} is not supported; use sqlite or postgresql")
        engine = sa.create_engine(address, **_options(address))
    except (ArgumentError, NoSuchModuleError, ValueError) as cause:
        raise UsageError(
            f"database: the address can not be read ({cause}); write sqlite:////folder/file.sqlite, or "
            "postgresql://user@host/name"
        ) from cause
    except ModuleNotFoundError as cause:
        raise MissingError(f"{cause.name} is not installed; pip install 'microscope-agent[postgresql]'") from cause
    sa.event.listen(engine, "connect", _at_connect_sqlite if engine.dialect.name == "sqlite" else _at_connect_pg)
    return engine


def make_tables(connection: sa.Connection) -> None:
    """Make what is not there yet; UsageError if the tables are of another layout."""
    metadata.create_all(connection)
    insert = insert_into(connection, meta).on_conflict_do_nothing()
    connection.execute(insert, {"key": "layout", "value": str(LAYOUT)})
    refuse_other_layout(connection)


def refuse_other_layout(connection: sa.Connection) -> None:
    """UsageError if the tables are of another layout."""
    found = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "layout"))
    if found != str(LAYOUT):
        raise UsageError(f"the database has layout {found}, this collector knows {LAYOUT}; use the one that made it")


def insert_into(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An insert that knows ON CONFLICT, in the dialect of the database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _options(address: sa.URL) -> dict[str, Any]:
    if address.get_backend_name() == "sqlite":
        return {"poolclass": NullPool, "connect_args": {"timeout": BUSY_MS / 1000}}
    seconds = math.ceil(5 * BUSY_MS / 1000)
    limits = f"-c lock_timeout={5 * BUSY_MS} -c statement_timeout={30 * BUSY_MS}"
    return {"pool_size": 1, "max_overflow": 0, "connect_args": {"connect_timeout": seconds, "options": limits}}


def _at_connect_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}").close()


def _at_connect_pg(connection: Any, _record: Any) -> None:
    """What was committed must survive, also on a server that was told to take it easy."""
    with connection.cursor() as cursor:
        cursor.execute("show synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("set synchronous_commit = on")
    connection.commit()
