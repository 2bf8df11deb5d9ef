"""What is written into the reviews' tables, each within one transaction, and what is refused."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from collector.tables import Row, insert_into
from dashboard.records import SlideKey, SlideRecord
from dashboard.reviews import tables
from dashboard.reviews.events import (
    KINDS,
    READINGS,
    UNSURE,
    Act,
    ActKind,
    Given,
    Reading,
    ReviewRefusedError,
    Seen,
    Verdict,
)
from dashboard.reviews.readings import Readings
from dashboard.reviews.rows import acts_of, last_verdict, seen_by, verdicts_on, verdicts_where
from dashboard.reviews.standing import Names, in_force, is_label
from dashboard.security.roles import Role

LONGEST_NOTE = 2000
"""Characters of a remark or a reason."""
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_CLASS = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_AT_ONCE = 2000
"""Rows of one insert."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, for which reading.

    Attributes:
        person: name of the user.
        role: of the user; ``dashboard.security`` has checked that it may call.
        reading: which.
        at: when, UTC.
        call_id: the browser's random name of this call, 8 to 64 letters, digits, `-` and `_`; a resend has the same.
    """

    person: str
    role: Role
    reading: Reading
    at: datetime
    call_id: str = ""

    def __post_init__(self) -> None:
        """Refuse a reading that there is not."""
        if self.reading not in READINGS:
            raise ReviewRefusedError(
                "unknown", f"there is no reading {self.reading!r}; it is one of {', '.join(READINGS)}"
            )


def changing(connection: sa.Connection, key: SlideKey, *, by: int = 1) -> int:
    """The number of a slide that is about to change, which nobody else changes until the transaction ends.

    Args:
        connection: within a transaction that has read nothing yet, which SQLite might refuse to let write later.
        key: which slide.
        by: how much its version rises; 0 for what is no part of its log.
    """
    insert = insert_into(connection, tables.slide)
    slide = tables.slide.c
    names = [slide.site, slide.device, slide.slide_id]
    changed = insert.on_conflict_do_update(index_elements=names, set_={"version": slide.version + by})
    wanted = changed.values(**key._asdict(), version=by).returning(slide.id)
    return int(connection.execute(wanted).scalar_one())


def mark_shown(
    connection: sa.Connection, slide: int, record: SlideRecord, call: Call, object_ids: Iterable[str]
) -> int:
    """Note cells that are on the reviewer's screen, with what the model says of them; returns how many there are.

    A name that the record does not hold is left out: the cell was taken back meanwhile.
    """
    _check_reader(Readings.of(acts_of(connection, slide)), call)
    wanted = set(object_ids)
    rows = [
        {
            "slide": slide,
            "reviewer": call.person,
            "reading": call.reading,
            "object_id": cell.object_id,
            "first_at": call.at,
            "last_at": call.at,
            "cell_id": cell.cell_id,
            "label": cell.label,
            "probability": cell.probability,
            "model_id": cell.model_id,
        }
        for cell in record.cells
        if cell.object_id in wanted
    ]
    insert = insert_into(connection, tables.shown)
    again = {name: insert.excluded[name] for name in ("last_at", "cell_id", "label", "probability", "model_id")}
    upsert = insert.on_conflict_do_update(index_elements=list(tables.shown.primary_key), set_=again)
    for some in _chunks(rows):
        connection.execute(upsert, some)
    return len(rows)


@dataclass(frozen=True, slots=True)
class _Known:
    """What verdicts are checked against.

    Attributes:
        names: that each cell has and had, by the name that the page gives it.
        seen: cells as they were on the reviewer's screen, by any name.
        mine: the reviewer's verdicts that stand, by any name; read for an undo only.
        classes: of the laboratory.
    """

    names: Mapping[str, Sequence[str]]
    seen: Mapping[str, Seen]
    mine: Mapping[str, Verdict]
    classes: Collection[str]


def add_verdicts(
    connection: sa.Connection,
    slide: int,
    record: SlideRecord,
    call: Call,
    given: Sequence[Given],
    *,
    classes: Collection[str],
) -> list[Verdict]:
    """Store what a reviewer says of cells, all or nothing; of a resend what was stored is returned.

    Raises:
        ReviewRefusedError: see ``store.ReviewStore.give``.
    """
    _check_call_id(call)
    if stored := _sent_before(connection, slide, call, given):
        return stored
    readings = Readings.of(acts_of(connection, slide))
    _check_reader(readings, call)
    _check_unsigned(readings, call)
    called = Names(record)
    names = {one.object_id: called.every(one.object_id) for one in given}
    if len({every[0] for every in names.values()}) < len(given):
        raise ReviewRefusedError("twice", "a cell stands twice in one call; say of each once what it is")
    every_name = list(dict.fromkeys(name for one in names.values() for name in one))
    mine: list[Verdict] = []
    if any(one.kind == "undo" for one in given):
        mine = in_force(verdicts_on(connection, slide, call.person, call.reading, every_name))
    seen = seen_by(connection, slide, call.person, call.reading, every_name)
    known = _Known(names, seen, {one.object_id: one for one in mine}, classes)
    rows = [{"slide": slide, "upto": record.upto, **_verdict_row(call, one, known)} for one in given]
    for some in _chunks(rows):
        connection.execute(sa.insert(tables.verdict), some)
    return list(verdicts_where(connection, tables.verdict.c.call_id == call.call_id))


def add_act(
    connection: sa.Connection,
    slide: int,
    call: Call,
    kind: ActKind,
    *,
    reason: str = "",
    takes_back: int | None = None,
    upto: int = 0,
    statement: str = "",
    digest: str = "",
) -> Act:
    """Store an act on a reading."""
    _check_call_id(call)
    if connection.scalar(sa.select(tables.act.c.id).where(tables.act.c.call_id == call.call_id)):
        raise _call_id_used()
    row = {
        "slide": slide,
        "reading": call.reading,
        "kind": kind,
        "person": call.person,
        "role": call.role,
        "reason": reason,
        "takes_back": takes_back,
        "at": call.at,
        "call_id": call.call_id,
        "upto": upto,
        "last_verdict": last_verdict(connection, slide),
        "statement": statement,
        "digest": digest,
    }
    number = connection.execute(sa.insert(tables.act).returning(tables.act.c.id), row).scalar_one()
    return next(act for act in acts_of(connection, slide) if act.id == number)


def act_sent_before(acts: Iterable[Act], call: Call, kind: ActKind) -> Act | None:
    """The act that a resend has stored already; ReviewRefusedError if the call_id was another call's."""
    found = next((act for act in acts if act.call_id == call.call_id), None)
    if found and (found.kind, found.person) != (kind, call.person):
        raise _call_id_used()
    return found


