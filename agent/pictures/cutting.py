"""From a frame and its report to the pictures that are kept of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from contract.messages import BoxReport, CellReport, FrameReport
from contract.pixels import BEYOND, square_around
from contract.requests import PictureInfo, PictureKind
from contract.types import Frame, Image
from rendering.annotate import annotate

FIELDS = 1.5
"""Side of a cell's picture, in fields of the network: what it saw, and its surroundings."""
RIM = 1.1
"""Side of a cell's picture at least, in sides of the cell's box."""
CELL_PX, FRAME_PX = 256, 1280
"""Longest side of a cell's picture, and of a frame's."""
JPEG_QUALITY = 85
PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
"""A fifth larger than lossless WebP, in a fifteenth of the time (`docs/decisions/0019-pictures-as-png.md`)."""


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """One picture.

    Attributes:
        kind: what it shows.
        id: `cell_id` of the cell, or id of the frame.
        info: what the picture is.
        data: the file.
        report: of a frame, what was said of it, JSON; "" of a cell.
    """

    kind: PictureKind
    id: str
    info: PictureInfo
    data: bytes
    report: str = ""


def pictures_of(frame: Frame, report: FrameReport, field_um: float) -> Iterator[KeptPicture]:
    """The frame made smaller, and every cell of its report with its surroundings.

    Args:
        frame: with its image.
        report: of this frame.
        field_um: side of what the network sees of a cell, micrometres.
    """
    yield _of_frame(frame, report)
    for cell in report.cells:
        yield _of_cell(frame, cell, field_um)


def annotated(picture: KeptPicture) -> KeptPicture:
    """A frame's picture with its report drawn in, and a strip below it; raises ValueError if it can not be read."""
    report = FrameReport.model_validate_json(picture.report)
    image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the kept picture is none")
    scale = picture.info.width / max(1, report.frame.width)
    small = report.model_copy(
        update={
            "frame": report.frame.model_copy(update={"um_per_pixel": picture.info.um_per_pixel}),
            "cells": [cell.model_copy(update={"box": scaled(cell.box, scale)}) for cell in report.cells],
        }
    )
    drawn = annotate(np.asarray(image, np.uint8), small)
    size = {"height": drawn.shape[0], "width": drawn.shape[1]}
    return KeptPicture(picture.kind, picture.id, picture.info.model_copy(update=size), _jpeg(drawn))


def _of_frame(frame: Frame, report: FrameReport) -> KeptPicture:
    small = _shrunk(frame.image, FRAME_PX)
    um = frame.um_per_pixel * frame.image.shape[1] / small.shape[1]
    return KeptPicture("frame", frame.id, _info("image/jpeg", small, um), _jpeg(small), report.model_dump_json())


def _of_cell(frame: Frame, cell: CellReport, field_um: float) -> KeptPicture:
    box = cell.box
    side = max(1, round(max(FIELDS * field_um / frame.um_per_pixel, RIM * max(box.width, box.height))))
    middle = box.x + box.width / 2, box.y + box.height / 2
    square, (left, top) = square_around(frame.image, middle, side, beyond=BEYOND)
    small = _shrunk(square, CELL_PX)
    scale = len(small) / side
    within = scaled(box.model_copy(update={"x": box.x - left, "y": box.y - top}), scale)
    data = cv2.imencode(".png", small, PNG)[1].tobytes()
    return KeptPicture("cell", cell.cell_id, _info("image/png", small, frame.um_per_pixel / scale, within), data)


def _info(media_type: str, image: Image, um_per_pixel: float, box: BoxReport | None = None) -> PictureInfo:
    height, width = image.shape[:2]
    return PictureInfo(media_type=media_type, width=width, height=height, um_per_pixel=round(um_per_pixel, 6), box=box)


def scaled(box: BoxReport, scale: float) -> BoxReport:
    """A cell's place in a picture of another size."""
    x, y = round(box.x * scale), round(box.y * scale)
    right, bottom = round((box.x + box.width) * scale), round((box.y + box.height) * scale)
    return BoxReport(x=x, y=y, width=right - x, height=bottom - y)


def _shrunk(image: Image, longest: int) -> Image:
    side = max(image.shape[:2])
    if side <= longest:
        return image
    height, width = (max(1, round(length * longest / side)) for length in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
