"""What programs ask the page for and are answered, as values: the description in OpenAPI is made of these."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from contract.health_messages import Health, Status
from contract.labels import Label
from contract.messages import BoxReport, Interval, Moment, SlideSummary
from contract.topic_words import TopicWord
from dashboard.live.fleet import Condition
from dashboard.reviews.events import Reading

MOST_AT_ONCE = 1000
"""Slides or cells in one answer."""
_LONGEST = 80
_DAY = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"
_DIGITS = r"^[0-9]{1,9}$"


def _number(given: object) -> object:
    """Digits of ASCII alone, of which ``int`` would take more."""
    if isinstance(given, str) and not (given.isascii() and given.isdecimal() and len(given) < 10):  # noqa: PLR2004
        raise ValueError("a number of at most nine digits")
    return given


Count = Annotated[int, BeforeValidator(_number)]
Words = Annotated[str, Field(max_length=_LONGEST, pattern=r"^[^\x00]*$")]


class Asked(BaseModel):
    """Base of what stands after the `?` of an address; a name that there is not would narrow nothing: it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Said(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Asked):
    """Which part of a list."""

    start: Count = Field(0, alias="from", ge=0, le=10**9 - 1, description="How many to leave out.")
    limit: Count = Field(100, ge=1, le=MOST_AT_ONCE, description="How many at most.")


class SlidesAsked(Part):
    """Which slides; what is empty narrows nothing."""

    words: Words = Field("", description="Words in the names of slide, laboratory and microscope; all must be there.")
    model: Words = Field("", description="Part of the model's name.")
    reviewer: Words = Field("", description="Part of the name of who holds or has signed a reading.")
    since: str = Field("", pattern=_DAY, description="Slides heard of on this day (UTC) or later: 2026-01-31.")
    until: str = Field("", pattern=_DAY, description="Slides heard of on this day (UTC) or earlier.")


class Trouble(Said):
    """Why there is no answer."""

    error: str = Field(description="In words, in the language that was asked for.")


class AgentSaid(Said):
    """A microscope, as seen from this server."""

    site: TopicWord = Field(description="Laboratory.")
    device: TopicWord = Field(description="Agent.")
    condition: Condition = Field(
        description="`stalled`: it is said to be there, but no frame or no word comes; `refusing`: none of its latest "
        "frames is judged; `offline`: it was lost."
    )
    heard_at: Moment | None = Field(description="When it last said something, UTC; null: not since the server started.")
    frame_age_s: float | None = Field(description="Seconds since it examined a frame; null: not known.")
    frames_per_s: float | None = Field(description="Frames a second of late; null: too few have come.")
    refused_in_turn: int = Field(description="So many of the latest frames were refused, one after the other.")
    status: Status | None = Field(description="Its message `status`.")
    health: Health | None = Field(description="Its newest message `health`.")
    slide: SlideSummary | None = Field(description="Its newest message `slide`.")


class AgentsSaid(Said):
    """Every agent that was heard of, by laboratory and name."""

    at: Moment = Field(description="When this was so, UTC.")
    trouble: str = Field(description="Why nothing comes from the broker, in words; empty while all is well.")
    agents: list[AgentSaid]


class CountsSaid(Said):
    """How many cells are called what."""

    cells: int = Field(description="The sum of the four that follow.")
    normal: int
    blast: int
    uncertain: int
    not_judged: int
    fraction: float | None = Field(description="Blasts among the cells called normal or blast; null if there are none.")
    interval: Interval | None = Field(description="Wilson's interval for that share.")


class SlideListed(Said):
    """A slide in a list."""

    site: TopicWord = Field(description="Laboratory.")
    device: TopicWord = Field(description="Agent.")
    slide_id: str = Field(description="Pseudonym of the slide.")
    received_at: Moment = Field(description="When its newest summary came, UTC.")
    counts: CountsSaid | None = Field(
        description="By what the model says, of all counts together; null if its only summary is."
    )
    of_counts: int = Field(
        description="Of how many counts of the agent these are the cells: one that starts again amid a slide begins "
        "another, and a cell that two of them have seen stands twice. 0: not known."
    )
    summary: SlideSummary | None = Field(
        description="The newest message `slide` of its newest count; null if another release wrote it in another form."
    )


