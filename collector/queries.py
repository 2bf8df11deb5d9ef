"""What is stored, as typed rows: for exports, pages and tests. Reads databases of every layout, and writes nothing.

Times are aware and in UTC. Where damage to an SQLite file has changed the type of a value, it is passed on as it is;
bytes in place of text are decoded, with a replacement for what is not UTF-8.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from collector import database, tables
from collector.arrivals import StreamName
from collector.layouts import amending_reports, layout_of
from collector.numbers import Numbers
from collector.rows import spans_of
from common.errors import StoreError
from contract.amendments import Amendment, Amendments, amendment_of
from contract.labels import Label
from contract.messages import Join, SlideSummary

Spans = tuple[tuple[int, int], ...]
"""Runs of numbers, first and last of each."""
_R, _C = tables.report.c, tables.cell.c
_CHUNK = 1000
_LIKE_NOW: dict[str, sa.ColumnElement[Any]] = {
    "label": sa.case((tables.IS_CUT, tables.NOT_JUDGED), else_=_C.label).label("label"),
    "probability": sa.case((tables.IS_CUT, None), else_=_C.probability).label("probability"),
}
"""What a collector of layout 1 has stored, or one that is not upgraded stores beside this one, as it is said now."""


class FrameRow(NamedTuple):
    """A frame with the report of it.

    Attributes:
        id: number of the row; rows are numbered in the order in which reports came.
        seq: number of the report within device and epoch.
        slide_id: pseudonym of the slide; empty where none was open.
        source: file name, or name of the camera.
        captured_at: time of capture.
        received_at: when the report came.
        accepted: whether the frame was judged.
        reasons: why it was not.
        engine: inference engine and precision.
        cells: how many cells the report names.
    """

    id: int
    device: str
    epoch: str
    seq: int
    site: str
    slide_id: str
    frame_id: str
    source: str
    captured_at: datetime
    received_at: datetime
    accepted: bool
    reasons: tuple[str, ...]
    model_id: str
    engine: str
    cells: int


class CellRow(NamedTuple):
    """A cell in one frame, as later reports leave it.

    Attributes:
        seq: number of the report within device and epoch.
        captured_at: time of the frame's capture.
        number: of the cell within its report, from 1 on.
        object_id: name of the cell on its slide, the same in every frame that shows it; empty where none was open.
        x: left edge in pixels of the frame as captured.
        y: upper edge in pixels.
        width: in pixels.
        height: in pixels.
        area_um2: area of the whole cell in square micrometres.
        label: one of ``contract.labels.LABELS``.
        probability: of a blast, 0 to 1; None if the cell is `not_judged`.
        flags: of the message ``CellReport``.
    """

    site: str
    device: str
    epoch: str
    seq: int
    slide_id: str
    frame_id: str
    captured_at: datetime
    number: int
    cell_id: str
    object_id: str
    x: int
    y: int
    width: int
    height: int
    area_um2: float
    label: Label
    probability: float | None
    flags: tuple[str, ...]


class RenamedCell(NamedTuple):
    """A name that a cell had in earlier reports, and the one that it has now; None if the cell was taken back."""

    site: str
    device: str
    object_id: str
    now: str | None


class SlideRow(NamedTuple):
    """The newest summary of one count of a slide; ``body`` is the message as it came."""

    site: str
    device: str
    slide_id: str
    count_id: str
    received_at: datetime
    body: str

    @property
    def summary(self) -> SlideSummary | None:
        """The message; None if another release wrote it in another form."""
        with suppress(ValidationError):
            return SlideSummary.model_validate_json(self.body)
        return None


class StreamRow(NamedTuple):
    """How far one outbox is.

    Attributes:
        reports: how many are here.
        highest: number of the last of these.
        upto: every number up to this one was acknowledged.
        received_at: when the outbox was last heard of.
        missing: numbers that may still come.
        gone: numbers that no agent holds any more.
        earlier: numbers before the first that is here, which went to somebody else, or came before this collector.
    """

    site: str
    device: str
    epoch: str
    reports: int
    highest: int
    upto: int
    received_at: datetime
    missing: Spans
    gone: Spans
    earlier: Spans


class StoredFrame(NamedTuple):
    """One frame: its row, its cells as later reports leave them, and the report as it came."""

    row: FrameRow
    cells: tuple[CellRow, ...]
    body: str


@contextmanager
def reading(url: str) -> Iterator[sa.Connection]:
    """A connection that changes nothing; faults of the database become words while it is used.

    Raises:
        StoreError: the database can not be read, or is empty.
        UsageError: its tables are of a later layout, or another program's.
    """
    engine = database.open_engine(url, writes=False)
    file = database.file_of(engine)
    if file is not None and not file.exists():  # SQLite would make it
        raise StoreError(f"there is no database {file}; correct --database, or start the collector first")
    where = database.shown(engine)
    try:
        with engine.connect() as connection:
            if not layout_of(connection):
                raise StoreError(f"the database {where} is empty; correct --database, or start the collector first")
            yield connection
    except (SQLAlchemyError, *database.FAULTS) as cause:
        said = database.said_by(cause)
        raise StoreError(
            f"the database {where} can not be read ({said}); correct --database, or see that it runs and lets this "
            "user read"
        ) from cause
    finally:
        engine.dispose()


def frames(connection: sa.Connection, slide_id: str | None = None) -> Iterator[FrameRow]:
    """Every frame, or those of one slide, in the order in which their reports came."""
    wanted = sa.select(*(_R[name] for name in FrameRow._fields)).where(*_of_slide(slide_id)).order_by(_R.id)
    return map(_frame_row, _stream(connection, wanted))


def frame(connection: sa.Connection, device: str, epoch: str, seq: int) -> StoredFrame | None:
    """One frame; None if its report is not here."""
    this = _R.device == device, _R.epoch == epoch, _R.seq == seq
    wanted = sa.select(*(_R[name] for name in FrameRow._fields), _R.body).where(*this)
    found = connection.execute(wanted).one_or_none()
    if found is None:
        return None
    row = _frame_row(found[:-1])
    return StoredFrame(row, tuple(_cells(connection, amendments(connection, row.slide_id), *this)), _sound(found.body))


def report_bodies(connection: sa.Connection, slide_id: str | None = None) -> Iterator[str]:
    """Every report as it came, or those of one slide, in the order in which they came."""
    wanted = sa.select(_R.body).where(*_of_slide(slide_id)).order_by(_R.id)
    return (_sound(body) for (body,) in _stream(connection, wanted))


def cells(connection: sa.Connection, slide_id: str | None = None) -> Iterator[CellRow]:
    """Every cell, or those of one slide, in the order in which their reports came.

    They are given as later reports leave them: a cell that was taken back is left out, and one that was known by two
    names has the one that stayed.
    """
    return _cells(connection, amendments(connection, slide_id), *_of_slide(slide_id))


def renamed(connection: sa.Connection, slide_id: str) -> Iterator[RenamedCell]:
    """Every name of a cell of one slide that later reports have changed; most slides have none."""
    amended = amendments(connection, slide_id)
    if not amended:
        return
    names = _R.site, _R.device, _R.epoch, _C.object_id
    wanted = sa.select(*names, sa.func.max(_R.seq)).join(tables.report, _R.id == _C.report_id)
    found = _stream(connection, wanted.where(_R.slide_id == slide_id).group_by(*names))
    for site, device, epoch, name, seq in map(tuple, found):
        known = amended.get((device, epoch))
        if known and name and (now := known.name(_sound(name), seq)) != name:
            yield RenamedCell(site, device, _sound(name), now)


def slides(connection: sa.Connection, slide_id: str | None = None) -> Iterator[SlideRow]:
    """Every count of every slide, or of one, in the order of their newest summaries."""
    column = tables.slide.c
    wanted = sa.select(*(column[name] for name in SlideRow._fields)).order_by(column.received_at)
    only = wanted if slide_id is None else wanted.where(column.slide_id == slide_id)
    return (SlideRow._make(map(_sound, row)) for row in _stream(connection, only))


def streams(connection: sa.Connection) -> Iterator[StreamRow]:
    """Every outbox that was heard of."""
    counts = sa.select(_R.device, _R.epoch, sa.func.count(), sa.func.max(_R.seq)).group_by(_R.device, _R.epoch)
    stored = {(device, epoch): (count, top) for device, epoch, count, top in connection.execute(counts)}
    for row in connection.execute(sa.select(tables.stream).order_by("site", "device", "received_at")):
        count, top = stored.get((row.device, row.epoch), (0, 0))
        holes = _holes(spans_of(connection, row.device, row.epoch), max(row.upto, row.floor))
        yield StreamRow(row.site, row.device, row.epoch, count, top, row.upto, _sound(row.received_at), *holes)


def quarantined(connection: sa.Connection) -> dict[str, int]:
    """How many messages came that could not be stored, by cause."""
    counted = sa.select(tables.quarantine.c.cause, sa.func.sum(tables.quarantine.c.times)).group_by("cause")
    return {cause: int(times) for cause, times in connection.execute(counted)}


def amendments(connection: sa.Connection, slide_id: str | None = None) -> dict[StreamName, Amendments]:
    """What the stored reports, or those of one slide, say of each other's cells; by device and epoch."""
    found = defaultdict[StreamName, Amendments](Amendments)
    every = [*_amendments_in_columns(connection, slide_id), *_amendments_in_bodies(connection, slide_id)]
    for name, amendment in sorted(every, key=lambda one: one[1].seq):
        found[name].add(amendment)
    return found


