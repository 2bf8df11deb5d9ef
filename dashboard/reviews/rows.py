"""Rows of the reviews' tables, read as values."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from dashboard.records import SlideKey
from dashboard.reviews.events import Act, Reading, Seen, SlideLog, Verdict
from dashboard.reviews.readings import Readings
from dashboard.reviews.tables import act, shown, slide, verdict

_AT_ONCE = 5000
"""Names in one query; SQLite takes 32,766 values."""
_SHOWN = [shown.c[name] for name in Seen._fields]
_VERDICT = [verdict.c[name] for name in Verdict._fields]
_ACT = [act.c[name] for name in Act._fields]
_Row = TypeVar("_Row", Verdict, Act)


class ReviewedSlide(NamedTuple):
    """A slide that somebody reviews or has reviewed.

    Attributes:
        version: of its log.
        holders: who holds the first and the second reading.
        signed: which readings are signed, and by whom.
        acts: all of them, in their order; hand a person what ``readings.visible`` leaves of them.
        last_at: time of the latest verdict or act, UTC; None where there is only a mark of what was shown.
    """

    key: SlideKey
    version: int
    holders: tuple[tuple[Reading, str], ...]
    signed: tuple[tuple[Reading, str], ...]
    last_at: datetime | None
    acts: tuple[Act, ...] = ()


class Tally(NamedTuple):
    """How much is stored: slides with a log, verdicts and undos, signatures also where they were withdrawn."""

    slides: int
    verdicts: int
    signatures: int


def log_of(connection: sa.Connection, key: SlideKey) -> SlideLog:
    """All that is stored of a slide."""
    this = slide.c.site == key.site, slide.c.device == key.device, slide.c.slide_id == key.slide_id
    found = connection.execute(sa.select(slide.c.id, slide.c.version).where(*this)).one_or_none()
    if found is None:
        return SlideLog(key)
    mine = verdict.c.slide == found.id
    return SlideLog(key, found.version, tuple(verdicts_where(connection, mine)), tuple(acts_of(connection, found.id)))


def version_of(connection: sa.Connection, key: SlideKey) -> int:
    """The version of a slide's log; 0 where nothing is stored."""
    this = slide.c.site == key.site, slide.c.device == key.device, slide.c.slide_id == key.slide_id
    return int(connection.scalar(sa.select(slide.c.version).where(*this)) or 0)


def reviewed_slides(connection: sa.Connection) -> Iterator[ReviewedSlide]:
    """Every slide with a log, in the order in which they were begun."""
    last: dict[int, datetime] = {}
    for table in (verdict, act):
        latest = sa.select(table.c.slide, sa.func.max(table.c.at)).group_by(table.c.slide)
        for number, at in connection.execute(latest):
            last[number] = max(_utc(at), last.get(number, _utc(at)))
    acts = defaultdict[int, list[Act]](list)
    for number, *found in connection.execute(sa.select(act.c.slide, *_ACT).order_by(act.c.id)):
        acts[number].append(_timed(Act._make(found)))
    for row in connection.execute(sa.select(slide).order_by(slide.c.id)):
        readings = Readings.of(acts[row.id])
        yield ReviewedSlide(
            SlideKey(row.site, row.device, row.slide_id),
            row.version,
            tuple(readings.holders.items()),
            tuple((one.reading, one.person) for one in readings.signatures),
            last.get(row.id),
            tuple(acts[row.id]),
        )


def verdicts_where(connection: sa.Connection, *only: sa.ColumnElement[bool]) -> Iterator[Verdict]:
    """Verdicts that meet conditions, in their order."""
    found = connection.execute(sa.select(*_VERDICT).where(*only).order_by(verdict.c.id))
    return (_timed(Verdict._make(row)) for row in found)


def verdicts_on(
    connection: sa.Connection, number: int, reviewer: str, reading: Reading, names: Sequence[str]
) -> list[Verdict]:
    """What a reviewer has said in a reading of cells of these names, undo included, in its order."""
    mine = verdict.c.slide == number, verdict.c.reviewer == reviewer, verdict.c.reading == reading
    found: list[Verdict] = []
    for some in _chunks(names):
        found.extend(verdicts_where(connection, *mine, verdict.c.object_id.in_(some)))
    return sorted(found)


def last_verdict(connection: sa.Connection, number: int) -> int:
    """Number of a slide's last verdict; 0 where there is none."""
    return int(connection.scalar(sa.select(sa.func.max(verdict.c.id)).where(verdict.c.slide == number)) or 0)


def acts_of(connection: sa.Connection, number: int) -> list[Act]:
    """The acts of a slide, in their order."""
    found = connection.execute(sa.select(*_ACT).where(act.c.slide == number).order_by(act.c.id))
    return [_timed(Act._make(row)) for row in found]


def latest_acts(connection: sa.Connection, count: int) -> list[tuple[SlideKey, Act]]:
    """The newest acts of all slides, the latest first."""
    names = [slide.c[name] for name in SlideKey._fields]
    wanted = sa.select(*names, *_ACT).join(slide, slide.c.id == act.c.slide).order_by(act.c.id.desc()).limit(count)
    width = len(names)
    found = (tuple(row) for row in connection.execute(wanted))
    return [(SlideKey(*row[:width]), _timed(Act._make(row[width:]))) for row in found]


def tally(connection: sa.Connection) -> Tally:
    """How much is stored."""
    signed = sa.select(sa.func.count()).where(act.c.kind == "sign")
    counts = [sa.select(sa.func.count()).select_from(table) for table in (slide, verdict)]
    return Tally(*(int(connection.scalar(one) or 0) for one in (*counts, signed)))


def seen_by(
    connection: sa.Connection, number: int, reviewer: str, reading: Reading, names: Sequence[str]
) -> dict[str, Seen]:
    """Cells of these names as they were last on a reviewer's screen, by name."""
    mine = shown.c.slide == number, shown.c.reviewer == reviewer, shown.c.reading == reading
    found: dict[str, Seen] = {}
    for some in _chunks(names):
        rows = connection.execute(sa.select(*_SHOWN).where(*mine, shown.c.object_id.in_(some)))
        found |= {row.object_id: _seen(row) for row in rows}
    return found


def names_shown_to(connection: sa.Connection, key: SlideKey, reviewer: str, reading: Reading) -> frozenset[str]:
    """Names of the cells that were on a reviewer's screen."""
    this = slide.c.site == key.site, slide.c.device == key.device, slide.c.slide_id == key.slide_id
    wanted = sa.select(shown.c.object_id).join(slide, slide.c.id == shown.c.slide)
    mine = wanted.where(*this, shown.c.reviewer == reviewer, shown.c.reading == reading)
    return frozenset(connection.scalars(mine))


def _seen(row: sa.Row[Any]) -> Seen:
    found = Seen._make(row)
    return found._replace(last_at=_utc(found.last_at))


def _timed(row: _Row) -> _Row:
    return row._replace(at=_utc(row.at))


def _utc(moment: datetime) -> datetime:
    """A time in UTC, which SQLite does not say."""
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))
