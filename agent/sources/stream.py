"""A video or a camera that OpenCV has opened: every picture whole and in its own size, or what is wrong with it."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from agent.sources.frame_sizes import Sizes
from agent.sources.shot import Shot, UnfitStreamError
from contract.pictures import MAX_PIXELS, UnfitPictureError, decode_picture
from contract.types import FrameMeta, Image

MOTION_JPEG = frozenset({"MJPG", "mjpg", "JPEG", "jpeg", "AVRn", "LJPG", "mjpa", "mjpb"})
"""Codes of streams whose pictures are JPEGs."""
INTERLACED = slice(6, 11), (b"AVI1\x01", b"AVI1\x02")
"""Where a JPEG says that it is one field of two, as capture cards for television write it."""
KEY = ord("I")
LATE = 1.5
"""Usual intervals after which a picture is late: one before it was lost."""
INTERVALS = 25
"""Intervals whose median is the usual one."""
FEWEST_INTERVALS = 2
NO_TIME = -(2.0**62)
"""FFmpeg's time of a picture that has none is the least number of 64 bits."""


class Stream:
    """Pictures one after the other.

    OpenCV hides damage: FFmpeg fills a cut JPEG with the picture before it, and stretches one of another size. So the
    JPEGs of a stream are fetched as they are and decoded by ``contract.pictures``. Where pictures are coded as changes
    of those before them, one that was lost in transport spoils all up to the next key frame; its gap in time tells.
    Of a file, packets tell whether a picture has another size than the first.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str, *, file: str = "") -> None:
        """Take an open capture.

        Args:
            capture: it is released with the stream.
            name: what errors call it.
            file: what OpenCV opens once more to read the sizes of pictures; empty for a camera.

        Raises:
            UnfitStreamError: its pictures are larger than any that is decoded.
        """
        self._capture, self._name = capture, name
        self._gaps = _Gaps()
        # Off before the first picture: a recorder's tag must not turn it. Boxes are in pixels as captured.
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._by_ffmpeg = capture.getBackendName() == "FFMPEG"
        jpegs = self._by_ffmpeg and _codec(capture) in MOTION_JPEG
        self._raw = bool(jpegs and capture.set(cv2.CAP_PROP_FORMAT, -1))
        self._sizes: Sizes | None = None
        if file and self._by_ffmpeg and not self._raw:
            self._sizes = Sizes(cv2.VideoCapture(file, cv2.CAP_FFMPEG), _codec(capture))
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._raw and width * height > MAX_PIXELS:
            self.release()
            raise UnfitStreamError(
                "too_large",
                f"{name} has pictures of {width}x{height}, more than the {MAX_PIXELS:,} pixels that are decoded; set "
                "the camera to a smaller size",
            )

    def read(self) -> Shot | None:
        """The next picture; None if the stream has ended or is broken."""
        good, content = self._capture.read()
        if not good:
            return None
        at_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        meta = FrameMeta(camera_s=at_ms / 1e3) if self._is_timed() else FrameMeta()
        if self._raw:
            return _decoded(np.asarray(content, np.uint8), meta)
        if self._by_ffmpeg and self._gaps.spoil(at_ms, key=self._capture.get(cv2.CAP_PROP_FRAME_TYPE) == KEY):
            text = "pictures before it were lost, and it was made from them; only the next key frame is whole again"
            return Shot(fault="incomplete", detail=text, meta=meta)
        if self._sizes and self._sizes.differ(at_ms):
            text = (
                "it has another size than the video's first picture, and would be stretched to that; record pictures "
                "of each size into a file of their own"
            )
            return Shot(fault="unreadable", detail=text, meta=meta)
        return Shot(np.asarray(content, np.uint8), meta=meta)

    def _is_timed(self) -> bool:
        """Whether the latest picture came with a time; motion JPEG over HTTP has none, and FFmpeg counts instead."""
        return self._by_ffmpeg and self._capture.get(cv2.CAP_PROP_PTS) > NO_TIME

    @property
    def announced(self) -> int:
        """Pictures that a file announces."""
        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def release(self) -> None:
        """Close it."""
        self._capture.release()
        if self._sizes:
            self._sizes.release()


class _Gaps:
    """Tells pictures that were made from lost ones, by when they were taken."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        self._last: float | None = None
        self._spoilt = False

    def spoil(self, at_ms: float, *, key: bool) -> bool:
        """Take the time of the next picture; True if a loss before it may show in it."""
        interval = 0.0 if self._last is None else at_ms - self._last
        self._last = at_ms
        steady = len(self._intervals) >= FEWEST_INTERVALS
        if interval > 0 and steady and interval > LATE * median(self._intervals):
            self._spoilt = True
        elif interval > 0:
            self._intervals.append(interval)
        self._spoilt &= not key
        return self._spoilt


def _codec(capture: cv2.VideoCapture) -> str:
    return (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")


def _decoded(content: Image, meta: FrameMeta) -> Shot:
    data = bytearray(content.tobytes())
    where, kinds = INTERLACED
    if bytes(data[where]) in kinds:
        text = "it is one field of an interlaced picture; record without interlacing"
        return Shot(fault="incomplete", detail=text, meta=meta)
    try:
        return Shot(decode_picture(data), meta=meta)
    except UnfitPictureError as cause:
        return Shot(fault=cause.fault, detail=str(cause), meta=meta)


@contextmanager
def openable(path: Path) -> Iterator[str]:
    """A name for a file that OpenCV takes: not all of its versions take one that is no UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        yield str(path)
