"""What goes over MQTT: one class per message, each field described where it stands.

Readers ignore keys that they do not know, so an old subscriber survives a new agent.
"""

from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from typing_extensions import Self

from contract.labels import Label
from contract.topic_words import TopicWord

SCHEMA_VERSION: Final = 2
OF_VERSION_1 = b'{"schema_version":1,'
"""How a report begins that an earlier release has put into the outbox; it is sent as it is."""
CONTENT_TYPE = "application/json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""Of JSON Schema, in what is generated from the messages and the settings."""
LARGEST_MESSAGE = 4 * 2**20
"""Bytes of the longest packet that an agent sends and a subscriber of ours takes: a frame of 15,000 cells."""
LARGEST_NUMBER = 2**63 - 1
"""What every database and every language can hold."""
MOST_RESCUED = 256
"""Epochs that one health message speaks of beside its own."""

Reason = Literal[
    "unreadable", "incomplete", "too_small", "too_large", "stale",
    "empty", "out_of_focus", "overexposed", "underexposed", "uneven", "no_colour",
    "wrong_stain", "wrong_scale", "motion", "noise",
]  # fmt: skip
"""Why a frame can not be judged."""


def iso(moment: datetime) -> str:
    """A time as it is written everywhere: 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Name = Annotated[str, Field(max_length=255)]
"""A label; who stores it may rely on its length."""
Number = Annotated[int, Field(le=LARGEST_NUMBER)]
Pixels = Annotated[int, Field(lt=2**31)]
Moment = Annotated[
    AwareDatetime,
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""UTC, ISO 8601, milliseconds: 2026-01-31T12:00:00.000Z. Without a zone it is no moment."""


Version = Annotated[Literal[2], BeforeValidator(lambda given: SCHEMA_VERSION if given == 1 else given)]
"""Of a message's form. Readers take version 1 too, and what they have read is of version 2."""


