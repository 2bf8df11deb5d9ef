"""How a picture was taken, as its file says: when, by the tags that cameras write or the file's own time; how long."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from contract import tiff
from contract.pictures import JPEG

EXIF = 34665
"""The tag that says where the directory of EXIF begins; the numbers are those of EXIF 2.32, table 4 and on."""
ORIGINAL = 0x9003, 0x9011, 0x9291
DIGITISED = 0x9004, 0x9012, 0x9292
CHANGED = 306, 0x9010, 0x9290
"""For each time its own tag, that of its zone and that of its fraction of a second."""
EXPOSURE_TIME = 0x829A
NEAR = 65_536
"""Bytes from its beginning in which a JPEG keeps its tags."""
OLDEST = datetime(1990, 1, 1, tzinfo=timezone.utc)
"""Before it there were no such tags: a camera's clock was never set."""
A_DAY = timedelta(days=1)


class Exposure(NamedTuple):
    """What the tags of a picture say of its exposure; None where they do not, or say what can not be.

    Attributes:
        at: when; a time without a zone is one of this computer's.
        us: how long, in microseconds.
    """

    at: datetime | None = None
    us: float | None = None


def exposure_of(data: bytes | bytearray) -> Exposure:
    """Read the tags of a picture, which is given as the bytes of its file."""
    tags = _tags(data)
    first = next(tiff.directories(tags), None) if tiff.is_tiff(tags) else None
    if first is None:
        return Exposure()
    exif = tiff.directory_at(tags, first.number(EXIF)) if first.number(EXIF) else None
    places = [(exif, ORIGINAL), (exif, DIGITISED), (first, CHANGED)]
    times = (_moment(where, exif or where, tags_of) for where, tags_of in places if where)
    lasted_s = (exif or first).ratio(EXPOSURE_TIME)
    return Exposure(
        next((found for found in times if found), None),
        lasted_s * 1e6 if lasted_s and lasted_s > 0 else None,
    )


def changed_at(path: Path) -> datetime:
    """When a file was last written; now, if it can not be looked at."""
    now = datetime.now(timezone.utc)
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except (OSError, OverflowError, ValueError):
        return now


def _tags(data: bytes | bytearray) -> bytes | bytearray:
    """The TIFF that holds a picture's tags: EXIF data is one, wherever it is stored."""
    if tiff.is_tiff(data):
        return data
    mark = b"Exif\0\0" if data.startswith(JPEG) else b"eXIf" if data.startswith(b"\x89PNG") else b"EXIF"
    at = data.find(mark, 0, NEAR if data.startswith(JPEG) else None)
    if at < 0:
        return b""
    start = at + (8 if mark == b"EXIF" else len(mark))
    return data[start + 6 :] if data[start : start + 6] == b"Exif\0\0" else data[start : start + NEAR]


def _moment(where: tiff.Directory, zones: tiff.Directory, tags: tuple[int, int, int]) -> datetime | None:
    time, zone, fraction = where.text(tags[0]), zones.text(tags[1]), zones.text(tags[2])
    try:
        found = datetime.strptime(time.strip(), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - the zone follows
        part = fraction.strip()
        found += timedelta(seconds=float(f"0.{part}")) if part.isascii() and part.isdigit() else timedelta()
        offset = datetime.strptime(zone.strip(), "%z").tzinfo if zone.strip() else None
        moment = (found.replace(tzinfo=offset) if offset else found.astimezone()).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if OLDEST <= moment <= datetime.now(timezone.utc) + A_DAY else None
