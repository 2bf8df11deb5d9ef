"""The messages that say how an agent fares: its status, and its health."""

from typing import Annotated, Literal

from pydantic import Field

from contract.messages import MOST_RESCUED, SCHEMA_VERSION, Message, Moment, Number, Version
from contract.topic_words import TopicWord


class Status(Message):
    """Whether the agent is there; topic `status`, retained, also the MQTT will."""

    schema_version: Version = Field(SCHEMA_VERSION, description="Version of this message's form.")
    state: Literal["online", "offline", "stopped"] = Field(
        description="`offline` is said by the broker when the agent is lost; `stopped` by the agent itself."
    )
    version: str = Field("", description="Version of the agent.")


class AuditHead(Message):
    """The end of the agent's audit log; kept elsewhere, it proves later that nothing before it was cut off."""

    lines: int = Field(ge=0, description="Number of the last line.")
    sha256: str = Field(description="Its hash, for `microscope-agent audit verify --head`.")


class PictureHealth(Message):
    """How the store of pictures fares."""

    kept: int = Field(ge=0, description="Pictures of cells and frames kept since the agent started.")
    dropped: int = Field(ge=0, description="Pictures that were not kept, for want of time or room.")
    mb: float = Field(ge=0, description="Size of the store, MiB.")


class Health(Message):
    """How the agent fares; topic `health`, retained, every few seconds."""

    schema_version: Version = Field(SCHEMA_VERSION, description="Version of this message's form.")
    at: Moment = Field(description="Time of this message, UTC.")
    frames: int = Field(ge=0, description="Frames reported since the agent started.")
    refused: int = Field(ge=0, description="Of these, frames not fit to be judged.")
    cells: int = Field(ge=0, description="White cells reported since the agent started.")
    dropped: dict[str, int] = Field(
        default_factory=dict, description="Frames never examined or reports lost, by cause."
    )
    queued: int = Field(ge=0, description="Reports that wait in the outbox.")
    engine: str = Field(description="Inference engine and precision in use.")
    epoch: TopicWord | Literal[""] = Field("", description="Identity of the agent's store.")
    oldest: Number = Field(
        0,
        ge=0,
        description="Lowest number of the epoch that the agent still holds, or will give next: what a consumer lacks "
        "below it can not come any more; 0: not told.",
    )
    rescued: dict[TopicWord, Annotated[Number, Field(ge=0)]] = Field(
        default_factory=dict,
        max_length=MOST_RESCUED,
        description="The same for each earlier epoch of which the agent still holds reports, rescued from a store that "
        "was damaged: what lies between them may be lost.",
    )
    alarms: list[str] = Field(default_factory=list, description="What a person should see to, in words.")
    frame_age_s: float | None = Field(
        None, ge=0, description="Seconds since the last frame was examined; null before the first."
    )
    oldest_s: float | None = Field(
        None,
        ge=0,
        description="Seconds since the oldest report that waits in the outbox was captured, by the agent's clock; "
        "null if none waits.",
    )
    broker: str = Field(
        "",
        description="How the agent stands with its broker: `online`, or why reports do not leave, such as `denied` "
        "(`monitoring.md` lists them).",
    )
    silence_s: float | None = Field(
        None,
        ge=0,
        description='With `outbox.forget_on = "consumer"`: seconds for which no consumer has acknowledged anything '
        "new, though the broker took it; null while nothing waits for that.",
    )
    temperatures_c: dict[str, float] = Field(
        default_factory=dict, description="Degrees Celsius by thermal zone, where the board tells them."
    )
    power_w: dict[str, float] = Field(
        default_factory=dict, description="Watts by rail or meter, where the board tells them."
    )
    audit: AuditHead | None = Field(None, description="The end of the audit log.")
    pictures: PictureHealth | None = Field(
        None, description="The pictures that are kept; null where none are (`pictures.keep`)."
    )
