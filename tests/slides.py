"""Slides, their frames and cells, for tests."""

from collections.abc import Sequence
from datetime import datetime, timezone

from agent.slides.slide import Slide
from agent.sources.smear import Camera, Smear
from contract.known_error import ModelError, PatientRate
from contract.manifest import Decision
from contract.messages import ModelInfo, Quality
from contract.types import Box, Cell, Frame, Image, Prediction

MODEL = ModelInfo(id="blast-1", sha256="0" * 64, engine="none")


DECISION = Decision(temperature=1.0, threshold=0.5, uncertain_from=0.3, uncertain_to=0.7)


GOOD, BLURRED = Quality(accepted=True), Quality(accepted=False, reasons=["out_of_focus"])


UM = 0.2


def camera(*, white_cells: float = 4, seed: int = 5, width: int = 480, height: int = 360, noise: float = 2) -> Camera:
    """``white_cells`` are those in 64 x 48 um, as in the synthetic source."""
    density = white_cells / (64e-3 * 48e-3)
    smear = Smear(um_per_pixel=UM, seed=seed, white_per_mm2=density, blast_share=0.3)
    return Camera(smear, width=width, height=height, noise_levels=noise)


def frame_of(image: Image, um_per_pixel: float = UM) -> Frame:
    return Frame("smear", datetime.now(timezone.utc), um_per_pixel, image=image)


def judged(cells: Sequence[Cell], probability: float = 0.05) -> list[Prediction]:
    return [
        Prediction(c, "not_judged", None) if "edge" in c.flags else Prediction(c, "normal", probability) for c in cells
    ]


def cell_at(x: float, y: float, *, side: int = 60, edge: bool = False) -> Cell:
    box = Box(round(x - side / 2), round(y - side / 2), side, side)
    return Cell(box, (x, y), 100.0, flags=("edge",) if edge else ())


ERROR = ModelError(
    sensitivity=PatientRate(mean=0.95, std=0.03, patients=13), specificity=PatientRate(mean=0.98, std=0.02, patients=13)
)


def new_slide() -> Slide:
    return Slide("s", "r-s1", model=MODEL, decision=DECISION)


def see(slide: Slide, field: Frame, cell: Cell, probability: float | None) -> str:
    found = Prediction(cell, "not_judged" if probability is None else "uncertain", probability)
    return slide.see(field, GOOD, [found]).object_ids[0]
