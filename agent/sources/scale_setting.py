"""The one fact that a source must be told of its microscope."""

from typing import Annotated, TypeAlias

from pydantic import Field

from common.arguments import COARSEST_UM, FINEST_UM

Scale: TypeAlias = Annotated[
    float,
    Field(
        ge=FINEST_UM,
        le=COARSEST_UM,
        description="Micrometres per pixel; a stage micrometre measures it, `microscope-agent calibrate scale` "
        "estimates it.",
    ),
]
