"""Where frames lie on their slide, and at which scale, as the stored reports say it.

It is read from `report.body`, for no column holds it; a report that has another form is left out.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector import tables
from contract.messages import Join, Pixels, Position

_R = tables.report.c
_CHUNK = 200
"""Reports that are in memory at a time."""


class FramePlace(NamedTuple):
    """A frame, and what its report says of places.

    Attributes:
        seq: number of the report within device and epoch.
        um_per_pixel: of the frame as captured; it may be no number that a scale can be.
        width: pixels; 0 if the frame could not be read.
        height: pixels.
        position: of the frame; None where it was refused.
        joined: which part of the slide goes on as another; None in most.
        withdraws: `object_id` of the first cell that is taken back; empty in most.
        object_ids: of its cells, as this report names them.
    """

    site: str
    device: str
    epoch: str
    seq: int
    frame_id: str
    um_per_pixel: float
    width: int
    height: int
    position: Position | None
    joined: Join | None
    withdraws: str
    object_ids: tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Frame(_Part):
    um_per_pixel: float
    width: Pixels
    height: Pixels


class _Cell(_Part):
    object_id: str = ""


class _Report(_Part):
    frame: _Frame
    cells: list[_Cell] = Field(default_factory=list)
    position_um: Position | None = None
    joined: Join | None = None
    withdraws: str = ""


def places(connection: sa.Connection, slide_id: str) -> Iterator[FramePlace]:
    """The frames of one slide, in the order in which their reports came."""
    names = _R.site, _R.device, _R.epoch, _R.seq, _R.frame_id
    wanted = sa.select(*names, _R.body).where(_R.slide_id == slide_id).order_by(_R.id)
    for site, device, epoch, seq, frame_id, body in connection.execute(wanted, execution_options={"yield_per": _CHUNK}):
        with suppress(ValidationError):  # damage to the file, or another release
            said = _Report.model_validate_json(body)
            ids = tuple(cell.object_id for cell in said.cells if cell.object_id)
            yield FramePlace(
                site,
                device,
                epoch,
                seq,
                frame_id,
                um_per_pixel=said.frame.um_per_pixel,
                width=said.frame.width,
                height=said.frame.height,
                position=said.position_um,
                joined=said.joined,
                withdraws=said.withdraws,
                object_ids=ids,
            )
