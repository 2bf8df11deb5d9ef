"""What is stored, for people and for other programs: a line for each stream, reports and cells as CSV or JSON lines."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import IO, Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from collector import database, tables
from collector.amend import parted, read_amendments
from collector.columns import summary_columns, summary_values
from collector.numbers import Numbers, shown
from collector.rows import spans_of
from common.errors import StoreError
from common.words import counted
from contract.messages import iso

What: TypeAlias = Literal["reports", "cells", "slides"]
Form: TypeAlias = Literal["csv", "jsonl"]

_R, _C = tables.report.c, tables.cell.c
_NAMES = _R.site, _R.device, _R.epoch, _R.seq, _R.slide_id, _R.frame_id
_SLIDE = [tables.slide.c[name] for name in ("site", "device", "slide_id", "count_id", "received_at", "body")]
_LIKE_NOW: dict[str, sa.ColumnElement[Any]] = {
    "label": sa.case((tables.IS_CUT, tables.NOT_JUDGED), else_=_C.label).label("label"),
    "probability": sa.case((tables.IS_CUT, None), else_=_C.probability).label("probability"),
}
"""What a collector of layout 1 has stored, or one that is not upgraded stores beside this one, as it is said now."""
_CHUNK = 1000
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula begins with, in full width too; a quote before it makes a spreadsheet show it as it is."""


def status(url: str) -> Iterator[str]:
    """A line for each stream, and one for the quarantine.

    Raises:
        StoreError: the database can not be read.
    """
    with _reading(url) as connection:
        counts = sa.select(_R.device, _R.epoch, sa.func.count(), sa.func.max(_R.seq)).group_by(_R.device, _R.epoch)
        stored = {(device, epoch): (count, top) for device, epoch, count, top in connection.execute(counts)}
        for row in connection.execute(sa.select(tables.stream).order_by("site", "device", "received_at")):
            count, top = stored.get((row.device, row.epoch), (0, 0))
            missing, gone, before = _holes(connection, row)
            yield (
                f"{row.site}/{row.device} epoch {row.epoch}: {counted(count, 'report')} up to {top}, "
                f"acknowledged up to {row.upto}, missing: {missing or 'none'}{gone and f', gone: {gone}'}"
                f"{before and f', earlier, not here: {before}'}; "
                f"last {row.received_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        causes = sa.select(tables.quarantine.c.cause, sa.func.sum(tables.quarantine.c.times)).group_by("cause")
        found = ", ".join(f"{times} {cause}" for cause, times in connection.execute(causes)) or "nothing"
        yield f"quarantine: {found}"


def export(url: str, what: What, *, form: Form, slide_id: str | None, out: IO[str]) -> int:
    """Write what is stored, in the order in which it came; returns the number of rows.

    JSON lines of reports and slides are the messages as they came. Cells are told as later reports leave them: one that
    was taken back is not told, and one that was known by two names is told by that which stayed.

    Raises:
        StoreError: the database can not be read.
    """
    query, table = _query(what, form)
    if slide_id is not None:
        query = query.where(table.c.slide_id == slide_id)
    with _reading(url) as connection:
        amend = _amender(connection, slide_id) if what == "cells" else tuple
        result = connection.execution_options(yield_per=_CHUNK).execute(query)
        names = list(result.keys())
        rows = (tuple(_text(value) for value in told) for row in result if (told := amend(row)))
        if what == "slides" and form == "csv":
            names, rows = [*names[:-1], *summary_columns()], ((*row[:-1], *summary_values(row[-1])) for row in rows)
        return _csv(names, rows, out) if form == "csv" else _jsonl(names, rows, out)


@contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    engine = database.open_engine(url, writes=False)
    file = database.file_of(engine)
    if file is not None and not file.exists():  # SQLite would make it
        raise StoreError(f"there is no database {file}; correct --database, or start the collector first")
    where = database.shown(engine)
    try:
        with engine.connect() as connection:
            if not tables.layout_of(connection):
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


def _query(what: What, form: Form) -> tuple[sa.Select[Any], sa.Table]:
    if what == "slides":
        wanted = [tables.slide.c.body] if form == "jsonl" else _SLIDE
        return sa.select(*wanted).order_by(tables.slide.c.received_at), tables.slide
    if what == "reports":
        wanted = [_R.body] if form == "jsonl" else [column for column in tables.report.c if column.name != "body"]
        return sa.select(*wanted).order_by(_R.id), tables.report
    cells = [_LIKE_NOW.get(column.name, column) for column in tables.cell.c if column.name != "report_id"]
    joined = sa.select(*_NAMES, _R.captured_at, *cells).join(tables.report, _R.id == _C.report_id)
    return joined.order_by(_R.id, _C.number), tables.report


def _amender(connection: sa.Connection, slide_id: str | None) -> Callable[[sa.Row[Any]], tuple[Any, ...]]:
    """What tells a row of a cell as later reports leave it; an empty one if it does not count."""
    amendments = read_amendments(connection, slide_id)

    def amend(row: sa.Row[Any]) -> tuple[Any, ...]:
        amended = amendments.get((row.device, row.epoch, parted(_text(row.object_id))[0]))
        if amended is None:
            return tuple(row)
        if amended.took_back(row.object_id, row.seq):
            return ()
        return tuple({**row._asdict(), "object_id": amended.name(row.object_id)}.values())

    return amend


def _text(value: Any) -> Any:
    """A value as it was stored; of bytes, which only damage to an SQLite file makes of text, what can be read."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _csv(names: list[str], rows: Iterable[tuple[Any, ...]], out: IO[str]) -> int:
    writer = csv.writer(out)
    writer.writerow(names)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - it counts
        writer.writerow([_csv_cell(value) for value in row])
    return count


def _csv_cell(value: Any) -> Any:
    """A value as no spreadsheet takes it for a formula, which could show something else or send the table away."""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    return _told(value) if isinstance(value, datetime) else value


def _told(value: datetime) -> str:
    """A time as the messages have it: UTC, milliseconds, Z."""
    return iso(value if value.tzinfo else value.replace(tzinfo=timezone.utc))


def _jsonl(names: list[str], rows: Iterable[tuple[Any, ...]], out: IO[str]) -> int:
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007
        body = row[0] if names == ["body"] else json.dumps(dict(zip(names, row, strict=True)), default=_told)
        out.write(f"{body}\n")
    return count


def _holes(connection: sa.Connection, stream: sa.Row[Any]) -> tuple[str, str, str]:
    """What is waited for; what no agent holds any more, so that it can not come; and of that, what was never heard of.

    Numbers before the first that is stored here went to somebody else, or this collector is new.
    """
    settled = max(stream.upto, stream.floor)
    spans = list(spans_of(connection, stream.device, stream.epoch))
    first = min((low for low, _ in spans), default=settled + 1)
    here = Numbers(spans)
    awaited = here.copy()
    awaited.cover(1, settled)
    here.cover(1, first - 1)
    here.cover(settled + 1, settled + 1)
    gone = shown(hole for hole in here.holes() if hole[0] <= settled)
    earlier = min(first - 1, settled)
    return shown(awaited.holes()), gone, shown([(1, earlier)] if earlier else [])
