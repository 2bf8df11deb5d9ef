"""The database: how it is reached, and what is asked of it so that it keeps its word. SQLite, or PostgreSQL."""

import math
import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from collector.tables import metadata
from common.arguments import home_path, make_state_dir
from common.commands import how_to_install
from common.durable import make_private
from common.errors import MissingError, UsageError

BUSY_MS = 1000
"""How long a statement waits for another's lock; the network must not wait longer."""
FAULTS = ValueError, TypeError, OverflowError
"""What SQLAlchemy lets through of a damaged file: text that is no UTF-8, a date that is none, a missing value."""
_DAMAGE = "file is not a database", "malformed", "unsupported file format", "Could not decode to UTF-8"
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The driver for each way to write an address."""
_HARMLESS = {"application_name", "connect_timeout", "host", "hostaddr", "mode", "port", "sslmode", "user"}
"""Options of an address that may be shown."""
_SILENCE_MS = 10_000
"""A server whose machine is gone says nothing; TCP by itself would wait for a quarter of an hour, or forever. The
server gives up as soon on us, for what we had begun there would stand in the way of the next attempt."""
_ALIKE: dict[str, str | int] = {"timezone": "UTC", "datestyle": "ISO", "client_encoding": "UTF8"}
"""How a PostgreSQL session speaks with us, however its server, database or user is set."""
_LIMITS: dict[str, str | int] = {
    "lock_timeout": 5 * BUSY_MS,
    "statement_timeout": 30 * BUSY_MS,
    "idle_in_transaction_session_timeout": _SILENCE_MS,
}


def open_engine(
    url: str, *, writes: bool = True, own: Collection[str] = frozenset(metadata.tables), patience_ms: int = BUSY_MS
) -> sa.Engine:
    """A database that is not connected to yet; who only reads it may take longer, and changes nothing.

    Args:
        url: SQLAlchemy's address of it.
        writes: False for who only reads.
        own: names of the tables of who writes; an SQLite file that holds others keeps its journal as it is.
        patience_ms: how long a statement waits for another program's lock on an SQLite file.

    Raises:
        UsageError: the address can not be read, or names a database of another make.
        MissingError: the driver is not installed.
    """
    try:
        address = _address(url)
        if address.drivername not in _DRIVERS:
            raise UsageError(f"database: {address.drivername} is not supported; write sqlite:// or postgresql://")
        if address.drivername == "sqlite" and _is_in_memory(address):
            raise UsageError("database: what is stored in memory is lost; write sqlite:////folder/file.sqlite")
        if address.drivername == "sqlite":
            address = address.set(database=str(home_path(str(address.database))))
        options = _options(address, patience_ms)
        engine = sa.create_engine(address.set(drivername=_DRIVERS[address.drivername]), **options)
    except (ArgumentError, NoSuchModuleError, ValueError) as cause:
        raise UsageError(
            "database: the address can not be read; write sqlite:////folder/file.sqlite, or "
            "postgresql://user@host/name, and in a password %40 for @, %2F for /"
        ) from cause
    except ModuleNotFoundError as cause:
        raise MissingError(f"{cause.name} is not installed; {how_to_install('postgresql')}") from cause
    if engine.dialect.name == "sqlite":
        at_connect = partial(_at_connect_sqlite, own) if writes else _at_connect_sqlite_to_read
        sa.event.listen(engine, "connect", at_connect)
        sa.event.listen(engine, "begin", _at_begin_sqlite)
    else:
        sa.event.listen(engine, "connect", _at_connect_pg if writes else _at_connect_pg_to_read, insert=True)
    return engine


def _address(url: str) -> sa.URL:
    """An address in its parts; ValueError if a password with @ in it reaches into the host's name."""
    address = sa.make_url(url)
    if "@" in (address.host or ""):
        raise ValueError(url)
    return address


def shown(engine: sa.Engine) -> str:
    """The address without what may be secret: neither a password nor an option that nobody knows to be harmless."""
    address = engine.url.difference_update_query([name for name in engine.url.query if name not in _HARMLESS])
    return address.render_as_string(hide_password=True)


def file_of(engine: sa.Engine) -> Path | None:
    """The file of an SQLite database; None for a server's."""
    name = engine.url.database if engine.dialect.name == "sqlite" else None
    return None if name is None else Path(name.removeprefix("file:"))


def make_place(file: Path | None) -> None:
    """Make the folder of an SQLite file, which SQLite itself does not, and see that it can be written.

    Raises:
        UsageError: it can not; that does not mend itself.
    """
    if file is None:
        return
    try:
        make_state_dir(file.parent)
    except OSError as cause:
        raise UsageError(
            f"database: the folder {file.parent} can not be made ({cause.strerror}); name another"
        ) from cause
    if file.is_dir():
        raise UsageError(f"database: {file} is a folder; name a file in it")
    for path in (file.parent, file):
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"database: this user may not write {path}; let it, or name another place")
    make_private(file)


def said_by(cause: Exception) -> str:
    """The database's own words, in one line."""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())


def is_damage(cause: Exception) -> bool:
    """Whether SQLite says that the file is no database, or none any more; or what it says is no text any more."""
    said = said_by(cause)
    return not isinstance(cause, SQLAlchemyError) or any(word in said for word in _DAMAGE)


def _options(address: sa.URL, patience_ms: int) -> dict[str, Any]:
    if address.get_backend_name() == "sqlite":
        return {"poolclass": NullPool, "connect_args": {"timeout": patience_ms / 1000}}
    silence = {
        "tcp_user_timeout": _SILENCE_MS,
        "keepalives_idle": _SILENCE_MS // 2000,
        "keepalives_interval": 1,
        "keepalives_count": _SILENCE_MS // 2000,
    }
    arguments = {"connect_timeout": math.ceil(5 * BUSY_MS / 1000), **silence}
    return {"pool_size": 1, "max_overflow": 0, "connect_args": arguments}


def _is_in_memory(address: sa.URL) -> bool:
    return not address.database or ":memory:" in address.database or address.query.get("mode") == "memory"


def _at_connect_sqlite(own: Collection[str], connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's own transactions would leave out the making of tables
    for pragma in ("synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}").close()
    there = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    if there <= set(own):  # a file of another program's stays as it is
        connection.execute("pragma journal_mode = wal").close()


def _at_connect_sqlite_to_read(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("pragma query_only = on").close()


def _at_begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin")


def _at_connect_pg(connection: Any, _record: Any) -> None:
    """What was committed must survive, also on a server that was told to take it easy."""
    _speak_pg(connection, _ALIKE | _LIMITS)
    with connection.cursor() as cursor:
        cursor.execute("show synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("set synchronous_commit = on")
    connection.commit()


def _at_connect_pg_to_read(connection: Any, _record: Any) -> None:
    _speak_pg(connection, _ALIKE | {"default_transaction_read_only": "on"})


def _speak_pg(connection: Any, how: Mapping[str, str | int]) -> None:
    """Settle how the session speaks.

    It is said here and not in the address, whose own `options` stay so; and who stands between, as PgBouncer does,
    passes it on.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()  # not every version of SQLAlchemy does, when a listener raises
        raise UsageError(
            f"the database's encoding is {encoding}, which can not hold every name; make one with encoding UTF8 "
            "(create database ... encoding 'UTF8' template template0)"
        )
    with connection.cursor() as cursor:
        for name, value in how.items():
            cursor.execute(f"set {name} = '{value}'")
    connection.commit()
