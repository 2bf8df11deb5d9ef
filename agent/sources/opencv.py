"""Video files and cameras, by OpenCV."""

import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import ClassVar, Literal
from urllib.parse import quote

import cv2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from agent.sources.exposure import changed_at
from agent.sources.names import is_folder, printable
from agent.sources.scale import Scale
from agent.sources.stream import Shot, Stream, openable
from common.arguments import UserPath, named_path
from common.errors import SourceError, UsageError
from common.secrets import PIPELINE
from common.secrets import masked as shown
from common.words import counted
from contract.types import Frame

ESTIMATE = 0.02
"""Share by which the number of frames that a video announces may be wrong: in some kinds of file it is a guess."""
LONGEST_SILENCE_S = 300.0
"""A camera that stays away is reported again at doubling intervals up to this one."""


class VideoSource(BaseModel):
    """Every frame of a video file, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["video"] = Field("video", description="Every frame of a video file.")
    uri: UserPath = Field(description="The file.")
    um_per_pixel: Scale

    @contextmanager
    def open(self, run: str, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        """Open it; raises UsageError if there is no such file, SourceError if it is no video."""
        if is_folder(self.uri, wanted="video file"):
            raise UsageError(f"{self.uri} is a folder, not a video file; correct the path")
        with openable(self.uri) as name:
            capture = cv2.VideoCapture(name)
            try:
                if not capture.isOpened():
                    raise SourceError(f"{self.uri} is no video that OpenCV decodes; FFV1 in MKV or MJPEG in AVI are")
                stream = Stream(capture, str(self.uri), file=name)
                try:
                    yield self._frames(run, stop, stream)
                finally:
                    stream.release()
            finally:
                capture.release()

    def _frames(self, run: str, stop: threading.Event, stream: Stream) -> Iterator[Frame]:
        when = changed_at(self.uri)
        for number in itertools.count(1):
            started = time.perf_counter()
            if stop.is_set():
                return
            shot = stream.read()
            if shot is None:
                break
            name = f"{printable(self.uri.name)}#{number}"
            yield Frame(
                f"{run}-{number:08d}",
                name,
                when,
                self.um_per_pixel,
                image=shot.image,
                fault=shot.fault,
                detail=f"{name}: {shot.detail}" if shot.fault else "",
                read_ms=(time.perf_counter() - started) * 1e3,
                timed_by="file",
            )
        self._still_there()
        if number <= stream.announced * (1 - ESTIMATE):
            yield self._cut_short(f"{run}-{number:08d}", number, stream.announced)

    def _cut_short(self, frame_id: str, number: int, announced: int) -> Frame:
        name = printable(self.uri.name)
        all_of_it = counted(announced, "frame")
        detail = f"{name} announces {all_of_it}, and only {number - 1} can be decoded; was it copied whole?"
        when, what = changed_at(self.uri), f"{name}#{number}"
        return Frame(frame_id, what, when, self.um_per_pixel, fault="incomplete", detail=detail, timed_by="file")

    def _still_there(self) -> None:
        """Tell the end of a video from that of its medium."""
        try:
            with self.uri.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                file.read(1)
        except OSError as cause:
            raise SourceError(
                f"{self.uri} is gone while it was read ({cause.strerror}); plug the medium in or connect the server "
                "again, then start from the beginning"
            ) from cause


class CameraSource(BaseModel):
    """A live camera: the newest frame wins, and silence is reported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = True
    kind: Literal["camera"] = Field("camera", description="A camera that OpenCV can open.")
    uri: str = Field(
        "0",
        description="Device number or path, URL (RTSP, HTTP), or pipeline with ` ! ` if OpenCV has GStreamer. "
        "`{username}` and `{password}` in it stand for the two settings; without them a URL gets both before its host.",
    )
    name: str = Field(
        "",
        max_length=64,
        description="What reports call this camera; default: its device, or the host in its address. Of an address "
        "nothing else is ever shown, for all of it may hold secrets.",
    )
    username: str = Field("", description="Name to log in to the camera with.")
    password: SecretStr = Field(
        SecretStr(""), description="Password of the camera; better as a systemd credential, `source.password`."
    )
    um_per_pixel: Scale
    max_age_ms: int = Field(
        2000,
        ge=10,
        description="A frame older than this is not judged; a camera silent for longer is reported.",
    )

    @property
    def label(self) -> str:
        """What reports and logs call it: no secret is in it."""
        return self.name or shown(self.uri)

    @property
    def address(self) -> str:
        """What is opened, its credential included: for nobody to read."""
        user, password = self.username, self.password.get_secret_value()
        if PIPELINE in self.uri:
            return filled_in(self.uri, re.sub(r"(\W)", r"\\\1", user), re.sub(r"(\W)", r"\\\1", password))
        return filled_in(self.uri, quote(user, safe=""), quote(password, safe=""))

    @model_validator(mode="after")
    def _has_room_for_its_credential(self) -> Self:
        given = self.username or self.password.get_secret_value()
        if given and "://" not in self.uri and not re.search(r"\{(username|password)\}", self.uri):
            raise ValueError("source.username and source.password have no place in source.uri; write {password} there")
        return self

    @contextmanager
    def open(self, run: str, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        """Open it; raises SourceError if it can not be opened. Afterwards it is opened again forever."""
        reader = _Reader(self.address, self.label, self.max_age_ms)
        reader.start()
        try:
            yield self._frames(run, stop, reader)
        finally:
            reader.close()

    def _frames(self, run: str, stop: threading.Event, reader: "_Reader") -> Iterator[Frame]:
        number, silence_s = 0, self.max_age_ms / 1e3
        deadline = time.monotonic() + silence_s
        while not stop.is_set():
            shot = reader.take(timeout_s=min(0.2, self.max_age_ms / 1e3))
            age_ms = (time.monotonic() - shot.at) * 1e3 if shot else 0.0
            if shot and age_ms <= self.max_age_ms:
                number += 1
                silence_s = self.max_age_ms / 1e3
                deadline = time.monotonic() + silence_s
                yield Frame(
                    f"{run}-{number:08d}",
                    self.label,
                    shot.captured_at,
                    self.um_per_pixel,
                    image=shot.picture.image,
                    fault=shot.picture.fault,
                    detail=f"{self.label}: {shot.picture.detail}" if shot.picture.fault else "",
                    read_ms=age_ms,
                    skipped=reader.skipped(),
                )
            elif time.monotonic() > deadline:
                number += 1
                silence_s = min(2 * silence_s, LONGEST_SILENCE_S)
                deadline = time.monotonic() + silence_s
                yield self._stale(f"{run}-{number:08d}", reader.silent_s())

    def _stale(self, frame_id: str, silent_s: float) -> Frame:
        detail = f"{self.label} has delivered no fresh frame for {silent_s:.1f} s; check the camera and its cable"
        return Frame(
            frame_id,
            self.label,
            datetime.now(timezone.utc),
            self.um_per_pixel,
            fault="stale",
            detail=detail,
        )


def _has_gstreamer() -> bool:
    return bool(re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()))


