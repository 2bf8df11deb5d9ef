"""Images of a folder, in the order of their names, or one image."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import cycle
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agent.sources.names import is_folder, printable
from agent.sources.scale import Scale
from contract.errors import UsageError
from contract.types import Frame, Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
"""Largest image that is decoded; `contract/__init__.py` says why."""
AS_CAPTURED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
"""Not turned as a camera's tag suggests: boxes are in pixels of the frame as captured."""
JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""The markers of ITU-T T.81, table B.1, but for the restarts, which stand within the compressed data."""
JPEG_END = b"\xd9"
PNG_END = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
"""A PNG's last chunk, whole: no length, its name, its checksum."""


class DirectorySource(BaseModel):
    """A folder of images, sub-folders included, or a single image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["directory"] = Field("directory", description="Images of a folder, in the order of their names.")
    uri: Path = Field(description="The folder, or one image.")
    um_per_pixel: Scale

    @contextmanager
    def open(self, run: str, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        """Open it; raises UsageError if there is no image to be found."""
        yield self._frames(run, stop, image_files(self.uri))

    def _frames(self, run: str, stop: threading.Event, files: list[Path]) -> Iterator[Frame]:
        root = self.uri if self.uri.is_dir() else self.uri.parent
        for number, path in enumerate(files, start=1):
            if stop.is_set():
                return
            name = printable(path.relative_to(root).as_posix())
            yield self._read(path, frame_id=f"{run}-{number:08d}", name=name)

    def _read(self, path: Path, *, frame_id: str, name: str) -> Frame:
        started = time.perf_counter()
        captured_at = datetime.now(timezone.utc)
        try:
            image = read_image(path)
        except UnfitImageError as cause:
            return Frame(frame_id, name, captured_at, self.um_per_pixel, fault=cause.fault, detail=f"{name}: {cause}")
        spent_ms = (time.perf_counter() - started) * 1e3
        return Frame(frame_id, name, captured_at, self.um_per_pixel, image=image, read_ms=spent_ms)


class UnfitImageError(Exception):
    """A file that is not a whole picture of a size that we take."""

    def __init__(self, fault: Literal["unreadable", "incomplete", "too_large"], text: str) -> None:
        super().__init__(text)
        self.fault = fault


def image_files(place: Path) -> list[Path]:
    """The images of a folder in natural order (`a2` before `a10`), or the one image that ``place`` is.

    Raises:
        UsageError: nothing there, or no image in it.
    """
    if not is_folder(place, wanted="folder or image"):
        return [place]
    found = [p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise UsageError(f"the folder {place} holds no image ({kinds}); name a folder that does")
    return sorted(found, key=lambda p: _natural(p.relative_to(place).as_posix()))


def read_image(path: Path) -> Image:
    """Decode one image file to (height, width, 3) uint8, blue-green-red.

    Raises:
        UnfitImageError: it is no image or several, is cut short, or is larger than ``MAX_PIXELS``.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise UnfitImageError("unreadable", f"the file can not be read ({cause.strerror})") from cause
    if _cut_short(data):
        raise UnfitImageError("incomplete", "the file ends before the picture does")
    if (pages := _pages(path)) > 1:
        raise UnfitImageError("unreadable", f"the file holds {pages} pictures; store each in a file of its own")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), AS_CAPTURED) if data else None
    except cv2.error as cause:
        if "CV_IO_MAX_IMAGE" in str(cause):
            raise UnfitImageError("too_large", f"more than the {MAX_PIXELS} pixels that are decoded") from cause
        raise UnfitImageError("unreadable", f"it can not be decoded ({cause.err})") from cause
    if image is None:
        raise UnfitImageError("unreadable", "it is not an image that can be decoded")
    return np.asarray(image, np.uint8)


def _cut_short(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end: some decoders fill the rest with grey."""
    if data.startswith(b"\xff\xd8"):
        return not _jpeg_ends(data)
    return data.startswith(b"\x89PNG") and PNG_END not in data


def _jpeg_ends(data: bytes) -> bool:
    """Walk from segment to segment to the end of the image: a thumbnail's end, or bytes after it, do not count."""
    at = 2
    while (marker := JPEG_MARKER.search(data, at)) and marker[1] != JPEG_END:
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return marker is not None


def _pages(path: Path) -> int:
    """Pictures in a file; 0 if it is none."""
    return cv2.imcount(os.fsencode(path))  # type: ignore[arg-type] # a str that is no UTF-8 would end the process


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if odd else (-1, part) for part, odd in zip(parts, cycle((False, True)), strict=False)]
