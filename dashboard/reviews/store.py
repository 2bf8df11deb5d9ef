"""The reviews' database: READ FIRST in this room. What a call returns from is safe, and a resend changes nothing.

A page works so: ``begin`` a reading, ``mark_shown`` what is on the screen, ``give`` verdicts, ``sign``. What follows
from all of it are pure functions of a ``records.SlideRecord`` and a log: ``readings.visible`` first, then
``standing.final_labels``, ``progress``, ``agreement``.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from typing_extensions import Self

from collector import database
from common.errors import IntegrityError, StoreError
from dashboard.records import SlideKey, SlideRecord
from dashboard.reviews import rows, writing
from dashboard.reviews.events import BLIND, Act, Given, Reading, ReviewRefusedError, SlideLog, Verdict
from dashboard.reviews.readings import Readings
from dashboard.reviews.rows import ReviewedSlide, Tally
from dashboard.reviews.signing import check_signable, digest_of, statement_of
from dashboard.reviews.tables import make_tables, metadata
from dashboard.reviews.writing import Call
from dashboard.security.roles import Role

log = logging.getLogger(__name__)
T = TypeVar("T")
_PATIENCE_MS = 10_000
"""Another reviewer's transaction takes milliseconds, but SQLite is not fair to who waits."""


def utc_now() -> datetime:
    """The time, aware, UTC."""
    return datetime.now(timezone.utc)


