"""Who did what from this page: sign-ins and failures, and commands with what came of them; a file that only grows.

It stands beside the agents' audit logs, which have each command too, and the log of the reviews, which has each verdict
and signature. A command is noted before it is asked, and its answer as a row of its own: one that can not be noted is
not asked, and one without an answer was asked when this server ended.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from common.durable import make_private
from common.errors import StoreError, UsageError

log = logging.getLogger(__name__)
FILE = "deeds.sqlite"
Kind = Literal["sign_in", "sign_in_failed", "sign_out", "command", "answer"]
MOST_FAILURES = 10_000
"""Failed sign-ins that are kept: whoever reaches the page could write any number of them."""
_FORM = """
create table if not exists deed (
    id integer primary key autoincrement, at text not null, kind text not null, person text not null,
    about text not null, said text not null, ok integer, asked integer references deed(id)
);
create index if not exists deed_asked on deed (asked);
create trigger if not exists deed_stays before update on deed begin select raise(abort, 'a deed is never changed'); end;
create trigger if not exists deed_is_kept before delete on deed when old.kind <> 'sign_in_failed'
    begin select raise(abort, 'a deed is never deleted'); end;
"""
_FORGET = (
    "delete from deed where kind = 'sign_in_failed' and id <= (select id from deed where kind = 'sign_in_failed' "
    "order by id desc limit 1 offset ?)"
)


class Deed(NamedTuple):
    """Something that somebody did.

    Attributes:
        at: when, UTC.
        kind: all but `answer`, which stands in ``ok`` and ``answer`` of its command.
        person: who; empty where a name is nobody's.
        about: of a command the agent, `<site>/<device>`; of a sign-in the address that it came from.
        said: of a command its name and what was asked.
        ok: whether the agent has carried a command out; None where no answer is known, or it is no command.
        answer: what was shown of the answer.
    """

    at: datetime
    kind: Kind
    person: str
    about: str
    said: str
    ok: bool | None
    answer: str


class Deeds:
    """The deeds of one file; any thread may call.

    Raises:
        UsageError: the file can not be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(path)
            with closing(self._open()) as file:
                file.executescript(_FORM)
        except (OSError, sqlite3.Error) as cause:
            raise UsageError(
                f"the file of what people did, {path}, can not be opened ({cause}); put its back-up in its place, or "
                "move it away and a new one is made"
            ) from cause

    def command(self, person: str, agent: str, said: str) -> int:
        """Note that a command is about to be asked; its number. Raises StoreError if it can not be noted."""
        return self._add("command", person, about=agent, said=said)

    def answered(self, command: int, *, ok: bool, said: str) -> None:
        """Note what came of a command; the log has it where the file can not take it, for it is done."""
        try:
            self._add("answer", "", said=said, ok=ok, asked=command)
        except StoreError as cause:
            log.warning("%s; the answer to command %d was %s", cause, command, said)

    def signed(self, kind: Literal["sign_in", "sign_in_failed", "sign_out"], person: str, address: str) -> None:
        """Note that somebody signed in or out, or could not; the log has it where the file can not take it."""
        try:
            self._add(kind, person, about=address)
        except StoreError as cause:
            log.warning("%s; %s of %s from %s", cause, kind, person or "a name that is nobody's", address)

    def latest(self, count: int) -> list[Deed]:
        """The newest deeds, the latest first; raises StoreError if the file can not be read."""
        wanted = (
            "select deed.at, deed.kind, deed.person, deed.about, deed.said, answer.ok, coalesce(answer.said, '') "
            "from deed left join deed as answer on answer.asked = deed.id where deed.kind <> 'answer' "
            "order by deed.id desc limit ?"
        )
        with self._at_work() as file:
            rows = file.execute(wanted, (count,)).fetchall()
        return [
            Deed(datetime.fromisoformat(at), kind, person, about, said, None if ok is None else bool(ok), answer)
            for at, kind, person, about, said, ok, answer in rows
        ]

    def _add(
        self,
        kind: Kind,
        person: str,
        *,
        about: str = "",
        said: str = "",
        ok: bool | None = None,
        asked: int | None = None,
    ) -> int:
        row = datetime.now(timezone.utc).isoformat(), kind, person, about, said, ok, asked
        columns = "at, kind, person, about, said, ok, asked"
        with self._at_work() as file:
            added = file.execute(f"insert into deed ({columns}) values (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - ours
            if kind == "sign_in_failed":
                file.execute(_FORGET, (MOST_FAILURES,))
        return added.lastrowid or 0

    @contextmanager
    def _at_work(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        try:
            with closing(self._open()) as file, file:
                yield file
        except (OSError, sqlite3.Error) as cause:
            raise StoreError(
                f"the file of what people did, {self._path}, can not be used ({cause}); see that its disk has room and "
                "that this user may write it"
            ) from cause

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, timeout=5)
        file.execute("pragma synchronous = full")
        return file
