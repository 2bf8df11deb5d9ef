"""What a bundle says of its model: every fact that training, export and agent must share."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contract.known_error import KnownError
from contract.reference import Record, Reference, Share

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Divisor = Annotated[float, Field(ge=1e-3, le=1e3)]
Precision = Literal["fp32", "fp16", "int8"]
"""In which numbers a graph is computed."""


class CellColours(Record):
    """Colours of the cells of one laboratory: red, green, blue of the pixels within their outlines, 0 to 1."""

    mean: tuple[Share, Share, Share] = Field(description="Mean over the pixels of all cells.")
    std: tuple[Share, Share, Share] = Field(description="Standard deviation over the pixels of all cells.")


class CellView(Record):
    """A crop is brought to the training's colours, and may show its cell alone.

    The colours of a laboratory's cells, all taken together, are brought to those of the training: mean and standard
    deviation of each colour. Never those of a single cell: its own colour is evidence.
    """

    colours: CellColours = Field(description="Of the training's cells.")
    surroundings: tuple[Share, Share, Share] | None = Field(
        None, description="Red, green, blue of every pixel outside the outline, 0 to 1; absent: they stay as they are."
    )


class InputSpec(Record):
    """What the network sees."""

    um_per_pixel: float = Field(gt=0, description="Physical scale of a crop, in micrometres per pixel.")
    size: int = Field(ge=16, le=1024, description="Side of a crop in pixels.")
    colour: Literal["rgb"] = Field("rgb", description="Order of the colour planes in the batch.")
    layout: Literal["nchw"] = Field("nchw", description="Order of the batch's axes.")
    mean: tuple[Share, Share, Share] = Field(description="Subtracted per plane, in units of 0 to 1.")
    std: tuple[Divisor, Divisor, Divisor] = Field(description="Divided by per plane, in units of 0 to 1.")
    name: str = Field("image", description="Name of the graph's input.")
    cell: CellView | None = Field(None, description="Absent: a crop is used as it is cut, its surroundings included.")

    @property
    def field_um(self) -> float:
        """Side of a crop in micrometres."""
        return self.size * self.um_per_pixel


ClassName = Literal["normal", "blast", "lymphoblast", "myeloblast", "other"]
BLASTS: tuple[ClassName, ...] = ("blast", "lymphoblast", "myeloblast")
"""Names of the columns whose probabilities add up to that of a blast."""
OTHER: ClassName = "other"
"""Name of the column for what is neither: smudges, artefacts, platelets, clumps, nucleated red cells."""


class ClassSpec(Record):
    """One column of the scores."""

    name: ClassName = Field(
        description="What the column stands for; reports give its probability by this name, but for `other`, a flag."
    )
    description: str = Field(description="What was trained under this label.")


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands where in a row of scores.

    Attributes:
        names: of the classes, in order; a column for the distance follows them where there is one.
        distance: whether the last column is the cell's distance to the training's cells.
    """

    names: tuple[ClassName, ...] = ("normal", "blast")
    distance: bool = False

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names) + self.distance

    @property
    def normal(self) -> int:
        """Index of the normal score."""
        return self.names.index("normal")

    @property
    def blasts(self) -> tuple[int, ...]:
        """Indices of the scores of blasts of any kind."""
        return tuple(k for k, name in enumerate(self.names) if name in BLASTS)

    @property
    def other(self) -> int | None:
        """Index of the score for what is no cell to be judged, or None.

        It is a logit of its own, against everything else.
        """
        return self.names.index(OTHER) if OTHER in self.names else None


TWO = Columns()
"""Normal, then blast: what a network has where nothing else is said."""


class Unknown(Record):
    """From where on a cell is too unlike the training's cells to be called normal or blast: it is `uncertain` then."""

    other: Share = Field(description="Largest probability of `other` with which a cell is judged.")
    distance: float = Field(gt=0, description="Largest distance to the training's cells with which a cell is judged.")


class Decision(Record):
    """How scores become a label.

    The probability of a blast is the logistic function of margin / temperature (temperature scaling, Guo et al. 2017);
    the margin is the score of the blasts, several of them by the logarithm of their summed exponentials, less that of
    normal.
    """

    temperature: float = Field(gt=0, description="Divides the scores before softmax.")
    threshold: float = Field(
        gt=0,
        lt=1,
        description="Probability from which a cell counts as a blast where no abstention is allowed.",
    )
    uncertain_from: float = Field(ge=0, le=1, description="From this probability on, a cell is not called normal.")
    uncertain_to: float = Field(ge=0, le=1, description="Up to this probability, a cell is not called a blast.")

    @model_validator(mode="after")
    def _ordered(self) -> "Decision":
        if not self.uncertain_from <= self.threshold <= self.uncertain_to:
            raise ValueError("uncertain_from <= threshold <= uncertain_to does not hold")
        return self


