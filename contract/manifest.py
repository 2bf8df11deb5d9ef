"""What a bundle says of its model: every fact that training, export and agent must share."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contract.reference import Record, Reference, Share

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Divisor = Annotated[float, Field(ge=1e-3, le=1e3)]
Precision = Literal["fp32", "fp16", "int8"]
"""In which numbers a graph is computed."""


class InputSpec(Record):
    """What the network sees."""

    um_per_pixel: float = Field(gt=0, description="Physical scale of a crop, in micrometres per pixel.")
    size: int = Field(ge=16, le=1024, description="Side of a crop in pixels.")
    colour: Literal["rgb"] = Field("rgb", description="Order of the colour planes in the batch.")
    layout: Literal["nchw"] = Field("nchw", description="Order of the batch's axes.")
    mean: tuple[Share, Share, Share] = Field(description="Subtracted per plane, in units of 0 to 1.")
    std: tuple[Divisor, Divisor, Divisor] = Field(description="Divided by per plane, in units of 0 to 1.")
    name: str = Field("image", description="Name of the graph's input.")

    @property
    def field_um(self) -> float:
        """Side of a crop in micrometres."""
        return self.size * self.um_per_pixel


class ClassSpec(Record):
    """One column of the scores."""

    name: Literal["normal", "blast"] = Field(description="Label in the reports.")
    description: str = Field(description="What was trained under this label.")


class Decision(Record):
    """How scores become a label.

    The probability of a blast is softmax(scores / temperature)[blast] (temperature scaling, Guo et al. 2017).
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
    classes: tuple[ClassSpec, ...] = Field(min_length=2, max_length=2, description="Columns of the scores, in order.")
    decisions: Decisions
    calibration: Calibration
    gate: Gate
    reference: Reference | None = Field(
        None, description="What the training images looked like; bundles made before it was measured have none."
    )
    files: dict[str, Sha256] = Field(description="SHA-256 of every other file of the bundle.")
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        "", description="SHA-256 of this record with an empty digest."
    )

    @property
    def blast_column(self) -> int:
        """Index of the blast score in a row of scores."""
        return [c.name for c in self.classes].index("blast")

    @model_validator(mode="after")
    def _named(self) -> "Manifest":
        if self.id != f"{self.model}-{self.version}":
            raise ValueError("id must be model and version, joined by a hyphen")
        return self

    @model_validator(mode="after")
    def _two_classes(self) -> "Manifest":
        if {c.name for c in self.classes} != {"normal", "blast"}:
            raise ValueError("classes must be one `normal` and one `blast`")
        return self

    def sealed(self) -> "Manifest":
        """The same manifest with its digest filled in."""
        bare = self.model_copy(update={"digest": ""})
        return bare.model_copy(update={"digest": hashlib.sha256(bare.to_bytes()).hexdigest()})

    def to_bytes(self) -> bytes:
        """The one way in which a manifest is written, so that any changed byte can be seen.

        Without a reference it is written as it was before there were any: older bundles keep their digest.
        """
        without = {"reference"} if self.reference is None else set[str]()
        return (json.dumps(self.model_dump(mode="json", exclude=without), indent=2, sort_keys=True) + "\n").encode()
