"""The kept pictures on disk: one SQLite file, bounded by MiB and by days; the oldest go first.

Pictures are worth less than reports, whose outbox lies beside them: they leave it room on the disk, they are not synced
one by one, and a damaged file is set aside and another begun. Nothing of that reaches the loop.
"""

import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from agent.pictures.cutting import KeptPicture
from agent.pictures.file import Foreign, number, open_file, transaction
from common.errors import PictureError
from contract.requests import PictureInfo, PictureKind

SPARE_BYTES = 64 * 2**20
"""Room on the disk that pictures leave to reports, the audit log and all else."""
TIDY_EVERY_S = 600.0
_AT_ONCE = 16
"""Pictures that one transaction deletes: nobody waits long for the lock."""
_PAGES_AT_ONCE = 256
_ROW_PAGES = 3
"""Pages of a picture beside those that its bytes fill."""
_LOOSE_SHARE = 0.1
"""Of the file that may be free; more is given back to the disk."""
FAULTS = sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError
"""What Python's sqlite3 raises of a damaged file."""
_DAMAGE = "no such", "unsupported file format", "malformed", "encoding"
"""Words by which SQLite tells of damage under an error's name that stands for much else."""
_DAMAGED = ".damaged-"
_INSERT = "insert or replace into picture (kind, name, kept_at, about, report, sum, data) values (?, ?, ?, ?, ?, ?, ?)"

Note = Callable[[str, Mapping[str, object]], None]
"""Notes an event and its facts in the audit log."""


