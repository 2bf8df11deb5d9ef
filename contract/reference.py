"""What the cells looked like that a model was trained on: what a site's own frames are held against.

All optical densities are decimal, beside the bare background of the same image: -log10((value + 1) / (bare + 1)).
Triples are blue, green, red, as in an image.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Triple = tuple[float, float, float]
Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base of every part of a manifest: frozen, and it knows no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Spread(Record):
    """How one figure varied over the training images."""

    mean: float = Field(description="Mean over the images.")
    std: float = Field(ge=0, description="Standard deviation over the images.")
    low: float = Field(description="One image in twenty is below.")
    high: float = Field(description="One image in twenty is above.")


class Colour(Record):
    """Optical density (blue, green, red) of one kind of pixel."""

    mean: Triple = Field(description="Median over the images of each image's mean.")
    std: Triple = Field(description="Median over the images of the standard deviation among an image's pixels.")
    between: Triple = Field(description="Standard deviation over the images of their means.")


class Stains(Record):
    """The two stains that explain the most of the density (Macenko et al., ISBI 2009), and how strong they were."""

    red: Triple = Field(description="Unit vector (blue, green, red) of what stains red cells: haemoglobin and eosin.")
    blue: Triple = Field(description="Unit vector (blue, green, red) of what stains nuclei: azure.")
    strength: tuple[float, float] = Field(
        description="Optical density of the red and the blue stain that one stained pixel in a hundred exceeds."
    )


class StainProfile(Record):
    """What some images look like: those of a training, or of a site; ``contract.look.stain_profile`` measures it."""

    images: int = Field(ge=1, description="Number of images that were measured.")
    on: str = Field(description="Which images these were.")
    um_per_pixel: float = Field(gt=0, description="Their scale, in micrometres per pixel.")
    background: Spread = Field(description="Brightness of the bare background, mean of the three colours, 0 to 1.")
    bare: tuple[Share, Share, Share] = Field(
        description="Blue, green, red of the bare background, 0 to 1: median over the images."
    )
    focus: Spread = Field(description="Sharpness in 1/um, as `quality.focus` of a report.")
    red_cells: Colour = Field(description="Red cells: what is stained and far from a nucleus.")
    nuclei: Colour = Field(description="Nuclei of white cells.")
    stains: Stains


class Margins(Record):
    """Calibrated log odds of a blast, ln(p / (1 - p)), at the levels of `scores.levels`."""

    cells: int = Field(ge=1, description="Number of cells.")
    every: tuple[float, ...] = Field(description="Of all of them.")
    normal: tuple[float, ...] | None = Field(None, description="Of the normal cells, where labels are known.")
    blast: tuple[float, ...] | None = Field(None, description="Of the blasts, where labels are known.")


class Scores(Record):
    """How the scores of held-out cells are distributed, for each precision."""

    levels: tuple[Share, ...] = Field(min_length=1, description="Shares of the cells that lie below the quantiles.")
    on: str = Field(description="Which cells these were.")
    fp32: Margins
    int8: Margins

    @model_validator(mode="after")
    def _complete(self) -> "Scores":
        for part in (self.fp32, self.int8):
            if any(len(row) != len(self.levels) for row in (part.every, part.normal, part.blast) if row is not None):
                raise ValueError("there must be one quantile for each level")
        return self


class Reference(StainProfile):
    """What the training images looked like, and how cells score that look so."""

    scores: Scores
