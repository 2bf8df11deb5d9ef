"""The commands that measure this microscope: what a set of frames says of it, before anything is judged."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice

from tqdm import tqdm

from agent.scale import ScaleEstimate, estimate, look
from agent.sources.directory import DirectorySource, image_files
from agent.sources.place import PIXELS, source_at
from contract.errors import CheckError
from contract.types import Frame

RUN = "calibrate"


@dataclass(frozen=True, slots=True)
class ScaleJob:
    """What is asked for.

    Attributes:
        source: a folder, a video, an image or a camera.
        frames: how many frames to look at, at most.
        given: micrometres per pixel that somebody believes in, or None.
        as_json: print JSON.
    """

    source: str
    frames: int
    given: float | None = None
    as_json: bool = False


@contextmanager
def opened(source: str, stop: threading.Event, *, frames: int, progress: bool) -> Iterator[Iterator[Frame]]:
    """The first frames of a source whose scale nobody knows; those that can not be read are left out.

    Raises:
        UsageError: the source is none.
        SourceError: it can not be opened.
    """
    place = source_at(source, PIXELS)
    total = min(frames, len(image_files(place.uri))) if isinstance(place, DirectorySource) else None
    with place.open(RUN, stop) as coming:
        shown = tqdm(islice(coming, frames), total=total, unit="frame", disable=not progress)
        yield (frame for frame in shown if not frame.fault)


def measure_scale(job: ScaleJob, stop: threading.Event, *, progress: bool) -> Iterator[str]:
    """Lines that say what the scale is.

    Raises:
        CheckError: the frames do not show it, or it is not the one given.
        UsageError: the source is none.
        SourceError: it can not be opened.
    """
    with opened(job.source, stop, frames=job.frames, progress=progress) as frames:
        looks = [look(frame.image) for frame in frames]
    found = estimate(looks)
    if found is None:
        raise CheckError(
            f"the scale of {job.source} can not be said: {len(looks)} frames show too few red cells; take frames "
            "where red cells lie side by side, or measure with a stage micrometre"
        )
    yield from [json.dumps(asdict(found))] if job.as_json else _said(found)


def _said(found: ScaleEstimate) -> Iterator[str]:
    yield f"{found.um_per_pixel:.4f} um per pixel (95 % interval {found.low:.4f} to {found.high:.4f})"
    yield f"from {found.cells} red cells in {found.frames} frames"
    yield f"source.um_per_pixel = {found.um_per_pixel:.4f}"