class PictureStore:
    """Pictures by kind and id; any thread may call any method. The file is opened by the first call that needs it.

    Args:
        path: the file; made if there is none.
        max_mb: its bound in MiB; the write-ahead log, 4 MiB at most in rest, comes on top.
        days: after which a picture is deleted.
        note: takes note of a file that was set aside.
        spare_bytes: room that is left on the disk.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_mb: int,
        days: float,
        note: Note = lambda _event, _facts: None,
        spare_bytes: int = SPARE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._days_s, self._note = path, days * 86400, note
        self._bound_bytes, self._spare_bytes, self._clock = max_mb * 2**20, spare_bytes, clock
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._tidy_at = 0.0
        self.bytes = 0
        """Size of the file when it was last written."""
        self.trouble = ""
        """Why nothing can be kept, in words; "" if it can."""

    def put(self, pictures: Sequence[KeptPicture]) -> None:
        """Keep pictures, all or none; one of the same kind and id is replaced.

        Raises:
            PictureError: there is no room, or the file can not be written; the text says which.
        """
        if time.monotonic() >= self._tidy_at:
            self.tidy()
        with self._lock, self._explained("written") as db:
            self._make_room(db, pictures)
            with transaction(db):
                db.executemany(_INSERT, [self._row(picture) for picture in pictures])
            self.bytes = number(db, "pragma page_count") * number(db, "pragma page_size")

    def get(self, kind: PictureKind, name: str) -> KeptPicture | None:
        """One picture; None if it is not kept, or not any more.

        Raises:
            PictureError: the file can not be read.
        """
        with self._lock, self._explained("read") as db:
            query = "select about, report, sum, data from picture where kind = ? and name = ?"
            found = db.execute(query, (kind, name)).fetchone()
        if found is None:
            return None
        about, report, checked, data = found
        with suppress(ValidationError, TypeError):
            if zlib.crc32(data) == checked:
                return KeptPicture(kind, name, PictureInfo.model_validate_json(about), data, report)
        return None  # damaged within

    def names(self, kind: PictureKind) -> list[str]:
        """Ids of all that are kept, the oldest first; raises PictureError as ``get``."""
        with self._lock, self._explained("read") as db:
            return [name for (name,) in db.execute("select name from picture where kind = ? order by number", (kind,))]

    def reports(self, *, newest: int) -> list[str]:
        """The reports of so many of the newest frames, the oldest first, without reading their pictures; as ``get``."""
        query = "select report from picture where kind = 'frame' order by number desc limit ?"
        with self._lock, self._explained("read") as db:
            return [report for (report,) in db.execute(query, (newest,))][::-1]

    def tidy(self) -> None:
        """Delete what is too old or too much, and give the room back to the disk; raises PictureError as ``put``."""
        self._tidy_at = time.monotonic() + TIDY_EVERY_S
        self._remove_aside()
        while self._delete_too_old() or self._delete_too_much():
            pass
        while self._give_back():
            pass

    def alarms(self) -> list[str]:
        """What a person should see to, in words; does not wait for the disk's answer to another call."""
        aside = [
            f"the kept pictures were damaged, and others are begun; look at {file}, then delete it"
            for file in self._aside()
        ]
        return [*filter(None, [self.trouble]), *aside]

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(*FAULTS):
                db.close()

    def _row(self, picture: KeptPicture) -> tuple[object, ...]:
        about, data = picture.info.model_dump_json(), picture.data
        return picture.kind, picture.id, self._clock(), about, picture.report, zlib.crc32(data), data

    # Room.

    def _make_room(self, db: sqlite3.Connection, coming: Sequence[KeptPicture]) -> None:
        page_bytes, count = number(db, "pragma page_size"), number(db, "pragma page_count")
        needed = sum((len(one.data) + len(one.report)) // page_bytes + _ROW_PAGES for one in coming)
        growth = max(0, shutil.disk_usage(self._path.parent).free - self._spare_bytes) // page_bytes
        most = min(self._bound_bytes // page_bytes, count + growth)
        if needed + _ROW_PAGES > most:
            raise sqlite3.OperationalError("database or disk is full")
        while self._used_pages(db) + needed > most and self._delete_oldest(db):
            pass
        db.execute(f"pragma max_page_count = {most}")

    def _delete_too_old(self) -> bool:
        with self._lock, self._explained("written") as db:
            return self._delete_oldest(db, before=self._clock() - self._days_s)

    def _delete_too_much(self) -> bool:
        """Where the bound is lower than it was."""
        with self._lock, self._explained("written") as db:
            most = self._bound_bytes // number(db, "pragma page_size")
            return self._used_pages(db) > most and self._delete_oldest(db)

    def _give_back(self) -> bool:
        """Whether there may be more to give."""
        with self._lock, self._explained("written") as db:
            free, count = number(db, "pragma freelist_count"), number(db, "pragma page_count")
            too_much = count > self._bound_bytes // number(db, "pragma page_size")
            gives = free > 0 and (too_much or free > _PAGES_AT_ONCE + _LOOSE_SHARE * count)
            if gives:
                db.execute(f"pragma incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
                db.execute("pragma wal_checkpoint(truncate)").fetchall()
            return gives and number(db, "pragma page_count") < count

    def _delete_oldest(self, db: sqlite3.Connection, *, before: float = float("inf")) -> bool:
        """Delete some of the oldest, if they were kept before a time; whether there were any."""
        with transaction(db):
            oldest = db.execute("select number, kept_at from picture order by number limit ?", (_AT_ONCE,)).fetchall()
            gone = [(row,) for row, kept_at in oldest if kept_at < before]
            db.executemany("delete from picture where number = ?", gone)
        return bool(gone)

    @staticmethod
    def _used_pages(db: sqlite3.Connection) -> int:
        return number(db, "pragma page_count") - number(db, "pragma freelist_count")

    # Faults.

    @contextmanager
    def _explained(self, attempt: str) -> Iterator[sqlite3.Connection]:
        """The file, opened; faults become words, and a damaged file is set aside."""
        try:
            if self._db is None:
                self._db = open_file(self._path)
            yield self._db
        except Foreign as cause:
            self._fail(f"{self._path} is another program's: move it away", cause)
        except (OSError, *FAULTS) as cause:
            if _is_damage(cause):
                self._set_aside(cause)
            if "is full" in str(cause):
                self._fail(f"there is no room on the disk for pictures beside {self._path}: free some of it", cause)
            self._fail(
                f"the pictures in {self._path} can not be {attempt} ({cause}): see to the disk and the file's owner",
                cause,
            )
        if attempt == "written":
            self.trouble = ""

    def _fail(self, why: str, cause: BaseException) -> None:
        self.trouble = f"no pictures are kept, reports go on; {why}"
        raise PictureError(self.trouble) from cause

    def _set_aside(self, cause: BaseException) -> None:
        """Keep the damaged file beside its place; the next call begins another. Only the newest is kept."""
        self._let_go()
        for old in self._aside():
            _remove(old)
        aside = self._path.with_name(f"{self._path.name}{_DAMAGED}{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}")
        with suppress(OSError):
            for suffix in ("-wal", "-shm", ""):  # a log that stayed would be taken for the new file's
                with suppress(FileNotFoundError):
                    _beside(self._path, suffix).rename(_beside(aside, suffix))
        self._note("pictures_set_aside", {"kept_aside": aside.name, "because": str(cause)})

    def _aside(self) -> list[Path]:
        return [file for file in sorted(self._path.parent.glob(f"{self._path.name}{_DAMAGED}*Z")) if file.is_file()]

    def _remove_aside(self) -> None:
        """Pictures in a damaged file get no older than others."""
        for file in self._aside():
            with suppress(OSError):
                if file.stat().st_mtime < self._clock() - self._days_s:
                    _remove(file)


def _is_damage(cause: BaseException) -> bool:
    if isinstance(cause, sqlite3.OperationalError):
        return any(word in str(cause) for word in _DAMAGE)
    return type(cause) is sqlite3.DatabaseError or isinstance(cause, UnicodeDecodeError | OverflowError)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        with suppress(OSError):
            _beside(path, suffix).unlink(missing_ok=True)