def filled_in(uri: str, username: str, password: str) -> str:
    """An address with the credential where it belongs, each part written as an address takes it."""
    if re.search(r"\{(username|password)\}", uri):
        return uri.replace("{username}", username).replace("{password}", password)
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{username}:{password}@{rest}" if mark and (username or password) else uri


@dataclass(frozen=True, slots=True)
class _Taken:
    picture: Shot
    captured_at: datetime
    at: float
    """time.monotonic() of the capture."""


class _Reader:
    """A thread that empties the camera into a slot for one frame, so that what is taken is never old."""

    def __init__(self, uri: str, label: str, timeout_ms: int) -> None:
        self._skipped = 0
        self._uri, self._label, self._timeout_ms = uri, label, timeout_ms
        self._slot: _Taken | None = None
        self._filled = threading.Condition()
        self._closing = threading.Event()
        self._last = time.monotonic()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._work, name="camera", daemon=True)

    def start(self) -> None:
        """Open the camera once, so that a wrong address is known at once, then read on in the thread."""
        if PIPELINE in self._uri and not _has_gstreamer():
            raise SourceError(
                f"the camera {self._label} is a GStreamer pipeline, and this OpenCV was built without GStreamer; "
                "use the device's number or its RTSP address, or install an OpenCV that has it"
            )
        capture = self._connect()
        if not capture.isOpened():
            raise SourceError(
                f"the camera {self._label} can not be opened; check `source.uri`, its cable and its rights"
            )
        self._stream = Stream(capture, f"the camera {self._label}")
        self._thread.start()

    def take(self, *, timeout_s: float) -> _Taken | None:
        """The newest frame, once; None if none came in time."""
        with self._filled:
            self._filled.wait_for(lambda: self._slot is not None, timeout_s)
            shot, self._slot = self._slot, None
            return shot

    def skipped(self) -> int:
        """Frames that were replaced by newer ones since the last call."""
        with self._filled:
            count, self._skipped = self._skipped, 0
            return count

    def silent_s(self) -> float:
        """Seconds since the last frame."""
        return time.monotonic() - self._last

    def close(self) -> None:
        """End the thread; a camera driver that hangs is left to the end of the process."""
        self._closing.set()
        self._thread.join(self._timeout_ms / 1e3 + 1)

    def _connect(self) -> cv2.VideoCapture:
        if PIPELINE in self._uri:
            return cv2.VideoCapture(self._uri, cv2.CAP_GSTREAMER)
        if "://" not in self._uri:
            device = re.fullmatch(r"[0-9]{1,4}", self._uri)
            return cv2.VideoCapture(int(self._uri) if device else str(named_path(self._uri)), cv2.CAP_ANY)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            self._timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            self._timeout_ms,
        ]
        return cv2.VideoCapture(self._uri, cv2.CAP_FFMPEG, limits)

    def _work(self) -> None:
        pause_s = 0.2
        while not self._closing.is_set():
            picture = self._stream.read() if self._stream else None
            if picture:
                self._put(picture)
                pause_s = 0.2
            elif not self._closing.wait(pause_s):
                pause_s = min(2 * pause_s, 10.0)
                self._open_again()
        if self._stream:
            self._stream.release()

    def _open_again(self) -> None:
        if self._stream:
            self._stream.release()
        self._stream, capture = None, self._connect()
        try:
            self._stream = Stream(capture, f"the camera {self._label}") if capture.isOpened() else None
        except SourceError as cause:
            self._put(Shot(fault="too_large", detail=str(cause)))

    def _put(self, picture: Shot) -> None:
        with self._filled:
            self._skipped += self._slot is not None
            self._last = time.monotonic()
            self._slot = _Taken(picture, datetime.now(timezone.utc), self._last)
            self._filled.notify()