class SlidesSaid(Said):
    """A part of the slides that were asked for, newest first."""

    count: int = Field(description="How many there are in all.")
    slides: list[SlideListed]
    next: str | None = Field(description="Address of the part that follows; null: there is none.")


class RefusedSaid(Said):
    """A frame that was not judged."""

    frame_id: str
    source: str = Field(description="File name, or name of the camera.")
    captured_at: Moment
    reasons: list[str]


class SignatureSaid(Said):
    """A reading that a person has signed."""

    name: str
    role: str
    at: Moment
    reading: Reading
    sha256: str = Field(description="Of what was signed.")
    outdated: bool = Field(description="Cells or verdicts came after it.")


class ReviewSaid(Said):
    """What people said of a slide, as far as who asks may see it."""

    counts: CountsSaid | None = Field(
        description="With the corrections; cells that nobody reviewed count as the model says. null where `sealed` "
        "names somebody."
    )
    sealed: list[str] = Field(description="Who signed a reading that who asks may not see yet.")
    apart: dict[str, int] = Field(description="Cells of the laboratory's own classes, which `counts` leaves out.")
    kappa: float | None = Field(description="Cohen's, of two readings; null where there are not two.")
    signatures: list[SignatureSaid]
    notes: list[str]


class Newness(Said):
    """Rises or changes whenever something is stored of a slide: parts of one newness belong together."""

    upto: int = Field(description="Number of the last report that was read.")
    heard_at: Moment | None = Field(description="When the newest summary came, UTC.")


class SlideSaid(Said):
    """All that is known of a slide but its cells."""

    site: TopicWord
    device: TopicWord
    slide_id: str
    state: Literal["open", "closed"] | None = Field(description="null where no summary came.")
    first_at: Moment | None = Field(description="When the first frame was taken, UTC.")
    last_at: Moment | None = Field(description="When the last frame was taken, UTC.")
    frames: int = Field(description="Frames that were reported.")
    refused: list[RefusedSaid] = Field(description="Of these, the frames that were not judged.")
    models: list[str]
    engines: list[str]
    um_per_pixel: list[float] = Field(
        description="Scales of the frames, micrometres per pixel, the most frequent first."
    )
    of_counts: int = Field(
        description="Of how many counts of the agent these are the cells: one that starts again amid a slide begins "
        "another, and a cell that two of them have seen stands twice."
    )
    read_again: int = Field(
        description="How many pictures were read more than once; each counts by its latest reading that was judged."
    )
    counts: CountsSaid = Field(description="By what the model says.")
    reviewed: ReviewSaid | None = Field(description="null where nobody said anything that who asks may see.")
    summaries: list[SlideSummary] = Field(description="The newest message `slide` of each count.")
    newness: Newness
    cells: str = Field(description="Address of its cells.")


class CellSaid(Said):
    """A cell, once, by all its views."""

    object_id: str = Field(description="Its name on the slide.")
    label_model: Label
    label_reviewed: str | None = Field(description="What its reviewers call it; null: nobody has said.")
    label_final: str | None = Field(description="What holds; null where a reading is signed that may not be seen yet.")
    probability: float | None = Field(description="Of a blast, 0 to 1; null if it was not judged.")
    area_um2: float = Field(description="Square micrometres.")
    views: int = Field(description="How many frames show it.")
    flags: list[str]
    frame_id: str = Field(description="Frame of its best view.")
    captured_at: Moment
    box: BoxReport = Field(description="Where it lies in that frame, in pixels.")
    picture_id: str = Field(description="Its picture, if one is kept, is at `/pictures/{device}/cells/{picture_id}`.")
    model_id: str
    um_per_pixel: float | None = Field(description="Scale of that frame, micrometres per pixel; null: not known.")


class CellsSaid(Said):
    """A part of a slide's cells, in the order in which they were first seen."""

    count: int = Field(description="How many there are in all.")
    newness: Newness
    cells: list[CellSaid]
    next: str | None = Field(description="Address of the part that follows; null: there is none.")
