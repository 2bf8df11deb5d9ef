"""What may be asked of an agent over MQTT, and what it answers: topics `command/<name>`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from contract.messages import (
    SCHEMA_VERSION,
    BoxReport,
    FrameReport,
    Message,
    ModelInfo,
    Moment,
    Name,
    Pixels,
    SlideSummary,
    Version,
)
from contract.topic_words import WORD, TopicWord

MAX_REQUEST_BYTES = 65536
"""Longest payload that is read."""
ANSWER_EXPIRY_S = 60
"""Seconds after which the broker throws an answer away: nobody waits for it any more."""

MOST_PICTURES = 256
"""Ids in one request for pictures, at most."""

CommandName = Literal[
    "slide/start", "slide/stop", "source/restart", "config/get", "model/reload", "snapshot", "picture/get"
]
PictureKind = Literal["cell", "frame"]
"""What a kept picture shows."""
MediaType = Literal["image/png", "image/jpeg", "image/webp"]
"""Of kept pictures: whoever shows them relies on it that there are no others."""
Code = Literal["unknown", "not_allowed", "malformed", "too_large", "retained", "busy", "integrity", "failed"]
"""Why a command was not carried out."""


class Request(BaseModel):
    """Base of every request; unlike elsewhere a key that nobody knows is an error, for it may be a typing mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked_by: str = Field(
        "", max_length=64, description="Who asks, for the audit log; a word of the sender's, which nobody verifies."
    )

    @model_serializer(mode="wrap")
    def _only_if_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out who asks where nobody says it."""
        written: dict[str, Any] = write(self)
        return written if self.asked_by else {name: value for name, value in written.items() if name != "asked_by"}


class Nothing(Request):
    """Nothing need be said: `{}`, or an empty payload."""


class StartSlide(Request):
    """Count what follows for this slide; the one before ends."""

    slide_id: TopicWord = Field(description=f"Pseudonym of the slide, never a patient's identity: {WORD}.")


class TakeSnapshot(Request):
    """Look through the camera from afar."""

    part: Literal["whole", "centre"] = Field(
        "whole", description="The whole frame made smaller, or its centre as captured, which shows the focus."
    )
    max_side_px: int = Field(1024, ge=64, le=4096, description="Longest side of the picture.")
    max_kb: int = Field(256, ge=16, le=1024, description="Longest `jpeg_base64`, in units of 1024 characters.")
    annotated: bool = Field(default=False, description="Draw the cells and what was said of them.")


class GetPictures(Request):
    """Have pictures of cells or frames that the agent has kept."""

    kind: PictureKind = Field(description="What the ids name.")
    ids: tuple[Name, ...] = Field(
        min_length=1,
        max_length=MOST_PICTURES,
        description="Each the `cell_id` of a cell or the `id` of a frame, as in reports; pictures come in this order.",
    )
    max_kb: int = Field(
        256, ge=16, le=1024, description="Longest `data_base64` of all pictures together, in units of 1024 characters."
    )
    offset: int = Field(0, ge=0, description="Bytes of the first picture that the asker has already.")
    annotated: bool = Field(
        default=False, description="Draw the cells and what was said of them into pictures of frames."
    )


class Restarted(Message):
    """The source was closed and opened again."""

    source: str = Field(description="Kind of the source.")


class Setting(Message):
    """One setting in force."""

    value: bool | int | float | str | list[str] | None = Field(
        description="What `microscope-agent config show` prints, as JSON; null where it is unset; secrets masked."
    )
    origin: str = Field(description="Where it comes from.")


class SettingsInForce(Message):
    """Every setting."""

    settings: dict[str, Setting] = Field(description="By dotted name.")


class Snapshot(Message):
    """The newest picture, and the newest report; of the same frame if `frame_id` and `report.frame.id` are the same."""

    frame_id: str = Field(description="The picture's frame.")
    captured_at: Moment = Field(description="Time of its capture, UTC: of a camera that is silent, it is old.")
    width: int = Field(description="Of the picture, pixels.")
    height: int = Field(description="Of the picture, pixels.")
    um_per_pixel: float = Field(description="Of the picture.")
    jpeg_base64: str = Field(description="The picture.")
    report: FrameReport | None = Field(None, description="null before the first.")


class PictureInfo(Message):
    """What a kept picture is."""

    media_type: MediaType = Field(description="Of a cell lossless, of a frame `image/jpeg`.")
    width: Pixels = Field(ge=1, description="Of the picture, pixels.")
    height: Pixels = Field(ge=1, description="Of the picture, pixels.")
    um_per_pixel: float = Field(gt=0, description="Of the picture.")
    box: BoxReport | None = Field(None, description="Of the cell, in pixels of the picture; null for a frame.")


class PicturePiece(PictureInfo):
    """A picture, or a piece of one: all pieces one behind the other are the file."""

    id: Name = Field(description="Of the cell or the frame.")
    offset: int = Field(ge=0, description="Bytes before this piece.")
    total_bytes: int = Field(ge=0, description="Bytes of the whole picture.")
    data_base64: str = Field(description="The piece.")


class Pictures(Message):
    """Pictures that were asked for, as many as there was room for."""

    pictures: list[PicturePiece] = Field(description="In the order of the ids; the last may be a piece.")
    missing: list[Name] = Field(default_factory=list, description="Ids of which no picture is kept, or none any more.")
    left: list[Name] = Field(
        default_factory=list,
        description="Ids to ask for again: those for which there was no room, then those whose pictures are not ready "
        "yet. If a piece of the first is among `pictures`, ask with the `offset` behind that piece.",
    )


class ErrorInfo(Message):
    """Why a command was not carried out."""

    code: Code = Field(description="For programs.")
    text: str = Field(description="For people: thing, cause, remedy.")


Result = TypeVar("Result", bound=BaseModel)


class Answer(Message, Generic[Result]):
    """What the agent says to a command, on the response topic, with its correlation data."""

    schema_version: Version = Field(SCHEMA_VERSION, description="Version of this message's form.")
    command: str = Field(description="Name of the command.")
    ok: bool = Field(description="Whether it was carried out.")
    error: ErrorInfo | None = Field(None, description="Why not.")
    result: Result | None = Field(None, description="What came of it.")


def too_large(answer: bytes, largest: int) -> bytes:
    """What is said in place of an answer that the broker does not take."""
    text = f"the answer has {len(answer)} bytes, and the broker takes {largest} at once; ask for less"
    name = Answer[BaseModel].model_validate_json(answer).command
    error = ErrorInfo(code="too_large", text=text)
    return Answer[BaseModel](command=name, ok=False, error=error).model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that may be asked."""

    request: type[Request]
    result: type[BaseModel]
    text: str
    often: bool = False
    """Programs ask for it again and again: the audit log counts it instead of noting each one, and it has an allowance
    of its own beside that of the commands that people give."""

    @property
    def answer(self) -> type[BaseModel]:
        """The form of its answer."""
        return Answer[self.result]  # type: ignore[name-defined]


COMMANDS: Mapping[CommandName, Command] = {
    "slide/start": Command(
        StartSlide, SlideSummary, "count what follows for a slide; answers with its summary as it begins"
    ),
    "slide/stop": Command(Nothing, SlideSummary, "end the slide; answers with its last summary, null if none was open"),
    "source/restart": Command(Nothing, Restarted, "close the source and open it again, a folder from its beginning"),
    "config/get": Command(Nothing, SettingsInForce, "every setting in force, with its origin, secrets masked"),
    "model/reload": Command(
        Nothing,
        ModelInfo,
        "open the bundle again, between two frames, trusted as at the start; if that fails the old model goes on; an "
        "open slide is closed, and counted again under the new model",
    ),
    "snapshot": Command(TakeSnapshot, Snapshot, "the newest picture as JPEG, and the newest report"),
    "picture/get": Command(
        GetPictures,
        Pictures,
        "pictures of cells and frames that the agent has kept (`pictures.keep`), in as many pieces as it takes",
        often=True,
    ),
}
"""Everything that may be asked, by the end of its topic."""
