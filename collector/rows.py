"""What is written into each table, and read back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone

import sqlalchemy as sa

from collector.arrivals import Arrival, Key, StreamName, kept_body
from collector.layouts import amending_columns
from collector.numbers import Numbers, Stream
from collector.tables import Row, cell, insert_into, quarantine, report, slide, stream
from contract.messages import FrameReport
from contract.topic_words import is_topic_word

_KEY = report.c.device, report.c.epoch, report.c.seq
_ONE_QUERY = 200
"""Keys in one query; each is three of the 32,766 values that SQLite takes."""


def insert_reports(connection: sa.Connection, reports: Mapping[Key, tuple[FrameReport, Arrival]]) -> set[Key]:
    """Insert reports with their cells; returns the keys of those that were not there before."""
    if not reports:
        return set()
    insert = insert_into(connection, report).on_conflict_do_nothing(index_elements=list(_KEY))
    found = connection.execute(insert.returning(report.c.id, *_KEY), [_report_row(*pair) for pair in reports.values()])
    ids = {(device, epoch, seq): number for number, device, epoch, seq in found}
    cells = [row for key, number in ids.items() for row in _cell_rows(number, reports[key][0])]
    if cells:
        connection.execute(sa.insert(cell), cells)
    return set(ids)


def read_bodies(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """The stored reports with these keys."""
    bodies: dict[Key, str] = {}
    for start in range(0, len(keys), _ONE_QUERY):
        wanted = sa.tuple_(*_KEY).in_(keys[start : start + _ONE_QUERY])
        for device, epoch, seq, body in connection.execute(sa.select(*_KEY, report.c.body).where(wanted)):
            bodies[device, epoch, seq] = body
    return bodies


def upsert_streams(connection: sa.Connection, streams: Mapping[StreamName, Stream], *, at: datetime) -> None:
    """Note how far each stream is."""
    if streams:
        insert = insert_into(connection, stream)
        changes = {name: insert.excluded[name] for name in ("site", "upto", "floor", "received_at")}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["device", "epoch"], set_=changes),
            [
                {
                    "device": device,
                    "epoch": epoch,
                    "site": known.site,
                    "upto": known.numbers.upto,
                    "floor": known.floor,
                    "received_at": at.astimezone(timezone.utc),
                }
                for (device, epoch), known in streams.items()
            ],
        )


def read_streams(connection: sa.Connection) -> dict[StreamName, Stream]:
    """Every stream with its numbers, as the stored reports tell them.

    Earlier releases kept streams of any name; to one that is no word of a topic nobody can answer.
    """
    streams: dict[StreamName, Stream] = {}
    for device, epoch, site, upto, floor in connection.execute(
        sa.select(stream.c.device, stream.c.epoch, stream.c.site, stream.c.upto, stream.c.floor)
    ):
        if all(map(is_topic_word, (device, epoch, site))):
            numbers = Numbers(spans_of(connection, device, epoch, after=upto))
            numbers.cover(1, upto)
            streams[device, epoch] = Stream(site, numbers, floor)
            streams[device, epoch].settle()
    return streams


def upsert_slides(connection: sa.Connection, slides: Iterable[Row]) -> None:
    """Keep the newest summary of each count of a slide."""
    for row in slides:
        insert = insert_into(connection, slide)
        changes = {name: insert.excluded[name] for name in ("site", "received_at", "body")}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["device", "slide_id", "count_id"], set_=changes), row
        )


def insert_quarantine(connection: sa.Connection, found: Sequence[Row], *, most: int) -> None:
    """Keep what could not be stored, the same message once; of the malformed only the newest ``most``."""
    for row in found:
        insert = insert_into(connection, quarantine)
        changes = {"times": quarantine.c.times + 1, "last_at": insert.excluded.last_at}
        connection.execute(insert.on_conflict_do_update(index_elements=["digest"], set_=changes), row)
    evictable = quarantine.c.cause != "conflict"
    if found:
        newest = sa.select(quarantine.c.id).where(evictable).order_by(quarantine.c.id.desc())
        last = connection.scalar(newest.offset(most).limit(1))
        if last is not None:
            connection.execute(sa.delete(quarantine).where(evictable, quarantine.c.id <= last))


def spans_of(connection: sa.Connection, device: str, epoch: str, *, after: int = 0) -> Iterable[tuple[int, int]]:
    """Runs of numbers without holes: within a run, number less rank stays the same."""
    here = sa.and_(report.c.device == device, report.c.epoch == epoch, report.c.seq > after)
    rank = sa.func.row_number().over(order_by=report.c.seq)
    numbered = sa.select(report.c.seq, (report.c.seq - rank).label("run")).where(here).subquery()
    query = sa.select(sa.func.min(numbered.c.seq), sa.func.max(numbered.c.seq)).group_by(numbered.c.run)
    return [(int(low), int(high)) for low, high in connection.execute(query)]


def _report_row(message: FrameReport, arrival: Arrival) -> Row:
    return {
        "device": message.device,
        "epoch": message.epoch,
        "seq": message.seq,
        "site": message.site,
        "slide_id": message.slide_id,
        "frame_id": message.frame.id,
        "source": message.frame.source,
        "captured_at": message.frame.captured_at.astimezone(timezone.utc),
        "received_at": arrival.at.astimezone(timezone.utc),
        "accepted": message.quality.accepted,
        "reasons": " ".join(message.quality.reasons),
        "model_id": message.model.id,
        "engine": message.model.engine,
        "cells": len(message.cells),
        "body": kept_body(message, arrival),
        **amending_columns(message),
    }


def _cell_rows(report_id: int, message: FrameReport) -> Iterable[Row]:
    for number, found in enumerate(message.cells, start=1):
        yield {
            "report_id": report_id,
            "number": number,
            "cell_id": found.cell_id,
            "object_id": found.object_id,
            "x": found.box.x,
            "y": found.box.y,
            "width": found.box.width,
            "height": found.box.height,
            "area_um2": found.area_um2,
            "label": found.label,
            "probability": found.probability,
            "flags": " ".join(found.flags),
        }