def _amendments_in_columns(connection: sa.Connection, slide_id: str | None) -> Iterator[tuple[StreamName, Amendment]]:
    if layout_of(connection) < _R.withdraws.info[tables.SINCE]:
        return
    wanted = sa.select(_R.device, _R.epoch, _R.seq, _R.withdraws, _R.joined).where(
        _R.withdraws.is_not(None), sa.or_(_R.withdraws != "", _R.joined.is_not(None)), *_of_slide(slide_id)
    )
    for device, epoch, seq, withdraws, joined in connection.execute(wanted):
        with suppress(ValidationError):  # damage to the file
            same = Join.model_validate_json(joined).same if joined else {}
            yield (device, epoch), Amendment(seq, _sound(withdraws), same)


def _amendments_in_bodies(connection: sa.Connection, slide_id: str | None) -> Iterator[tuple[StreamName, Amendment]]:
    """Of rows that a collector of an earlier layout has stored."""
    has_columns = layout_of(connection) >= _R.withdraws.info[tables.SINCE]
    only = [*_of_slide(slide_id), *([_R.withdraws.is_(None)] if has_columns else [])]
    for _, message in amending_reports(connection, *only):
        if amendment := amendment_of(message):
            yield (message.device, message.epoch), amendment


def _cells(
    connection: sa.Connection, amended: dict[StreamName, Amendments], *only: sa.ColumnElement[bool]
) -> Iterator[CellRow]:
    columns = [_LIKE_NOW.get(name, _C[name]) if name in _C else _R[name] for name in CellRow._fields]
    wanted = sa.select(*columns).join(tables.report, _R.id == _C.report_id).where(*only).order_by(_R.id, _C.number)
    for found in _stream(connection, wanted):
        row = CellRow._make(map(_sound, found))
        known = amended.get((row.device, row.epoch))
        name = known.name(row.object_id, row.seq) if known else row.object_id
        if name is not None:
            yield row._replace(object_id=name, flags=_words(row.flags))


