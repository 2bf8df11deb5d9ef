"""A source by the name of its place alone, as a command line gives it: folder, image, video or camera."""

import re
from pathlib import Path
from typing import TypeAlias

from agent.sources.directory import DirectorySource
from agent.sources.names import is_folder
from agent.sources.opencv import CameraSource, VideoSource
from common.arguments import named_path
from common.secrets import PIPELINE

VIDEOS = frozenset(
    {
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    }
)
"""Names of videos end so; OpenCV's FFmpeg reads them all."""
PIXELS = 1.0
"""Scale of frames whose scale nobody knows: a micrometre is a pixel, so that lengths are in pixels."""
CAMERA = re.compile(rf"\d+|/dev/.+|\w+://.+|.+{PIPELINE}.+")

AnyPlace: TypeAlias = DirectorySource | VideoSource | CameraSource


def source_at(place: str, um_per_pixel: float) -> AnyPlace:
    """The source that a place's name means; whether there is something is seen when it is opened.

    A number, a device, an address or a pipeline is a camera; a name that ends like a video is a video, unless it is a
    folder; all others are a folder of images or one image. Raises UsageError where `~` means no home folder.
    """
    if CAMERA.fullmatch(place) and (place.startswith("/dev/") or not Path(place).exists()):
        return CameraSource(uri=place, um_per_pixel=um_per_pixel)
    path = named_path(place)
    if path.suffix.lower() in VIDEOS and not path.is_dir():
        return VideoSource(uri=path, um_per_pixel=um_per_pixel)
    return DirectorySource(uri=path, um_per_pixel=um_per_pixel)


def recording_at(place: Path, um_per_pixel: float) -> DirectorySource | VideoSource:
    """A folder of images, a video or one image, and never a camera; UsageError if it is none."""
    if place.suffix.lower() in VIDEOS and not is_folder(place, wanted="folder or video"):
        return VideoSource(uri=place, um_per_pixel=um_per_pixel)
    return DirectorySource(uri=place, um_per_pixel=um_per_pixel)
