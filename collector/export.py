"""What is stored, for people and for other programs: a line for each stream, reports and cells as CSV or JSON lines."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import IO, Any, Literal, TypeAlias

from collector import queries
from collector.columns import summary_columns, summary_values
from collector.numbers import shown
from collector.picture_rows import picture_counts
from collector.queries import CellRow, FrameRow, SlideRow, StreamRow, reading
from common.words import counted
from contract.messages import iso

What: TypeAlias = Literal["reports", "cells", "slides"]
Form: TypeAlias = Literal["csv", "jsonl"]

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula begins with, in full width too; a quote before it makes a spreadsheet show it as it is."""


def status(url: str) -> Iterator[str]:
    """A line for each stream, one for the quarantine, and one for pictures if there are any.

    Raises:
        StoreError: the database can not be read.
    """
    with reading(url) as connection:
        yield from map(_stream_line, queries.streams(connection))
        causes = queries.quarantined(connection).items()
        found = ", ".join(f"{times} {cause}" for cause, times in causes) or "nothing"
        yield f"quarantine: {found}"
        count, size = picture_counts(connection)
        if count:
            yield f"{counted(count, 'picture')} of cells and frames, {size / 2**20:.1f} MiB"


def export(url: str, what: What, *, form: Form, slide_id: str | None, out: IO[str]) -> int:
    """Write what is stored, in the order in which it came; returns the number of rows.

    JSON lines of reports and slides are the messages as they came. Cells are written as later reports leave them:
    one that was taken back is left out, and one that was known by two names has the one that stayed.

    Raises:
        StoreError: the database can not be read.
    """
    with reading(url) as connection:
        if what == "cells":
            cells = queries.cells(connection, slide_id)
            return write_csv(CellRow._fields, cells, out) if form == "csv" else _jsonl(map(_cell_line, cells), out)
        if what == "reports":
            if form == "csv":
                return write_csv(FrameRow._fields, queries.frames(connection, slide_id), out)
            return _jsonl(queries.report_bodies(connection, slide_id), out)
        slides = queries.slides(connection, slide_id)
        if form == "csv":
            rows = ((*row[:-1], *summary_values(row.summary)) for row in slides)
            return write_csv([*SlideRow._fields[:-1], *summary_columns()], rows, out)
        return _jsonl((row.body for row in slides), out)


def _stream_line(row: StreamRow) -> str:
    gone, earlier = shown(row.gone), shown(row.earlier)
    return (
        f"{row.site}/{row.device} epoch {row.epoch}: {counted(row.reports, 'report')} up to {row.highest}, "
        f"acknowledged up to {row.upto}, missing: {shown(row.missing) or 'none'}{gone and f', gone: {gone}'}"
        f"{earlier and f', earlier, not here: {earlier}'}; "
        f"last {row.received_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _cell_line(row: CellRow) -> str:
    return json.dumps({name: _plain(value) for name, value in row._asdict().items()})


def write_csv(names: Iterable[str], rows: Iterable[Iterable[Any]], out: IO[str], *, delimiter: str = ",") -> int:
    """Write a table that spreadsheets and programs read; returns the number of rows.

    Args:
        names: of the columns.
        rows: numbers, text, None for nothing, times (written as the messages have them) and tuples of words.
        out: opened without translation of line ends.
        delimiter: between two columns.
    """
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(names)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - it counts
        writer.writerow([csv_cell(value) for value in row])
    return count


def csv_cell(value: Any) -> Any:
    """A value as no spreadsheet takes it for a formula, which could show something else or send the table away."""
    plain = _plain(value)
    return f"'{plain}" if isinstance(plain, str) and plain[:1] in _FORMULA else plain


def _plain(value: Any) -> Any:
    """Times as the messages have them: UTC, milliseconds, Z; words with a space between two."""
    if isinstance(value, datetime):
        return iso(value)
    return " ".join(value) if isinstance(value, tuple) else value


def _jsonl(lines: Iterable[str], out: IO[str]) -> int:
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007
        out.write(f"{line}\n")
    return count