def _of_slide(slide_id: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if slide_id is None else [_R.slide_id == slide_id]


def _stream(connection: sa.Connection, wanted: sa.Select[Any]) -> Iterable[sa.Row[Any]]:
    """The rows of a query; few at a time are in memory."""
    return connection.execute(wanted, execution_options={"yield_per": _CHUNK})


def _frame_row(found: Iterable[Any]) -> FrameRow:
    row = FrameRow._make(map(_sound, found))
    return row._replace(reasons=_words(row.reasons))


def _sound(value: Any) -> Any:
    """A value as it was stored: times in UTC, which SQLite does not say; of bytes what can be read."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _words(stored: object) -> tuple[str, ...]:
    """The words of a text with a space between two."""
    return tuple(str(stored).split(" ")) if stored else ()


def _holes(spans: Iterable[tuple[int, int]], settled: int) -> tuple[Spans, Spans, Spans]:
    """What is missing, gone and earlier; up to ``settled`` nothing is waited for any more."""
    found = list(spans)
    first = min((low for low, _ in found), default=settled + 1)
    here = Numbers(found)
    awaited = here.copy()
    awaited.cover(1, settled)
    here.cover(1, first - 1)
    here.cover(settled + 1, settled + 1)
    earlier = min(first - 1, settled)
    gone = tuple(hole for hole in here.holes() if hole[0] <= settled)
    return tuple(awaited.holes()), gone, ((1, earlier),) if earlier else ()