def checked_reason(text: str) -> str:
    """A reason, which must be there."""
    if not text.strip() or len(text) > LONGEST_NOTE or "\0" in text:
        raise ReviewRefusedError("reason", f"a reason is needed, of at most {LONGEST_NOTE} characters; say why")
    return text.strip()


def _check_call_id(call: Call) -> None:
    if not _CALL_ID.fullmatch(call.call_id):
        raise ReviewRefusedError("call_id", "a call_id is 8 to 64 letters, digits, - and _; make a random one")


def _check_reader(readings: Readings, call: Call) -> None:
    if call.reading == "adjudication":
        if not readings.both_signed:
            raise ReviewRefusedError("not_signed", "an adjudication begins when both readings are signed")
    elif readings.holders.get(call.reading) != call.person:
        raise ReviewRefusedError(
            "not_holder", f"{call.person} does not hold reading {call.reading} of this slide; begin it first"
        )


def _check_unsigned(readings: Readings, call: Call) -> None:
    if signed := readings.signed(call.reading):
        raise ReviewRefusedError(
            "signed", f"this reading is signed by {signed[0].person}; withdraw that signature before changing a verdict"
        )


def _sent_before(connection: sa.Connection, slide: int, call: Call, given: Sequence[Given]) -> list[Verdict]:
    """What a call with this call_id has stored; ReviewRefusedError if it was another call."""
    stored = list(verdicts_where(connection, tables.verdict.c.call_id == call.call_id))
    if stored:
        here = list(
            verdicts_where(connection, tables.verdict.c.call_id == call.call_id, tables.verdict.c.slide == slide)
        )
        asked = {one.object_id: one for one in given}
        if here != stored or asked.keys() != {one.object_id for one in stored}:
            raise _call_id_used()
        if not all(_repeats(asked[one.object_id], call, one) for one in stored):
            raise _call_id_used()
    return stored


def _repeats(one: Given, call: Call, stored: Verdict) -> bool:
    """Whether a verdict says what is stored."""
    kinds = {one.kind, "confirm"} if one.kind == "correct" else {one.kind}
    same = (stored.reviewer, stored.reading, stored.note) == (call.person, call.reading, one.note.strip())
    return same and stored.kind in kinds and (one.kind != "correct" or one.label == stored.label)


def _call_id_used() -> ReviewRefusedError:
    return ReviewRefusedError("call_id", "the call_id was used for another call; make a random one for each")


def _verdict_row(call: Call, one: Given, known: _Known) -> Row:
    names = known.names[one.object_id]
    seen = next((known.seen[name] for name in (one.object_id, *names) if name in known.seen), None)
    if seen is None:
        raise ReviewRefusedError(
            "not_shown", f"the cell {one.object_id} was not on the screen of {call.person}; look at it first"
        )
    mine = [known.mine[name] for name in names if name in known.mine]
    latest = max(mine, key=lambda before: before.id, default=None)
    kind, label = _checked(one, seen, latest, known.classes)
    return {
        "object_id": one.object_id,
        "reviewer": call.person,
        "role": call.role,
        "reading": call.reading,
        "kind": kind,
        "label": label,
        "note": one.note.strip(),
        "at": call.at,
        "call_id": call.call_id,
        "undoes": latest.id if latest and kind == "undo" else None,
        "seen_cell_id": seen.cell_id,
        "seen_label": seen.label,
        "seen_probability": seen.probability,
        "seen_model_id": seen.model_id,
    }


def _checked(one: Given, seen: Seen, latest: Verdict | None, classes: Collection[str]) -> tuple[str, str]:
    """Kind and label as they are stored: a label that is the model's own confirms it."""
    if len(one.note) > LONGEST_NOTE or "\0" in one.note:
        raise ReviewRefusedError("note", f"a note has at most {LONGEST_NOTE} characters, and no NUL; shorten it")
    if one.kind == "undo":
        if latest is None:
            raise ReviewRefusedError("nothing_to_undo", f"there is no verdict on {one.object_id} to take back")
        return "undo", latest.label
    if one.kind == "unsure":
        return "unsure", UNSURE
    if one.kind == "confirm":
        if seen.label == UNSURE:
            raise ReviewRefusedError(
                "uncertain", f"the model is uncertain of {one.object_id}: say what the cell is, or that you are unsure"
            )
        return "confirm", seen.label
    fits = one.label in classes or (is_label(one.label) and one.label != UNSURE)
    if one.kind not in KINDS or not fits or not _CLASS.fullmatch(one.label):
        known = ", ".join(["normal", "blast", "not_judged", *sorted(classes)])
        raise ReviewRefusedError("label", f"{one.label!r} is no label; it is one of {known}")
    return ("confirm" if one.label == seen.label else "correct"), one.label


def _chunks(rows: Sequence[Any]) -> Iterator[list[Any]]:
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        yield some