class ReviewStore:
    """The database of the reviews; many threads and processes may use it.

    Each call is one transaction; two that change one slide go one after the other (SQLite: WAL with synchronous=FULL;
    PostgreSQL: synchronous_commit). Every call raises StoreError if the database can not be used now: nothing was
    stored, or it was stored and the answer was lost; the same call with the same call_id is right in both cases.
    IntegrityError says that an SQLite file is damaged, UsageError that the tables are another program's or of a later
    release, ReviewRefusedError (a UsageError) that a rule of the review forbids the call; it names the rule.

    Args:
        url: SQLAlchemy's address of the database, SQLite or PostgreSQL.
        clock: the time, UTC.

    Raises:
        UsageError: the address can not be used.
        MissingError: the driver is not installed.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = database.open_engine(url, own=frozenset(metadata.tables), patience_ms=_PATIENCE_MS)
        self._clock = clock
        self._is_made = self._was_made = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address, without its password."""
        return database.shown(self._engine)

    @property
    def is_there(self) -> bool:
        """Whether there is a file; of a server's database it is not known."""
        file = database.file_of(self._engine)
        return file is None or file.exists()

    def open(self) -> None:
        """Make the database's folder, file and tables if they are missing; every call does so for the tables."""
        database.make_place(database.file_of(self._engine))
        self._run(lambda _: None)

    def close(self) -> None:
        """Let go of the database; a later call connects again."""
        self._engine.dispose()

    def log(self, key: SlideKey) -> SlideLog:
        """All that is stored of a slide; hand a person what ``readings.visible`` leaves of it."""
        return self._run(lambda connection: rows.log_of(connection, key))

    def version(self, key: SlideKey) -> int:
        """A number that rises with every change of a slide's log; 0 where nothing is stored."""
        return self._run(lambda connection: rows.version_of(connection, key))

    def reviewed_slides(self) -> list[ReviewedSlide]:
        """Every slide that somebody reviews or has reviewed."""
        return self._run(lambda connection: list(rows.reviewed_slides(connection)))

    def latest_acts(self, count: int) -> list[tuple[SlideKey, Act]]:
        """The newest acts of all slides, the latest first."""
        return self._run(lambda connection: rows.latest_acts(connection, count))

    def tally(self) -> Tally:
        """How much is stored."""
        return self._run(rows.tally)

    def shown_to(self, key: SlideKey, reviewer: str, reading: Reading) -> frozenset[str]:
        """Names of the cells that were on a reviewer's screen."""
        return self._run(lambda connection: rows.names_shown_to(connection, key, reviewer, reading))

    def begin(self, key: SlideKey, person: str, role: Role, call_id: str) -> Reading:
        """Begin a reading: the first, or the second where somebody holds the first; returns which.

        Who holds one gets the same again.

        Raises:
            ReviewRefusedError: `taken`: both are held; `unsealed`: the person has seen what another reader says.
        """

        def work(connection: sa.Connection) -> Reading:
            slide = writing.changing(connection, key)
            readings = Readings.of(rows.acts_of(connection, slide))
            reading = readings.free_for(person)
            if readings.held_by(person) is None:
                writing.add_act(connection, slide, Call(person, role, reading, self._clock(), call_id), "begin")
            return reading

        return self._run(work)

    def release(self, key: SlideKey, reading: Reading, person: str, role: Role, *, reason: str, call_id: str) -> Act:
        """Free a reading for somebody else; its verdicts stay in the log and count no longer.

        Raises:
            ReviewRefusedError: `not_yours`: neither the holder nor an administrator asks; `signed`; `reason`: none.
        """

        def work(connection: sa.Connection) -> Act:
            slide = writing.changing(connection, key)
            call, acts = Call(person, role, reading, self._clock(), call_id), rows.acts_of(connection, slide)
            if before := writing.act_sent_before(acts, call, "release"):
                return before
            readings = Readings.of(acts)
            if reading not in readings.holders:
                raise ReviewRefusedError("unknown", f"nobody holds reading {reading} of this slide")
            _check_own(readings.holders[reading], person, role)
            if readings.signed(reading):
                raise ReviewRefusedError("signed", "this reading is signed; withdraw the signature before releasing it")
            return writing.add_act(connection, slide, call, "release", reason=writing.checked_reason(reason))

        return self._run(work)

    def unseal(self, key: SlideKey, person: str, role: Role, call_id: str) -> Act | None:
        """Let a person who holds no reading see what is signed; None if that person is known to have seen it.

        Raises:
            ReviewRefusedError: `taken`: the person holds a reading, and sees the other when both are signed.
        """

        def work(connection: sa.Connection) -> Act | None:
            slide = writing.changing(connection, key)
            readings = Readings.of(rows.acts_of(connection, slide))
            if readings.held_by(person):
                raise ReviewRefusedError("taken", f"{person} holds a reading; the other shows when both are signed")
            if person in readings.unsealed:
                return None
            return writing.add_act(connection, slide, Call(person, role, BLIND[0], self._clock(), call_id), "unseal")

        return self._run(work)

    def mark_shown(
        self, record: SlideRecord, person: str, role: Role, reading: Reading, object_ids: Iterable[str]
    ) -> int:
        """Note which cells are on the screen of who holds a reading, or adjudicates; returns how many there are.

        Raises:
            ReviewRefusedError: `not_holder`; `not_signed`: of an adjudication, while a reading is not signed.
        """

        def work(connection: sa.Connection) -> int:
            slide = writing.changing(connection, record.key, by=0)
            call = Call(person, role, reading, self._clock())
            return writing.mark_shown(connection, slide, record, call, object_ids)

        return self._run(work)

    def give(
        self,
        record: SlideRecord,
        person: str,
        role: Role,
        reading: Reading,
        given: Sequence[Given],
        *,
        call_id: str,
        classes: Collection[str] = (),
    ) -> list[Verdict]:
        """Store what a reviewer says of one cell or of many: all of it or nothing.

        A `correct` by the model's own label is stored as `confirm`. A verdict on a cell that was taken back while it
        was on the screen is stored, and counts nowhere.

        Args:
            record: the slide, as new as the caller has it.
            person: the reviewer.
            role: of the reviewer.
            reading: which; an adjudication needs no ``begin``.
            given: what is said; each cell once.
            call_id: a random name that the browser makes for this call; a resend has the same.
            classes: of the laboratory, beside the model's labels.

        Returns:
            The verdicts as stored; of a resend, as they were stored before.

        Raises:
            ReviewRefusedError: `not_holder`, `not_signed` (an adjudication), `signed`, `not_shown`, `uncertain` (a
                confirm of what the model does not say), `label`, `nothing_to_undo`, `note`, `twice`, or the `call_id`
                is another call's.
        """

        def work(connection: sa.Connection) -> list[Verdict]:
            slide = writing.changing(connection, record.key)
            call = Call(person, role, reading, self._clock(), call_id)
            return writing.add_verdicts(connection, slide, record, call, given, classes=classes)

        return self._run(work)

    def sign(self, record: SlideRecord, person: str, role: Role, reading: Reading, *, call_id: str) -> Act:
        """Sign a reading as it stands, or an adjudication.

        Raises:
            ReviewRefusedError: `unreviewed`: an uncertain cell has no verdict; `disputed`: a disagreement is not
                settled; `signed`, `not_holder`, `not_signed`.
        """

        def work(connection: sa.Connection) -> Act:
            slide = writing.changing(connection, record.key)
            call, whole = Call(person, role, reading, self._clock(), call_id), rows.log_of(connection, record.key)
            if before := writing.act_sent_before(whole.acts, call, "sign"):
                return before
            check_signable(record, whole, reading, person)
            shown = len(rows.names_shown_to(connection, record.key, person, reading))
            text = statement_of(record, whole, reading, person, role, at=call.at, shown=shown)
            return writing.add_act(
                connection, slide, call, "sign", upto=record.upto, statement=text, digest=digest_of(text)
            )

        return self._run(work)

    def withdraw(self, key: SlideKey, signature: int, person: str, role: Role, *, reason: str, call_id: str) -> Act:
        """Withdraw a signature, which stays in the log with the reason.

        Args:
            key: which slide.
            signature: ``Act.id`` of the signature.
            person: the signer, or an administrator.
            role: of that person.
            reason: why.
            call_id: the browser's name of this call.

        Raises:
            ReviewRefusedError: `unknown`: no such signature is in force; `not_yours`; `signed`: an adjudication of
                this reading is signed; `reason` is missing.
        """

        def work(connection: sa.Connection) -> Act:
            slide = writing.changing(connection, key)
            acts = rows.acts_of(connection, slide)
            readings = Readings.of(acts)
            sent = next((act for act in acts if act.call_id == call_id), None)
            found = next((act for act in readings.signatures if act.id == signature), None)
            if found is None and sent is None:
                raise ReviewRefusedError("unknown", "there is no such signature in force; load the page again")
            reading = found.reading if found else BLIND[0]
            call = Call(person, role, reading, self._clock(), call_id)
            if before := writing.act_sent_before(acts, call, "withdraw"):
                return before
            _check_own(found.person if found else "", person, role)
            if reading in BLIND and readings.signed("adjudication"):
                raise ReviewRefusedError("signed", "the adjudication is signed; withdraw that signature first")
            return writing.add_act(
                connection, slide, call, "withdraw", reason=writing.checked_reason(reason), takes_back=signature
            )

        return self._run(work)

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do something in one transaction; once again if the connection was lost, or another makes the tables too."""
        for attempt in (1, 2):
            was_made = self._is_made
            try:
                with self._engine.connect() as connection:
                    if not was_made:
                        self._make(connection)
                    with connection.begin():
                        found = work(connection)
            except (SQLAlchemyError, *database.FAULTS) as cause:
                lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
                if attempt == 1 and (lost or not was_made):
                    continue
                raise self._explained(cause) from cause
            self._is_made = self._was_made = True
            return found
        raise AssertionError  # the second attempt returns or raises

    def _make(self, connection: sa.Connection) -> None:
        """See to the tables, in a transaction of its own: work that changes something must not read before."""
        with connection.begin():
            were_missing = make_tables(connection)
        if were_missing and self._was_made:
            log.error(
                "the tables of the reviews are gone from %s and were made again, empty; what was stored before is "
                "where the database has gone: put it back",
                self.where,
            )

    def _explained(self, cause: Exception) -> StoreError | IntegrityError:
        self._is_made = False
        self._engine.dispose()
        said = database.said_by(cause)
        if database.file_of(self._engine) and database.is_damage(cause):
            return IntegrityError(
                f"the database of the reviews {self.where} is damaged, or none ({said}); put the newest back-up in its "
                "place, or move the file away and a new one is made"
            )
        return StoreError(
            f"the database of the reviews {self.where} can not be used ({said}); see that it runs and lets this user "
            "write, that its disk has room, and that no other program holds it locked; then send the same again"
        )


def _check_own(owner: str, person: str, role: Role) -> None:
    if person != owner and role != "administrator":
        raise ReviewRefusedError("not_yours", f"this is {owner}'s; {owner} or an administrator may do it")
