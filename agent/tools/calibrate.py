"""The commands that measure this microscope: what a set of frames says of it, before anything is judged."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice

import cv2
import numpy as np

from agent.sources.directory import DirectorySource, listed
from agent.sources.place import PIXELS, source_at
from agent.tools.progress import with_bar
from agent.vision.scale import RED_CELL_UM, TOLERANCE, RedCells, ScaleEstimate, estimate, find_red_cells
from common.errors import CheckError
from common.secrets import masked
from common.words import counted
from contract.types import Frame, Image

WATCHED_S = 60.0
THUMBNAIL = (32, 24)
SAME_LEVELS = 3.0
"""Mean difference of two frames' thumbnails, of 255, below which they show the same place; noise averages to less."""


@dataclass(frozen=True, slots=True)
class ScaleJob:
    """What is asked for.

    Attributes:
        source: a folder, a video, an image or a camera.
        frames: how many frames to look at, at most, not counting those of one place again.
        given: micrometres per pixel that somebody believes in, or None.
    """

    source: str
    frames: int
    given: float | None = None


@dataclass(frozen=True, slots=True)
class MeasuredScale:
    """What came of it."""

    found: ScaleEstimate
    given: float | None

    def lines(self) -> Iterator[str]:
        """For people; the last lines are the setting, as they can be pasted into the settings' file."""
        found = self.found
        yield f"{_short(found.um_per_pixel)} um per pixel, 95 % interval {_short(found.low)} to {_short(found.high)}"
        yield f"{found.sure:.0%} sure to be within {TOLERANCE:.0%}"
        yield (
            f"from {counted(found.cells, 'red cell')} in {found.frames} of {counted(found.looked, 'frame')}, "
            f"if they are {RED_CELL_UM} um across, as in a healthy person's dried smear"
        )
        yield "[source]"
        yield f"um_per_pixel = {_short(found.um_per_pixel)}"

    def to_json(self) -> str:
        """For programs."""
        agrees = None if self.given is None else self.found.agrees(self.given)
        return json.dumps({**asdict(self.found), "word": self.found.word, "given": self.given, "agrees": agrees})

    @property
    def warning(self) -> str:
        """What to heed, or nothing."""
        if self.given is None or self.found.agrees(self.given):
            return ""
        return (
            f"{self.given:g} um per pixel does not agree with the red cells of these frames: at that scale they would "
            f"be {RED_CELL_UM * self.given / self.found.um_per_pixel:.1f} um across; measure with a stage micrometre"
        )


@dataclass(slots=True)
class _Tally:
    """What came from the source."""

    taken: int = 0
    faults: list[str] = field(default_factory=list)

    def fit(self, frames: Iterable[Frame]) -> Iterator[Image]:
        """The pictures; frames without one are counted."""
        for frame in frames:
            self.taken += 1
            if frame.fault:
                self.faults.append(frame.detail)
            else:
                yield frame.image


@contextmanager
def opened(source: str, stop: threading.Event, *, frames: int | None, progress: bool) -> Iterator[Iterator[Frame]]:
    """A source whose scale nobody knows, or its first frames, with a bar.

    Raises:
        UsageError: the source is none.
        SourceError: it can not be opened.
    """
    place = source_at(source, PIXELS)
    total = len(listed(place.uri)) if isinstance(place, DirectorySource) else frames
    with place.open(stop) as coming:
        taken = islice(watched(coming) if place.live else coming, frames)
        shown = with_bar(taken, min(filter(None, (total, frames)), default=None), shown=progress)
        with closing(shown):
            yield iter(shown)


def measure_scale(job: ScaleJob, stop: threading.Event, *, progress: bool) -> MeasuredScale:
    """Measure the scale of a source's frames.

    Raises:
        CheckError: the frames do not show it.
        UsageError: the source is none.
        SourceError: it can not be opened.
    """
    tally = _Tally()
    with opened(job.source, stop, frames=None, progress=progress) as frames:
        looks = [find_red_cells(image) for image in islice(changed(tally.fit(frames)), job.frames)]
    found = estimate(looks)
    if found is None:
        raise CheckError(_unsaid(job.source, looks, tally))
    return MeasuredScale(found, job.given)


def watched(frames: Iterable[Frame]) -> Iterator[Frame]:
    """A live camera's frames for a minute, in which the stage is moved by hand; fewer if the camera falls silent."""
    ends = time.monotonic() + WATCHED_S
    for frame in frames:
        yield frame
        if frame.fault or time.monotonic() > ends:
            return


def changed(images: Iterable[Image]) -> Iterator[Image]:
    """Leave out what a still stage shows again: the same cells are no further evidence."""
    last = None
    for image in images:
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        if last is None or float(np.abs(small - last).mean()) > SAME_LEVELS:
            last = small
            yield image


def _unsaid(source: str, looks: list[RedCells], tally: _Tally) -> str:
    """Why nothing is said, and what to do."""
    said = f"the scale of {masked(source)} can not be said: "
    if not looks:
        why = f" ({tally.faults[0]})" if tally.faults else ""
        return f"{said}none of {counted(tally.taken, 'frame')} could be read{why}"
    cells = sum(len(one.diameters) for one in looks)
    return (
        f"{said}round red cells: {cells}, in frames: {len(looks)} ({tally.taken} taken, less those without a picture "
        "or of the same place); that is too few, or they have no common size; take more frames, where red cells lie "
        "side by side, or measure with a stage micrometre"
    )


def _short(um: float) -> str:
    """Three digits that count."""
    return f"{um:#.3g}"
