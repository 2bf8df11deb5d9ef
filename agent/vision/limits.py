"""What a frame must keep to be judged: bounds with defaults, which a site file may set otherwise.

The defaults were set on one half of the frames of three laboratories (BCCD numbers below 170, every second Barcelona
tile, the DeepAPL patients below 80 with an even number: 625 frames), all of which are meant to pass, and on the same
frames made worse (``bench/degraded.py``). Figures in the descriptions are of these.
"""

from pydantic import BaseModel, ConfigDict, Field, model_validator

Hues = tuple[float, float]
"""From and to, in degrees; see ``agent.vision.stain.hue_of``."""


class QualityLimits(BaseModel):
    """Bounds of what is measured of a frame."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_background: float = Field(
        0.5,
        ge=0,
        le=1,
        description="`underexposed`: least brightness of the bare background. Fit frames have 0.72 to 0.94; at half the"
        " exposure, where one frame in three is answered otherwise, 0.36 to 0.47.",
    )
    max_saturated: float = Field(
        0.15,
        ge=0,
        le=1,
        description="`overexposed`: most of the frame that may be white in all colours. Fit frames have none; at 1.5 "
        "times the exposure, where one frame in four is answered otherwise, 0.2 to 0.9. Raise it for a "
        "camera whose bare background is white.",
    )
    max_unevenness: float = Field(
        0.46,
        ge=0,
        le=1,
        description="`uneven`: most light that the darkest part may lack beside the brightest. Of fit frames 99 % are "
        "below 0.41; with a fifth of the light in the worst corner it is 0.44 to 0.66.",
    )
    max_noise: float = Field(
        0.035,
        ge=0,
        description="`noise`: most camera noise, as a share of the background's light, at 0.2 um. Fit frames have up to"
        " 0.003; 0.05, where one frame in ten is answered otherwise, is 20 grey levels at 0.1 um per pixel.",
    )
    min_stained: float = Field(
        0.005,
        ge=0,
        le=1,
        description="`empty`: least share of stained pixels: half a red cell in a frame of 50 x 35 um. Fit frames have "
        "0.12 and more.",
    )
    min_colour: float = Field(
        0.1,
        ge=0,
        le=1,
        description="`no_colour`: least colour of what is stained: spread of its mean density over the three colours, "
        "as a share of their sum. Fit frames have 0.23 and more, grey ones 0.01.",
    )
    min_focus_per_um: float = Field(
        1.35,
        ge=0,
        description="`out_of_focus`: least sharpness. Fit frames have 1.86 to 3.7; points blurred to discs of 2 um "
        "radius, where one frame in four is answered otherwise, 0.7 to 1.2.",
    )
    max_motion: float = Field(
        0.4,
        ge=0,
        le=1,
        description="`motion`: most by which sharpness may differ between directions. Fit frames have up to 0.31; moved"
        " by 4 um while the shutter is open, 0.45 and more.",
    )
    red_hue: Hues = Field(
        (-112.0, 85.0),
        description="`wrong_stain`: hues of what is commonly stained, red cells above all, where its density differs by"
        " 0.15 of the sum or more between colours: yellow to bluish grey. Fit frames have -68 to 43, the "
        "looks of `bench.restain` -106 to 82.",
    )
    dark_hue: Hues = Field(
        (-112.0, 85.0),
        description="`wrong_stain`: hues of what is darkest where a frame shows no nuclei, which is red cells.",
    )
    nuclear_hue: Hues = Field(
        (5.0, 65.0),
        description="`wrong_stain`: hues of nuclei, by the half of them with the most azure, or of what is far darker "
        "than red cells. Fit frames have 19 to 60, the looks of `bench.restain` 15 to 60.",
    )

    scale: tuple[float, float] = Field(
        (0.8, 1.3),
        description="`wrong_scale`: how many times as large as they are red cells may appear over many frames, of which"
        " twelve must agree; before, a frame is refused if the whole 95 % interval lies beyond. By twelve "
        "fit frames, of one patient or of many, they appear 0.91 to 1.26 times as large; at 1.5 times the "
        "scale 1.35 times and more.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "QualityLimits":
        for name in ("red_hue", "dark_hue", "nuclear_hue"):
            low, high = getattr(self, name)
            if not -180 <= low < high <= 180:  # noqa: PLR2004 - degrees
                raise ValueError(f"{name}: from and to must be ascending, in -180 to 180")
        if not 0 < self.scale[0] < 1 < self.scale[1]:
            raise ValueError("scale: one must lie within")
        return self


DEFAULT_LIMITS = QualityLimits()
