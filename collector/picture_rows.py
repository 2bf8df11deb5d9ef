"""The pictures that were fetched, as typed values: for pages, exports and tests. Reads only.

A database of a layout before 4 holds none. A picture is known by the `cell_id` of its cell, or the id of its frame, as
reports name them; two agents hardly ever give the same one, and ``device`` says whose is meant where they have.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import NamedTuple

import sqlalchemy as sa

from collector import tables
from collector.layouts import layout_of
from contract.requests import PictureKind

_P = tables.picture.c
_CHUNK = 500


class PictureBox(NamedTuple):
    """Where the cell lies in its picture, in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


class StoredPicture(NamedTuple):
    """One picture.

    Attributes:
        device: the agent that kept it.
        data: the file.
        media_type: one of ``contract.requests.MediaType``.
        width: in pixels.
        height: in pixels.
        um_per_pixel: micrometres per pixel of the picture.
        box: of the cell; None for a frame.
        captured_at: time of the frame's capture, UTC.
    """

    device: str
    data: bytes
    media_type: str
    width: int
    height: int
    um_per_pixel: float
    box: PictureBox | None
    captured_at: datetime


class PictureMark(NamedTuple):
    """What tells a stored picture from every other one that has had, or will have, its name."""

    row: int
    fetched_at: datetime
    bytes: int


def picture_marks(
    connection: sa.Connection, cell_ids: Iterable[str], *, device: str | None = None
) -> dict[str, PictureMark]:
    """The marks of the pictures of cells; a cell of which there is none is left out. Reads no picture."""
    every = list(cell_ids)
    if not every or not has_pictures(connection):
        return {}
    columns = _P.name, _P.id, _P.fetched_at, _P.bytes
    return {
        name: PictureMark(*mark)
        for start in range(0, len(every), _CHUNK)
        for name, *mark in connection.execute(
            sa.select(*columns).where(*_named("cell", every[start : start + _CHUNK], device)).order_by(_P.id)
        )
    }


def picture(connection: sa.Connection, cell_id: str, *, device: str | None = None) -> StoredPicture | None:
    """The picture of a cell; None if it was not fetched, or is kept no more."""
    return _one(connection, "cell", cell_id, device)


def frame_picture(connection: sa.Connection, frame_id: str, *, device: str | None = None) -> StoredPicture | None:
    """The picture of a frame, 1280 pixels or less; None if it was not fetched, or is kept no more."""
    return _one(connection, "frame", frame_id, device)


def pictures_of(connection: sa.Connection, cell_ids: Iterable[str], *, device: str | None = None) -> set[str]:
    """Of these cells, those of which there is a picture."""
    return _of_kind(connection, "cell", cell_ids, device)


def frame_pictures_of(connection: sa.Connection, frame_ids: Iterable[str], *, device: str | None = None) -> set[str]:
    """Of these frames, those of which there is a picture."""
    return _of_kind(connection, "frame", frame_ids, device)


def picture_counts(connection: sa.Connection) -> tuple[int, int]:
    """How many pictures there are, and how many bytes they have together."""
    if not has_pictures(connection):
        return 0, 0
    counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_P.bytes), 0)).where(_P.bytes > 0)
    count, size = connection.execute(counted).one()
    return int(count), int(size)


def has_pictures(connection: sa.Connection) -> bool:
    """Whether the database has the table."""
    return layout_of(connection) >= int(tables.picture.info[tables.SINCE])


def _one(connection: sa.Connection, kind: PictureKind, name: str, device: str | None) -> StoredPicture | None:
    if not has_pictures(connection):
        return None
    columns = [_P[field] for field in StoredPicture._fields]
    wanted = sa.select(*columns).where(*_named(kind, [name], device)).order_by(_P.id.desc()).limit(1)
    found = connection.execute(wanted).one_or_none()
    if found is None:
        return None
    at = found.captured_at
    utc = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return StoredPicture._make(found)._replace(data=bytes(found.data), box=_box(found.box), captured_at=utc)


def _of_kind(connection: sa.Connection, kind: PictureKind, names: Iterable[str], device: str | None) -> set[str]:
    every = list(names)
    if not every or not has_pictures(connection):
        return set()
    return {
        name
        for start in range(0, len(every), _CHUNK)
        for (name,) in connection.execute(
            sa.select(_P.name).where(*_named(kind, every[start : start + _CHUNK], device))
        )
    }


def _named(kind: PictureKind, names: Sequence[str], device: str | None) -> Iterator[sa.ColumnElement[bool]]:
    yield from (_P.kind == kind, _P.name.in_(names), _P.bytes > 0)
    if device is not None:
        yield _P.device == device


def _box(stored: str | None) -> PictureBox | None:
    if stored is None:
        return None
    with suppress(ValueError, TypeError):
        return PictureBox(**json.loads(stored))
    return None  # damage to the file
