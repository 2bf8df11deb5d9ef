"""What goes over MQTT: one class per message, each field described where it stands.

Readers ignore keys that they do not know, so an old subscriber survives a new agent.
"""

from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

SCHEMA_VERSION = 1
CONTENT_TYPE = "application/json"

Reason = Literal[
    "unreadable", "incomplete", "too_small", "too_large", "stale",
    "empty", "out_of_focus", "overexposed", "underexposed", "uneven", "no_colour",
]  # fmt: skip
"""Why a frame can not be judged."""


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(_iso, return_type=str)]
"""UTC, ISO 8601, milliseconds: 2026-01-31T12:00:00.000Z. Without a zone it is no moment."""


class Message(BaseModel):
    """Base of everything on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class BoxReport(Message):
    """An upright rectangle in pixels of the frame as captured."""

    x: int = Field(description="Left edge.")
    y: int = Field(description="Upper edge.")
    width: int = Field(ge=0, description="Pixels to the right.")
    height: int = Field(ge=0, description="Pixels down.")


class FrameInfo(Message):
    """Which frame a report speaks of."""

    id: str = Field(description="Label of the frame, unique within a run.")
    source: str = Field(description="File name, or name of the camera.")
    captured_at: Moment = Field(description="Time of capture, UTC.")
    width: int = Field(ge=0, description="Pixels; 0 if the frame could not be read.")
    height: int = Field(ge=0, description="Pixels; 0 if the frame could not be read.")
    um_per_pixel: float = Field(gt=0, description="Micrometres per pixel.")


class Quality(Message):
    """Whether a frame is fit to be judged, and what was measured to say so."""

    accepted: bool = Field(description="False: not judged, and `cells` is empty.")
    reasons: list[Reason] = Field(default_factory=list, description="Why it was not accepted.")
    detail: str = Field("", description="The reasons in words.")
    focus: float = Field(0.0, description="Sharpness of the stained edges; higher is sharper.")
    background: float = Field(0.0, description="Median brightness of the bare background, 0 to 1.")
    unevenness: float = Field(0.0, description="Spread of the background's brightness over the frame, 0 to 1.")
    saturated: float = Field(0.0, description="Share of pixels at the sensor's limit, 0 to 1.")


class CellReport(Message):
    """One white cell."""

    cell_id: str = Field(description="Label of the cell, unique within a run.")
    box: BoxReport
    area_um2: float = Field(ge=0, description="Area of the whole cell, square micrometres.")
    label: Literal["normal", "blast", "uncertain"] = Field(description="`uncertain` asks a person to look.")
    probability: float = Field(ge=0, le=1, description="Calibrated probability of a blast.")
    flags: list[str] = Field(default_factory=list, description="`edge`: the frame's border cuts the cell.")


class ModelInfo(Message):
    """Who judged."""

    id: str = Field(description="Name of the model.")
    sha256: str = Field(description="SHA-256 of the bundle's manifest, which holds those of all its files.")
    engine: str = Field(description="Inference engine and precision; a fallback shows here.")
    gate: str = Field("", description="`passed`, or `skipped`: nobody has shown that INT8 answers as FP32 does.")


class Timing(Message):
    """Milliseconds spent on a frame."""

    read: float = Field(0.0, description="Fetch and decode.")
    quality: float = Field(0.0, description="Judge the frame.")
    segment: float = Field(0.0, description="Find the cells.")
    classify: float = Field(0.0, description="Cut, batch and score them.")
    total: float = Field(0.0, description="From the picture to the finished report.")


class FrameReport(Message):
    """Everything the agent has to say about one frame; topic `frame`, QoS 1.

    (device, epoch, seq) is unique for ever: a consumer that stores it under that key counts nothing twice.
    """

    schema_version: Literal[1] = Field(1, description="Version of this message's form.")
    device: str = Field(description="Name of the agent's computer.")
    site: str = Field(description="Name of the laboratory.")
    epoch: str = Field(description="Identity of the agent's store; changes when the store is made anew.")
    seq: int = Field(ge=1, description="Number of the report within the epoch, without gaps.")
    slide_id: str = Field(description="Pseudonym of the slide.")
    frame: FrameInfo
    quality: Quality
    cells: list[CellReport] = Field(default_factory=list)
    model: ModelInfo
    timing_ms: Timing = Field(default_factory=Timing)


class Status(Message):
    """Whether the agent is there; topic `status`, retained, also the MQTT will."""

    schema_version: Literal[1] = Field(1, description="Version of this message's form.")
    state: Literal["online", "offline", "stopped"] = Field(
        description="`offline` is said by the broker when the agent is lost; `stopped` by the agent itself."
    )
    version: str = Field("", description="Version of the agent.")


class Health(Message):
    """How the agent fares; topic `health`, retained, every few seconds."""

    schema_version: Literal[1] = Field(1, description="Version of this message's form.")
    at: Moment = Field(description="Time of this message, UTC.")
    frames: int = Field(ge=0, description="Frames reported since the agent started.")
    refused: int = Field(ge=0, description="Of these, frames not fit to be judged.")
    cells: int = Field(ge=0, description="White cells reported since the agent started.")
    dropped: dict[str, int] = Field(
        default_factory=dict, description="Frames never examined or reports lost, by cause."
    )
    queued: int = Field(ge=0, description="Reports that wait in the outbox.")
    engine: str = Field(description="Inference engine and precision in use.")


class Topics:
    """The topics of one agent: `<prefix>/v1/<site>/<device>/<name>`."""

    def __init__(self, *, prefix: str, site: str, device: str) -> None:
        self.root = f"{prefix}/v1/{site}/{device}"
        self.status = f"{self.root}/status"
        self.frame = f"{self.root}/frame"
        self.health = f"{self.root}/health"
        self.ack = f"{self.root}/ack"


class Ack(Message):
    """A consumer's word that it has stored every report of an epoch up to a number; topic `ack`."""

    epoch: str = Field(description="The epoch of the reports.")
    upto: int = Field(ge=0, description="Every report up to this number is safe.")
