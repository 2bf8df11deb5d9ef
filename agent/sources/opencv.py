"""Video files and cameras, by OpenCV."""

import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar, Literal
from urllib.parse import quote

import cv2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from agent.sources.exposure import changed_at
from agent.sources.live import live_frames
from agent.sources.names import is_folder, printable
from agent.sources.scale_setting import Scale
from agent.sources.shot import Shot
from agent.sources.stream import Stream, openable
from common.arguments import UserPath, named_path
from common.errors import SourceError, UsageError
from common.secrets import PIPELINE
from common.secrets import masked as shown
from common.words import counted
from contract.types import Frame

ESTIMATE = 0.02
"""Share by which the number of frames that a video announces may be wrong: in some kinds of file it is a guess."""


class VideoSource(BaseModel):
    """Every frame of a video file, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["video"] = Field("video", description="Every frame of a video file.")
    uri: UserPath = Field(description="The file.")
    um_per_pixel: Scale

    @contextmanager
    def open(self, stop: threading.Event) -> Iterator[Iterator[Frame]]:
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
                    yield self._frames(stop, stream)
                finally:
                    stream.release()
            finally:
                capture.release()

    def _frames(self, stop: threading.Event, stream: Stream) -> Iterator[Frame]:
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
                name,
                when,
                self.um_per_pixel,
                image=shot.image,
                fault=shot.fault,
                detail=f"{name}: {shot.detail}" if shot.fault else "",
                read_ms=(time.perf_counter() - started) * 1e3,
                timed_by="file",
                meta=shot.meta,
            )
        self._still_there()
        if number <= stream.announced * (1 - ESTIMATE):
            yield self._cut_short(number, stream.announced)

    def _cut_short(self, number: int, announced: int) -> Frame:
        name = printable(self.uri.name)
        all_of_it = counted(announced, "frame")
        detail = f"{name} announces {all_of_it}, and only {number - 1} can be decoded; was it copied whole?"
        when, what = changed_at(self.uri), f"{name}#{number}"
        return Frame(what, when, self.um_per_pixel, fault="incomplete", detail=detail, timed_by="file")

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

    def open(self, stop: threading.Event) -> AbstractContextManager[Iterator[Frame]]:
        """Open it; raises SourceError if it can not be opened. Afterwards it is opened again forever."""
        grabber = _Capture(self.address, self.label, timeout_ms=self.max_age_ms)
        return live_frames(grabber, stop, label=self.label, um_per_pixel=self.um_per_pixel, max_age_ms=self.max_age_ms)


def _has_gstreamer() -> bool:
    return bool(re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()))


def filled_in(uri: str, username: str, password: str) -> str:
    """An address with the credential where it belongs, each part written as an address takes it."""
    if re.search(r"\{(username|password)\}", uri):
        return uri.replace("{username}", username).replace("{password}", password)
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{username}:{password}@{rest}" if mark and (username or password) else uri


class _Capture:
    """A camera as OpenCV opens it.

    Args:
        uri: its device, address or pipeline, the credential included.
        label: what errors call it.
        timeout_ms: after so long without an answer a network camera is lost.
    """

    def __init__(self, uri: str, label: str, *, timeout_ms: int) -> None:
        self._uri, self._label, self._timeout_ms = uri, label, timeout_ms
        self._stream: Stream | None = None

    def open(self) -> None:
        """Connect; raises SourceError, and UnfitStreamError if its pictures are larger than any that is decoded."""
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

    def grab(self) -> Shot | None:
        """The next picture; None if the camera is lost."""
        return self._stream.read() if self._stream else None

    def close(self) -> None:
        """Release it."""
        if self._stream:
            self._stream.release()
        self._stream = None

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
