"""Who is signed in: sessions in an SQLite file, so that a page that is started again asks nobody for a password."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from common.durable import make_private
from common.errors import StoreError, UsageError

FILE = "sessions.sqlite"
_TOKEN_BYTES = 32
_FORM = "create table if not exists session (hash text primary key, name text, csrf text, began real, ends real)"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        csrf: a word that each request that changes something must repeat: only our own pages know it.
        began: when the person signed in, UTC.
    """

    name: str
    csrf: str
    began: datetime


class Sessions:
    """Those of one file; any thread may ask. The file holds hashes of what cookies hold, so it signs nobody in.

    A file that is gone is made again: everybody signs in again. Every call raises StoreError if the file can not be
    used.

    Raises:
        UsageError: the file can not be opened.
    """

    def __init__(self, path: Path, *, hours: float) -> None:
        self._path, self._seconds = path, hours * 3600
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened():
                pass
        except (OSError, sqlite3.Error) as cause:
            raise UsageError(
                f"the file of sessions {path} can not be opened ({cause}); remove it: everybody signs in again"
            ) from cause

    def begin(self, name: str) -> str:
        """Sign a person in; what the cookie holds."""
        token, csrf = secrets.token_urlsafe(_TOKEN_BYTES), secrets.token_urlsafe(_TOKEN_BYTES)
        now = time.time()
        with self._at_work() as file:
            file.execute("delete from session where ends < ?", (now,))
            row = _hash(token), name, csrf, now, now + self._seconds
            file.execute("insert into session values (?, ?, ?, ?, ?)", row)
        return token

    def find(self, token: str) -> Session | None:
        """Whose cookie this is; None if nobody's, or if it is too old."""
        with self._at_work() as file:
            asked = "select name, csrf, began from session where hash = ? and ends > ?"
            row = file.execute(asked, (_hash(token), time.time())).fetchone()
        return Session(row[0], row[1], datetime.fromtimestamp(row[2], timezone.utc)) if row else None

    def end(self, token: str) -> None:
        """Sign out."""
        with self._at_work() as file:
            file.execute("delete from session where hash = ?", (_hash(token),))

    @contextmanager
    def _at_work(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        try:
            with self._opened() as file:
                yield file
        except (OSError, sqlite3.Error) as cause:
            raise StoreError(
                f"the file of sessions {self._path} can not be used ({cause}); see that its disk has room and that "
                "this user may write it, or remove it: everybody signs in again"
            ) from cause

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The same, with the table in a file that is for this user alone, whoever has removed it meanwhile."""
        if not self._path.exists():
            make_private(self._path)
        with closing(sqlite3.connect(self._path, timeout=5)) as file, file:
            file.execute(_FORM)
            yield file


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
