"""Pictures to keep, and frames with reports that they are cut from."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from agent.pictures.cutting import KeptPicture
from contract.messages import BoxReport, FrameReport
from contract.requests import PictureInfo
from contract.types import Frame, Image
from tests.storing import NOW

INFO = PictureInfo(media_type="image/png", width=8, height=8, um_per_pixel=0.1)


def kept(name: str, size: int = 50_000, **changes: Any) -> KeptPicture:
    """A picture of a cell whose file is noise of so many bytes, another for each name."""
    data = np.random.default_rng(list(name.encode())).bytes(size)
    return KeptPicture(changes.pop("kind", "cell"), name, INFO, data, **changes)


def noise(height: int = 480, width: int = 640) -> Image:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3)).astype(np.uint8)


def seen(make_report: Callable[..., FrameReport], *boxes: BoxReport, image: Image | None = None) -> Any:
    """A frame and its report, which names a cell for each box."""
    report = make_report()
    [cell] = report.cells
    cells = [
        cell.model_copy(update={"cell_id": f"{report.frame.id}-{number}", "box": box})
        for number, box in enumerate(boxes, start=1)
    ]
    frame = Frame("a.png", NOW, 0.1, noise() if image is None else image, id=report.frame.id)
    height, width = frame.image.shape[:2]
    about = report.frame.model_copy(update={"width": width, "height": height, "um_per_pixel": frame.um_per_pixel})
    return frame, report.model_copy(update={"cells": cells, "frame": about})


def decoded(data: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)
