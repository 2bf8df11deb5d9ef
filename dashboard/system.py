"""What is known of this server and of its stores, as values: what the page of the system shows."""

import platform
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple

import sqlalchemy as sa

from collector import database, queries, tables
from collector.layouts import layout_of
from collector.numbers import shown
from collector.picture_rows import picture_counts
from collector.queries import Spans, StreamRow

VERSION = version("microscope-agent")
PYTHON = platform.python_version()


class Gap(NamedTuple):
    """An outbox of which reports are not here.

    Attributes:
        stream: which.
        missing: numbers that may still come, in words; "" if none.
        gone: numbers that no agent holds any more, in words; "" if none.
    """

    stream: StreamRow
    missing: str
    gone: str


class StoreFacts(NamedTuple):
    """What the collector's store holds.

    Attributes:
        where: its address, without what may be secret.
        layout: number of its tables' layout.
        size: bytes on the disk; None where that is not known.
        slides: how many slides have a summary.
        reports: how many reports there are.
        newest: when an outbox was last heard of, UTC; None if none was.
        pictures: how many pictures there are.
        picture_bytes: how many bytes they have together.
        quarantined: messages that could not be stored, by cause.
        gaps: outboxes of which reports are not here.
    """

    where: str
    layout: int
    size: int | None
    slides: int
    reports: int
    newest: datetime | None
    pictures: int
    picture_bytes: int
    quarantined: dict[str, int]
    gaps: tuple[Gap, ...]


def store_facts(connection: sa.Connection) -> StoreFacts:
    """Ask the collector's store; takes some milliseconds for each 100,000 reports."""
    streams = list(queries.streams(connection))
    names = sa.select(tables.slide.c.site, tables.slide.c.device, tables.slide.c.slide_id).distinct().subquery()
    pictures, size = picture_counts(connection)
    gaps = (Gap(stream, _words(stream.missing), _words(stream.gone)) for stream in streams)
    return StoreFacts(
        where=database.shown(connection.engine),
        layout=layout_of(connection),
        size=_size(connection),
        slides=connection.scalar(sa.select(sa.func.count()).select_from(names)) or 0,
        reports=sum(stream.reports for stream in streams),
        newest=max((stream.received_at for stream in streams), default=None),
        pictures=pictures,
        picture_bytes=size,
        quarantined=queries.quarantined(connection),
        gaps=tuple(gap for gap in gaps if gap.missing or gap.gone),
    )


def _words(spans: Spans) -> str:
    return shown(list(spans)) if spans else ""


def _size(connection: sa.Connection) -> int | None:
    file = database.file_of(connection.engine)
    if file is None:
        return int(connection.scalar(sa.text("select pg_database_size(current_database())")) or 0)
    total = 0
    for part in (file, file.with_name(f"{file.name}-wal")):
        with suppress(OSError):
            total += part.stat().st_size
    return total
