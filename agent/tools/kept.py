"""The gallery of the cells of which an agent has kept pictures, out of its store alone."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from agent.pictures.cutting import scaled
from agent.pictures.store import PictureStore
from agent.settings import PictureSettings
from agent.tools.montage import Entry, write_gallery
from contract.messages import FrameReport
from contract.pictures import UnfitPictureError, decode_picture
from contract.types import Image
from rendering.gallery import cell_picture

MOST = 400
"""Cells in the gallery."""
MOST_FRAMES = 2000
"""The newest ones alone are looked through: an agent may have kept a day's."""
CUTTING_S = 15.0
"""Longest time for cutting cells out of frames."""


def kept_montage(store_file: Path, settings: PictureSettings, out: Path, stop: threading.Event) -> str:
    """Write the gallery of the cells in the newest `MOST_FRAMES` kept frames, cut out of these.

    Args:
        store_file: the agent's pictures; the agent may have ended.
        settings: of the agent's pictures.
        out: `.html`, `.png` or `.jpg`.
        stop: no more cells are cut out once it is set.

    Returns:
        What it shows, in words.

    Raises:
        PictureError: the pictures can not be read.
        UsageError: the file can not be written.
    """
    with closing(PictureStore(store_file, max_mb=settings.max_mb, days=settings.days)) as store:
        count, deadline = len(store.names("frame")), time.monotonic() + CUTTING_S
        reports = [report for text in store.reports(newest=MOST_FRAMES) if (report := _report(text))]

        def cut(shown: Sequence[Entry]) -> dict[str, Image]:
            tiles: dict[str, Image] = {}
            for entry in shown:
                if stop.is_set() or time.monotonic() > deadline:
                    break
                if (tile := _tile(store, entry)) is not None:
                    tiles[entry.cell.cell_id] = tile
            return tiles

        told = write_gallery(reports, cut, out, most=MOST, to_scale=True)
    return f"{told}; of the newest {MOST_FRAMES} of {count} frames" if count > MOST_FRAMES else told


def _report(text: str) -> FrameReport | None:
    try:
        return FrameReport.model_validate_json(text)
    except ValidationError:
        return None


def _tile(store: PictureStore, entry: Entry) -> Image | None:
    """A cell out of its frame, which may be kept smaller than it was; None if that is gone."""
    frame = entry.report.frame
    kept = store.get("frame", frame.id)
    if kept is None:
        return None
    try:
        image = decode_picture(bytearray(kept.data))
    except UnfitPictureError:
        return None
    box = scaled(entry.cell.box, kept.info.width / max(1, frame.width))
    return cell_picture(np.asarray(image, np.uint8), box, kept.info.um_per_pixel)
