"""A folder of rendered frames, for a person who has none: to try replay, the gallery and the calibration with."""

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2

from agent.sources.synthetic import SyntheticSource
from agent.tools.progress import with_bar
from common.arguments import made_folder
from common.durable import write_whole
from common.errors import UsageError

OVERLAP = 0.4
"""Share of a frame that the next one shows again, as a stage moves that is to find its place."""


def render(folder: Path, *, frames: int, um_per_pixel: float, stop: threading.Event, progress: bool) -> Iterator[str]:
    """Write frames of a rendered smear under a moving stage as PNG, each whole or not at all.

    Yields:
        Lines for the user.

    Raises:
        UsageError: the folder is not empty, or can not be written.
    """
    made_folder(folder)
    if next(folder.iterdir(), None):
        raise UsageError(f"the folder {folder} is not empty; name a new one, so that nothing is mixed")
    smear = SyntheticSource(frames=frames, um_per_pixel=um_per_pixel, overlap=OVERLAP, row_overlap=OVERLAP)
    count = 0
    with smear.open(stop) as coming:
        for count, frame in enumerate(with_bar(coming, frames, shown=progress), start=1):
            _, png = cv2.imencode(".png", frame.image)
            try:
                write_whole(folder / f"frame-{count:04d}.png", png.tobytes())
            except OSError as cause:
                raise UsageError(
                    f"{folder} can not be written ({cause.strerror}); free the disk, or name another"
                ) from cause
    yield f"{count} rendered frames in {folder}, {um_per_pixel:g} um per pixel: no patient's, every cell is drawn. Try:"
    yield f"  microscope-agent replay {folder} --um-per-pixel {um_per_pixel:g} --out reports.jsonl"
    yield f"  microscope-agent montage reports.jsonl --frames {folder} --out cells.html"
    yield f"  microscope-agent calibrate scale {folder}"