class Message(BaseModel):
    """Base of everything on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class BoxReport(Message):
    """An upright rectangle in pixels of the frame as captured."""

    x: Pixels = Field(ge=-(2**31), description="Left edge.")
    y: Pixels = Field(ge=-(2**31), description="Upper edge.")
    width: Pixels = Field(ge=0, description="Pixels to the right.")
    height: Pixels = Field(ge=0, description="Pixels down.")


class FrameInfo(Message):
    """Which frame a report speaks of."""

    id: Name = Field(description="Label of the frame, unique within a run.")
    source: str = Field(description="File name, or name of the camera.")
    captured_at: Moment = Field(description="Time of capture, UTC.")
    timed_by: Literal["", "exif", "file", "arrival"] = Field(
        "",
        description="How that is known. `exif`: the picture's own tags say it. `file`: its file was last written then. "
        "`arrival`: it reached the agent's computer then. Empty: an older agent, which did not say.",
    )
    width: int = Field(ge=0, description="Pixels; 0 if the frame could not be read.")
    height: int = Field(ge=0, description="Pixels; 0 if the frame could not be read.")
    um_per_pixel: float = Field(gt=0, description="Micrometres per pixel.")


class Quality(Message):
    """Whether a frame is fit to be judged, and what was measured to say so."""

    accepted: bool = Field(description="False: not judged, and `cells` is empty.")
    reasons: list[Reason] = Field(default_factory=list, description="Why it was not accepted.")
    detail: str = Field("", description="The reasons in words, with the figure and its bound.")
    focus: float = Field(0.0, description="Sharpness of the stained edges; higher is sharper.")
    background: float = Field(0.0, description="Median brightness of the bare background, 0 to 1.")
    unevenness: float = Field(0.0, description="Light that the darkest part lacks beside the brightest, 0 to 1.")
    saturated: float = Field(0.0, description="Share of pixels at the sensor's limit, 0 to 1.")
    noise: float = Field(0.0, description="Camera noise as a share of the background's light, at 0.2 um.")
    motion: float = Field(0.0, description="Difference of sharpness between directions, 0 to 1.")
    red_hue: float = Field(
        0.0, description="Hue of what is commonly stained (red cells), degrees from green towards red."
    )
    dark_hue: float = Field(
        0.0, description="Hue of the darkest part (nuclei, if any), degrees from green towards red."
    )
    far_from_training: float | None = Field(
        None,
        ge=0,
        description="How far the optical density of the frame's red cells, or of its nuclei if that is farther, lies "
        "from that of the training's images: root mean square over the three colours, in standard deviations between "
        "those images. 19 of 20 of these have less than 3; from 3 on the stain is foreign. null: unknown.",
    )
    scale: float = Field(
        0.0, description="Red cells' apparent size over their true one, by the latest frames; 0: unknown."
    )


class CellReport(Message):
    """One white cell."""

    cell_id: Name = Field(description="Label of the cell, unique within a run.")
    box: BoxReport
    area_um2: float = Field(ge=0, description="Area of the whole cell, square micrometres.")
    label: Label = Field(
        description="`uncertain` asks a person to look. `not_judged`: the frame's border cuts the cell (flag `edge`), "
        "and nobody can say what it is."
    )
    probability: float | None = Field(
        ge=0, le=1, description="Calibrated probability of a blast; null if the cell is `not_judged`, and only then."
    )
    classes: dict[str, float] | None = Field(
        None,
        description="Probability of normal and of each kind of blast; they sum to 1, and those of the kinds of "
        "blasts to `probability`. Null from models that say no more than `probability`.",
    )
    flags: list[str] = Field(
        default_factory=list,
        description="`edge`: the frame's border cuts the cell, which is `not_judged`. "
        "Why a cell is `uncertain` whatever its probability: `other`: it looks like a smudge, an artefact, a platelet, "
        "a clump or a nucleated red cell; `unlike_training`: like nothing that the model has learned; "
        "`colours_unknown`: the site's colours are foreign, and too few of its cells are known yet.",
    )
    object_id: Name = Field(
        "",
        description="Name of the cell on its slide, `<count_id>-c<number>`, the same in every frame that shows it; "
        "empty where none is open.",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, given: Any) -> Any:
        """Version 1 gave a cell with the flag `edge` a label and a probability that said nothing."""
        if isinstance(given, dict) and isinstance(flags := given.get("flags"), list) and "edge" in flags:
            return {**given, "label": "not_judged", "probability": None, "classes": None}
        return given

    @model_validator(mode="after")
    def _judged_or_not(self) -> Self:
        if (self.label == "not_judged") != (self.probability is None):
            raise ValueError("a cell has no probability if it is not_judged, and one if it is judged")
        return self


class ModelInfo(Message):
    """Who judged."""

    id: Name = Field(description="Name of the model.")
    sha256: str = Field(description="SHA-256 of the bundle's manifest, which holds those of all its files.")
    engine: Name = Field(description="Inference engine and precision; a fallback shows here.")
    gate: str = Field("", description="`passed`, or `skipped`: nobody has shown that INT8 answers as FP32 does.")
    colour: str = Field(
        "off",
        description="How cells were made to look like the training's: `cells` (by the colours of the site's cells), "
        "`reinhard`, `macenko`, `off`.",
    )


class Timing(Message):
    """Milliseconds spent on a frame."""

    read: float = Field(0.0, description="Fetch and decode.")
    quality: float = Field(0.0, description="Judge the frame.")
    segment: float = Field(0.0, description="Find the cells.")
    classify: float = Field(0.0, description="Cut, batch and score them.")
    place: float = Field(0.0, description="Find the frame's place on the slide, and which cells were seen before.")
    total: float = Field(0.0, description="From the picture to the finished report.")


class Position(Message):
    """Where a frame lies on its slide."""

    part: int = Field(
        ge=1,
        description="Number of the connected part of the slide: a jump, beside which nothing is known, begins one.",
    )
    x: float = Field(description="Micrometres to the right from the corner of the part's first frame to this frame's.")
    y: float = Field(description="Micrometres down.")
    confidence: float = Field(
        ge=0,
        le=1,
        description="Correlation of what it shares with the frame that it was found beside; 0 for a part's first.",
    )


class Join(Message):
    """Two parts of a slide that a frame has shown to be one; the part that stays is that of its `position_um`."""

    part: int = Field(ge=1, description="Number of the part that is gone.")
    x: float = Field(description="Micrometres to be added to the positions that earlier reports give in that part.")
    y: float = Field(description="The same, down.")
    same: dict[Name, Name] = Field(
        default_factory=dict,
        description="Cells that both parts knew: each `object_id` that is gone, and the one under which the cell "
        "goes on. The slide's summary counts them once.",
    )


class FrameReport(Message):
    """Everything the agent has to say about one frame; topic `frame`, QoS 1.

    (device, epoch, seq) is unique forever: a consumer that stores it under that key counts nothing twice.
    """

    schema_version: Version = Field(SCHEMA_VERSION, description="Version of this message's form.")
    device: TopicWord = Field(description="Name of the agent's computer, as in the topic.")
    site: TopicWord = Field(description="Name of the laboratory, as in the topic.")
    epoch: TopicWord = Field(description="Identity of the agent's store; changes with each new store.")
    seq: Number = Field(ge=1, description="Number of the report within the epoch, without gaps.")
    slide_id: Name = Field(description="Pseudonym of the slide; empty where none was open.")
    frame: FrameInfo
    quality: Quality
    cells: list[CellReport] = Field(default_factory=list)
    model: ModelInfo
    timing_ms: Timing = Field(default_factory=Timing)
    position_um: Position | None = Field(None, description="null where no slide is open or the frame was refused.")
    joined: Join | None = Field(None, description="null unless the frame has shown two parts of the slide to be one.")
    withdraws: Name = Field(
        "",
        description="Given from the first `wrong_scale` until a frame is accepted again: an `object_id`. That cell, "
        "and those of the same count with a higher number, are taken back where reports with a lower `seq` name them: "
        "they were judged before the scale was seen to be wrong. The slide's summary has taken them back, and counts "
        "their frames as refused.",
    )


class Interval(Message):
    """An interval of confidence."""

    low: float = Field(ge=0, le=1, description="Lower end.")
    high: float = Field(ge=0, le=1, description="Upper end.")
    level: float = Field(description="Confidence level, 0.95 for example.")


class Registration(Message):
    """How sure the places of a slide's frames are: correlations, 0 to 1, of what neighbours share."""

    frames: int = Field(0, ge=0, description="Frames that were found beside another; all but the first of each part.")
    mean: float | None = Field(None, description="Mean of their confidences.")
    least: float | None = Field(None, description="The least of them.")


