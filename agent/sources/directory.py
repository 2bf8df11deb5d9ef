"""Images of a folder, in the order of their names, or one image."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.drawn_mark import is_marked
from agent.sources.exposure import Exposure, changed_at, exposure_of
from agent.sources.names import is_folder, printable
from agent.sources.scale_setting import Scale
from common.arguments import UserPath
from common.errors import SourceError, UsageError
from contract.listing import Folder, Listing, pictures_below
from contract.pictures import SUFFIXES, UnfitPictureError, decode_picture, read_bytes
from contract.types import Frame, FrameMeta

log = logging.getLogger(__name__)
LOST = 10
"""Files in a row that can not be read, after which their medium is gone."""


class DirectorySource(BaseModel):
    """A folder of images, sub-folders included, or a single image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["directory"] = Field("directory", description="Images of a folder, in the order of their names.")
    uri: UserPath = Field(description="The folder, or one image.")
    um_per_pixel: Scale

    @contextmanager
    def open(self, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        """Open it; raises UsageError if there is no image to be found.

        The iterator raises SourceError if the medium is gone before its end.
        """
        listing = listed(self.uri)
        if listing.words:
            log.warning("%s", listing.words)
        yield self.frames(stop, listing)

    def frames(self, stop: threading.Event, listing: Listing) -> Iterator[Frame]:
        """The frames of what was listed before; see ``open``."""
        medium = _Medium(listing)
        for below, why in listing.unread:
            name = f"{printable(below)}/"
            detail = f"the folder {name} can not be read ({why}); give the agent the right to, or take it out"
            when = changed_at(listing.root / below)
            yield Frame(name, when, self.um_per_pixel, fault="unreadable", detail=detail, timed_by="file")
        drawn = 0
        for path in listing:
            if stop.is_set():
                return
            frame = self._read(path, name=printable(path.relative_to(listing.root).as_posix()), medium=medium)
            if frame:
                yield frame
            else:
                drawn += 1
        if drawn:
            log.warning("left out of %s: %d pictures that this program drew", listing.root, drawn)

    def _read(self, path: Path, *, name: str, medium: "_Medium") -> Frame | None:
        """The next frame; None for a picture that this program drew."""
        started, blank = time.perf_counter(), Frame(name, changed_at(path), self.um_per_pixel, timed_by="file")
        try:
            data = read_bytes(path)
            if is_marked(data):
                return None
            blank = _exposed(blank, exposure_of(data))
            image = decode_picture(data)
        except UnfitPictureError as cause:
            medium.lost(cause.__cause__)
            return replace(blank, fault=cause.fault, detail=f"{name}: {cause}")
        medium.lost(None)
        return replace(blank, image=image, read_ms=(time.perf_counter() - started) * 1e3)


def _exposed(frame: Frame, exposure: Exposure) -> Frame:
    """The frame with what the picture's tags say of its exposure."""
    frame = replace(frame, meta=FrameMeta(exposure_us=exposure.us))
    return replace(frame, captured_at=exposure.at, timed_by="exif") if exposure.at else frame


class _Medium:
    """Tells files that can not be read from a stick that was pulled out, or a server that went away."""

    def __init__(self, listing: Listing) -> None:
        self._listing, self._in_a_row = listing, 0
        self._was = self._identity()

    def lost(self, cause: BaseException | None) -> None:
        """Hear how reading a file ended; raises SourceError if its medium is gone."""
        if not isinstance(cause, OSError) or isinstance(cause, PermissionError):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= LOST or self._identity() != self._was:
            raise SourceError(
                f"{self._listing.root} is gone while its pictures were read ({cause.strerror}); plug the medium in or "
                "connect the server again, then start from the beginning"
            ) from cause

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._listing.root.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def listed(place: Path) -> Listing:
    """The images of a folder in natural order (`a2` before `a10`), or the one image that ``place`` is.

    Raises:
        UsageError: nothing there, or no image in it.
    """
    if not is_folder(place, wanted="folder or image"):
        return Listing(place.parent, [Folder("", (place.name,))])
    listing = pictures_below(place)
    if not listing.folders and not listing.unread:
        kinds = " ".join(sorted(SUFFIXES))
        other = f"; {listing.words}" if listing.words else ""
        raise UsageError(f"the folder {place} holds no image ({kinds}){other}; name a folder that does")
    return listing
