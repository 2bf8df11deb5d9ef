"""The source of a recording, by what stands at a path."""

from pathlib import Path

from agent.sources.directory import DirectorySource
from agent.sources.names import is_folder
from agent.sources.opencv import VideoSource

VIDEOS = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})


def source_at(place: Path, um_per_pixel: float) -> DirectorySource | VideoSource:
    """A folder of images, a video or one image; UsageError if it is none."""
    if place.suffix.lower() in VIDEOS and not is_folder(place, wanted="folder or video"):
        return VideoSource(uri=place, um_per_pixel=um_per_pixel)
    return DirectorySource(uri=place, um_per_pixel=um_per_pixel)
