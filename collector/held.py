"""One connection to a database that is held open, for whoever writes all the time."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from collector import database


class HeldConnection:
    """A connection that stays open, and knows if the SQLite file it writes to is still the one of that name.

    SQLite goes on writing to a file that was removed or replaced: nothing written there may be acknowledged.

    Args:
        url: SQLAlchemy's address of the database.

    Raises:
        UsageError: the address can not be used.
        MissingError: the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._engine = database.open_engine(url)
        self._connection: sa.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def where(self) -> str:
        """The address, without its password."""
        return database.shown(self._engine)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for a server's."""
        return database.file_of(self._engine)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; its file may have moved."""
        return self._connection is not None

    @property
    def has_moved(self) -> bool:
        """Whether there is a connection, and its file was removed or replaced."""
        return self._connection is not None and self._identity != self._found()

    def connected(self, prepare: Callable[[sa.Connection], object]) -> sa.Connection:
        """The connection; a new one is made if there is none.

        Args:
            prepare: called in a transaction of each new connection; if it raises, no connection is held.

        Raises:
            SQLAlchemyError: the database can not be reached. Also whatever ``prepare`` raises.
        """
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
                with self._connection.begin():
                    prepare(self._connection)
                self._identity = self._found()
            except BaseException:
                self.close()
                raise
        return self._connection

    def leave(self) -> None:
        """Close, and leave a moved file whole: a log that stayed would be taken for that of the file here now."""
        if self._connection is not None and self._connection.connection.driver_connection is not None:
            with suppress(sqlite3.Error):
                self._connection.connection.driver_connection.execute("pragma wal_checkpoint(truncate)")
        self.close()

    def close(self) -> None:
        """Let go of the database; the next call connects again."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except SQLAlchemyError:
            pass  # it was lost already
        finally:
            self._engine.dispose()

    def _found(self) -> tuple[int, int] | None:
        """What distinguishes the file from any other of its name; None for a server's database, or without a file."""
        with suppress(OSError):
            if self.file is not None:
                found = self.file.stat()
                return found.st_dev, found.st_ino
        return None