class Decisions(Record):
    """One decision for each precision, for the scores of one are not quite those of the other."""

    fp32: Decision
    int8: Decision

    def of(self, precision: Precision) -> Decision:
        """The decision that belongs to an engine; FP16 keeps FP32's."""
        return self.int8 if precision == "int8" else self.fp32


class Gate(Record):
    """What was found when INT8 was held against FP32 on cells that calibration had not seen."""

    state: Literal["passed", "skipped"] = Field(description="`skipped`: the person who exported it asked for that.")
    cells: int = Field(ge=0, description="Number of cells that were kept for it.")
    on: str = Field(description="Which cells these were.")


class Calibration(Record):
    """Where the INT8 ranges come from."""

    method: str = Field(description="Name of the calibration method.")
    cells: int = Field(ge=1, description="Number of calibration cells.")
    sample_sha256: Sha256 = Field(description="Hash over the calibration crops.")
    keep_float: tuple[str, ...] = Field((), description="Convolutions that were left in floating point.")


class Manifest(Record):
    """The one record that travels with a model; `manifest.json` of a bundle."""

    schema_version: Literal[1] = Field(1, description="Version of this record's form.")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$", description="Name of the model, version included.")
    model: str = Field(description="Name of the model without its version.")
    version: int = Field(ge=0, description="Version of the model; a higher one replaces a lower one.")
    created_at: str = Field(description="When the bundle was written, UTC, ISO 8601.")
    task: str = Field(description="What the model tells apart, in words.")
    terms: str = Field(description="What the model may be used for.")
    input: InputSpec
    classes: tuple[ClassSpec, ...] = Field(min_length=2, max_length=5, description="Columns of the scores, in order.")
    decisions: Decisions
    calibration: Calibration
    gate: Gate
    reference: Reference | None = Field(
        None, description="What the training images looked like; bundles made before it was measured have none."
    )
    unknown: Unknown | None = Field(
        None, description="Absent: every cell is judged, however unlike the training's; the scores have no distance."
    )
    known_error: KnownError | None = Field(
        None,
        description="The error that it is known to make, by which a slide's share of blasts is corrected; absent where "
        "it was not measured, or on too few patients.",
    )
    files: dict[str, Sha256] = Field(description="SHA-256 of every other file of the bundle.")
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        "", description="SHA-256 of this record with an empty digest."
    )

    @property
    def columns(self) -> Columns:
        """What stands where in a row of scores."""
        return Columns(tuple(c.name for c in self.classes), distance=self.unknown is not None)

    @model_validator(mode="after")
    def _named(self) -> "Manifest":
        if self.id != f"{self.model}-{self.version}":
            raise ValueError("id must be model and version, joined by a hyphen")
        return self

    @model_validator(mode="after")
    def _classes(self) -> "Manifest":
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names) or "normal" not in names or not set(names) & set(BLASTS):
            raise ValueError("classes must be one `normal`, one or more kinds of blast, and `other` at most once")
        if ("blast" in names) and len(set(names) & set(BLASTS)) > 1:
            raise ValueError("classes name `blast` or its kinds, not both")
        if (self.unknown is not None) != (OTHER in names):
            raise ValueError("`unknown` and a class `other` go together")
        return self

    def sealed(self) -> "Manifest":
        """The same manifest with its digest filled in."""
        bare = self.model_copy(update={"digest": ""})
        return bare.model_copy(update={"digest": hashlib.sha256(bare.to_bytes()).hexdigest()})

    def to_bytes(self) -> bytes:
        """The one way in which a manifest is written, so that any changed byte can be seen.

        What is absent is not written, as before there was such a thing: older bundles keep their digest.
        """
        written = self.model_dump(mode="json")
        optional = ((written, "reference"), (written, "unknown"), (written, "known_error"), (written["input"], "cell"))
        for record, name in optional:
            if record[name] is None:
                del record[name]
        return (json.dumps(written, indent=2, sort_keys=True) + "\n").encode()
