"""Images of a folder, in the order of their names, or one image."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import cycle
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.sources.names import is_folder, printable
from agent.sources.scale import Scale
from contract.arguments import UserPath
from contract.errors import UsageError
from contract.pictures import SUFFIXES, UnfitPictureError, read_picture
from contract.types import Frame


class DirectorySource(BaseModel):
    """A folder of images, sub-folders included, or a single image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["directory"] = Field("directory", description="Images of a folder, in the order of their names.")
    uri: UserPath = Field(description="The folder, or one image.")
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
            image = read_picture(path)
        except UnfitPictureError as cause:
            return Frame(frame_id, name, captured_at, self.um_per_pixel, fault=cause.fault, detail=f"{name}: {cause}")
        spent_ms = (time.perf_counter() - started) * 1e3
        return Frame(frame_id, name, captured_at, self.um_per_pixel, image=image, read_ms=spent_ms)


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


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if odd else (-1, part) for part, odd in zip(parts, cycle((False, True)), strict=False)]
