"""The gallery of the cells of which an agent has kept pictures, out of its store alone."""

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


def kept_montage(store_file: Path, settings: PictureSettings, out: Path) -> str:
    """Write the gallery of every cell in the kept frames, cut out of these.

    Args:
        store_file: the agent's pictures; the agent may have ended.
        settings: of the agent's pictures.
        out: `.html`, `.png` or `.jpg`.

    Returns:
        What it shows, in words.

    Raises:
        PictureError: the pictures can not be read.
        UsageError: the file can not be written.
    """
    with closing(PictureStore(store_file, max_mb=settings.max_mb, days=settings.days)) as store:
        kept = (store.get("frame", name) for name in store.names("frame"))
        reports = [report for picture in kept if picture and (report := _report(picture.report))]

        def cut(shown: Sequence[Entry]) -> dict[str, Image]:
            return {entry.cell.cell_id: tile for entry in shown if (tile := _tile(store, entry)) is not None}

        return write_gallery(reports, cut, out, most=MOST, to_scale=True)


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
