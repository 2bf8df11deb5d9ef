"""When a picture was taken is what its file says, not when it is read."""

import os
import struct
import threading
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.sources.directory import DirectorySource
from contract.types import Frame, FrameMeta

PIXELS = np.full((24, 32, 3), 100, np.uint8)
FILE_TIME = datetime(2021, 3, 28, 1, 30, tzinfo=timezone.utc)
EXPOSED = datetime(2020, 5, 6, 7, 8, 9, 500_000, tzinfo=timezone.utc)
TAGS = {0x9003: "2020:05:06 09:08:09", 0x9011: "+02:00", 0x9291: "5"}


def exif(tags: Mapping[int, str], *, own: Mapping[int, str] | None = None) -> bytes:
    """A block of EXIF data: tags of the picture, and those of its first directory."""
    first = dict(own or {})
    start = 8 + 2 + 12 * (len(first) + 1) + 4
    body = b""

    def entries(these: Mapping[int, str], texts_at: int) -> bytes:
        nonlocal body
        out = b""
        for tag, text in sorted(these.items()):
            data = text.encode() + b"\0"
            inline = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", texts_at + len(body))
            body += data if len(data) > 4 else b""
            out += struct.pack("<HHI", tag, 2, len(data)) + inline
        return out

    size = 2 + 12 * len(tags) + 4
    own_entries = entries(first, start + size) + struct.pack("<HHII", 34665, 4, 1, start)
    exif_entries = entries(tags, start + size)
    head = b"II*\0" + struct.pack("<IH", 8, len(first) + 1) + own_entries + struct.pack("<I", 0)
    return head + struct.pack("<H", len(tags)) + exif_entries + struct.pack("<I", 0) + body


def a_picture(suffix: str, block: bytes) -> bytes:
    data = cv2.imencode(suffix, PIXELS)[1].tobytes()
    if suffix == ".jpg":
        part = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + data[2:]
    if suffix == ".png":
        part = b"eXIf" + block
        return data[:33] + struct.pack(">I", len(block)) + part + struct.pack(">I", zlib.crc32(part)) + data[33:]
    body = data[12:] + b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    head = b"VP8X" + struct.pack("<IB", 10, 8) + bytes(3) + struct.pack("<I", 31)[:3] + struct.pack("<I", 23)[:3]
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(body)) + b"WEBP" + head + body


def frame_of(path: Path) -> Frame:
    os.utime(path, (FILE_TIME.timestamp(), FILE_TIME.timestamp()))
    with DirectorySource(uri=path, um_per_pixel=0.1).open(threading.Event()) as frames:
        return next(frames)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_time_of_exposure_is_that_of_the_picture_s_tags(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(a_picture(suffix, exif(TAGS)))
    frame = frame_of(path)
    assert (frame.fault, frame.captured_at, frame.timed_by) == ("", EXPOSED, "exif")


def test_a_tiff_s_own_time_is_taken(tmp_path: Path) -> None:
    import tifffile  # noqa: PLC0415

    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", datetime=datetime(2020, 5, 6, 7, 8, 9))  # noqa: DTZ001
    frame = frame_of(tmp_path / "a.tif")
    assert frame.timed_by == "exif"
    assert frame.captured_at == datetime(2020, 5, 6, 7, 8, 9).astimezone(timezone.utc)


@pytest.mark.parametrize(("ratio", "exposure_us"), [((1, 125), 8000.0), ((0, 125), None), ((1, 0), None)])
def test_how_long_a_picture_was_exposed_stands_beside_the_frame(
    tmp_path: Path, ratio: tuple[int, int], exposure_us: float | None
) -> None:
    import tifffile  # noqa: PLC0415

    tags = [(0x829A, 5, 1, ratio, True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=tags)
    assert frame_of(tmp_path / "a.tif").meta == FrameMeta(exposure_us=exposure_us)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {0x9003: "0000:00:00 00:00:00"},
        {0x9003: "1970:01:01 00:00:00"},
        {0x9003: "2999:01:01 00:00:00"},
        {0x9003: "yesterday"},
        {0x9003: "2020:05:06 09:08:09", 0x9011: "summer"},
    ],
)
def test_where_no_tag_tells_the_file_s_time_is_taken(tmp_path: Path, tags: dict[int, str]) -> None:
    (tmp_path / "a.jpg").write_bytes(a_picture(".jpg", exif(tags)))
    frame = frame_of(tmp_path / "a.jpg")
    assert (frame.captured_at, frame.timed_by) == (FILE_TIME, "file")


@pytest.mark.parametrize("at", range(0, 120, 3))
def test_damaged_tags_are_none(tmp_path: Path, at: int) -> None:
    block = bytearray(exif(TAGS))
    block[at : at + 3] = b"\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(a_picture(".jpg", bytes(block)))
    frame = frame_of(tmp_path / "a.jpg")
    assert frame.captured_at < datetime.now(timezone.utc) + timedelta(days=2)
    assert frame.fault == ""
