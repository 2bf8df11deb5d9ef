"""The error that a model is known to make, for the manifest: a slide's share of blasts is corrected by it."""

from pydantic import Field

from contract.reference import Record, Share

MIN_PATIENTS = 5
"""Patients of a class below whom nothing is said of others."""


class PatientRate(Record):
    """How often the cells of a class are called what they are, by patient."""

    mean: Share = Field(description="Mean over the patients, each of whom weighs alike.")
    std: float = Field(
        ge=0,
        le=1,
        description="Standard deviation between the patients, and no less than the draw of their cells alone gives.",
    )
    patients: int = Field(ge=MIN_PATIENTS, description="Number of patients.")


class ModelError(Record):
    """What one precision does with cells that it calls normal or blast; those that are `uncertain` are in neither."""

    sensitivity: PatientRate = Field(description="Share of the blasts that are called blast.")
    specificity: PatientRate = Field(description="Share of the normal cells that are called normal.")


class KnownError(Record):
    """The error of a model on patients that did not train it."""

    on: str = Field(description="Which cells it was measured on.")
    fp32: ModelError
    int8: ModelError

    def of(self, precision: str) -> ModelError:
        """The error of an engine's numbers; FP16 has FP32's, as it has its decision."""
        return self.int8 if precision == "int8" else self.fp32