class SlideSummary(Message):
    """What is known of a slide; topic `slide`, retained: at its start, every few seconds as it changes, at its end.

    It speaks of one count: from a start of the slide, or of the agent, to its end. If the agent starts again amid a
    slide, a new count begins, with a new `count_id` and `started_at`; the frame reports of both remain.
    """

    schema_version: Version = Field(SCHEMA_VERSION, description="Version of this message's form.")
    slide_id: Name = Field(description="Pseudonym of the slide.")
    count_id: Name = Field(
        description="Name of this count, never used again; each `object_id` begins with it. If the agent starts again "
        "amid a slide, another count begins: the frame reports of both remain."
    )
    state: Literal["open", "closed"] = Field(description="`closed`: nothing will be added.")
    started_at: Moment = Field(description="When the count began, UTC.")
    ended_at: Moment | None = Field(None, description="When it ended, UTC.")
    at: Moment = Field(description="Time of this message, UTC.")
    frames: int = Field(ge=0, description="Frames examined.")
    refused: int = Field(ge=0, description="Of these, frames not fit to be judged.")
    refused_by: dict[str, int] = Field(default_factory=dict, description="Refused frames by reason; some have several.")
    cells: int = Field(ge=0, description="White cells, each counted once: the sum of the four that follow.")
    normal: int = Field(
        ge=0, description="Cells called normal by all their whole views together, those in doubt left out."
    )
    blasts: int = Field(ge=0, description="Cells called blast.")
    uncertain: int = Field(
        ge=0,
        description="Cells between the two, and those that most of their whole views doubt (`other`, "
        "`unlike_training`, `colours_unknown`), for a person to look at.",
    )
    not_judged: int = Field(
        ge=0,
        validation_alias=AliasChoices("not_judged", "edge_only"),
        description="Cells that no frame showed whole (`edge_only` in version 1).",
    )
    blast_fraction: float | None = Field(
        None, description="Blasts among the cells called normal or blast; null if there are none."
    )
    blast_interval: Interval | None = Field(
        None, description="Wilson's interval for that share: the chance of the draw, not the faults of the model."
    )
    corrected_fraction: float | None = Field(
        None,
        ge=0,
        le=1,
        description="That share, corrected for the error that the model is known to make (Rogan and Gladen 1978); "
        "null where the error is not known, or does not fit what is seen.",
    )
    corrected_interval: Interval | None = Field(
        None,
        description="Interval for the corrected share: the draw of the cells, of which two count as one since those of "
        "a slide are alike, and how patients differ in the model's error.",
    )
    enough_cells: Literal["yes", "no"] | None = Field(
        None,
        description="`yes`: the cells seen say on which side of 0.20 the corrected share lies (the share of blasts "
        "from which the WHO speaks of acute leukemia), by a test that holds at every look (Robbins 1970). No "
        "diagnosis. `no`: they do not say it; near 0.20 no number of cells does. null where the corrected share is.",
    )
    jumps: int = Field(
        ge=0,
        description="Times when a frame shared nothing with any place remembered, less those after which the stage "
        "has walked from one part into the other; a cell on both sides counts twice.",
    )
    registration: Registration = Field(default_factory=Registration)
    model: ModelInfo


class Ack(Message):
    """A consumer's word that it has stored every report of an epoch up to a number; topic `ack`."""

    epoch: TopicWord = Field(description="The epoch of the reports.")
    upto: Number = Field(ge=0, description="Every report up to this number is safe.")
    seen: Number | None = Field(
        None,
        ge=0,
        description="Highest number that is safe: if it is above `upto`, a report between them is missing, and is sent "
        "again soon; if not, what follows may be on its way. null where the consumer can not tell, as at its start.",
    )
