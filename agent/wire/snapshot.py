"""The newest frame and the newest report, for whoever looks through the camera from afar."""

import base64
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from agent.pipeline import Sink
from common.errors import SourceError
from contract.messages import FrameReport
from contract.requests import Snapshot, TakeSnapshot
from contract.types import Frame, Image
from rendering.annotate import annotate

QUALITIES = (85, 70, 50)
"""Of the JPEG, one after the other until it is small enough; then the picture is made smaller."""
LEAST_SIDE = 48
"""Pixels; no picture is made smaller than that."""


class SnapshotTap:
    """A sink before another: frames pass ``through`` it, reports are ``put`` to it; any thread may look."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._frame: Frame | None = None
        self._seen: tuple[Frame | None, FrameReport | None] = None, None

    @property
    def epoch(self) -> str:
        """That of the sink behind."""
        return self._sink.epoch

    @property
    def frame_id(self) -> str:
        """The frame of the newest picture that ``look`` would give; "" before the first."""
        frame = self._seen[0]
        return frame.id if frame else ""

    def next_seq(self) -> int:
        """That of the sink behind."""
        return self._sink.next_seq()

    def put(self, report: FrameReport) -> None:
        """Hand the report on; raises OutboxFull as the sink does."""
        self._seen = self._frame, report
        self._sink.put(report)

    def through(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames; the newest that has a picture is kept."""
        for frame in frames:
            if not frame.fault:
                self._frame = frame
                if self._seen[1] is None:
                    self._seen = frame, None
            yield frame

    def look(self, request: TakeSnapshot) -> Snapshot:
        """The newest picture whose frame was examined, and the newest report.

        Raises:
            SourceError: there was no picture yet.
        """
        frame, report = self._seen
        if frame is None:
            raise SourceError("the source has delivered no picture since the agent started; check the camera")
        picture = frame.image
        if request.annotated and report and report.frame.id == frame.id:
            picture = annotate(picture, report)
        part = _centre(picture, request.max_side_px) if request.part == "centre" else picture
        jpeg, small = encoded(part, max_side_px=request.max_side_px, max_chars=request.max_kb * 1024)
        return Snapshot(
            frame_id=frame.id,
            captured_at=frame.captured_at,
            width=small.shape[1],
            height=small.shape[0],
            um_per_pixel=round(frame.um_per_pixel * part.shape[1] / small.shape[1], 6),
            jpeg_base64=jpeg,
            report=report,
        )


def encoded(image: Image, *, max_side_px: int, max_chars: int) -> tuple[str, Image]:
    """A JPEG in base64 that is no longer than asked for, and the picture that is in it."""
    side = min(max_side_px, max(image.shape[:2]))
    while True:
        small = _shrunk(image, side)
        for quality in QUALITIES:
            _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            text = base64.b64encode(jpeg.tobytes()).decode("ascii")
            if len(text) <= max_chars or (side <= LEAST_SIDE and quality == QUALITIES[-1]):
                return text, small
        side = max(LEAST_SIDE, side * 3 // 4)


def _shrunk(image: Image, side: int) -> Image:
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _centre(image: Image, side: int) -> Image:
    top, left = ((full - min(full, side)) // 2 for full in image.shape[:2])
    return image[top : top + side, left : left + side]
