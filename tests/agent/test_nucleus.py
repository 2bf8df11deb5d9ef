"""The nucleus within a drawn cell: light that each part of a cell takes, in discs on bare ground."""

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.nucleus import nucleus_of
from agent.vision.touching import Patch

UM, BARE = 0.2, (200, 250, 240)
SIDE, MIDDLE, BODY, NUCLEUS = 81, (40, 40), 35, 16
CYTOPLASM, CHROMATIN = (0.1, 0.25, 0.15), (0.4, 0.8, 0.45)
Lost = tuple[float, float, float]


def disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.circle(np.zeros((SIDE, SIDE), np.uint8), MIDDLE, radius, (1,), cv2.FILLED), np.uint8)


def drawn(*parts: tuple[NDArray[np.uint8], Lost], texture: float = 0.01) -> NDArray[np.uint8]:
    """Each part over the one before; texture is the standard deviation of the light that is lost."""
    lost = np.zeros((SIDE, SIDE, 3))
    for mask, colour in parts:
        lost[mask > 0] = colour
    noise = np.random.default_rng(1).normal(0, texture, lost.shape)
    return np.asarray(np.clip((1 - lost + noise) * BARE, 0, 255), np.uint8)


def found(smooth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return nucleus_of(Patch(disc(BODY), disc(NUCLEUS // 2), (0, 0)), smooth, BARE, UM)


def dice(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


def test_dark_and_light_part_tell_the_nucleus() -> None:
    assert dice(found(drawn((disc(BODY), CYTOPLASM), (disc(NUCLEUS), CHROMATIN))), disc(NUCLEUS)) > 0.97


def test_granules_of_an_eosinophil_are_no_nucleus() -> None:
    """The parts take what was measured in an eosinophil whose granules take 0.86 of the green that chromatin takes."""
    cytoplasm, granules, chromatin = (0.29, 0.38, 0.13), (0.35, 0.55, 0.27), (0.34, 0.64, 0.32)
    image = drawn((disc(BODY), cytoplasm), (disc(31), granules), (disc(22), chromatin), texture=0.04)
    assert dice(found(image), disc(22)) > 0.95


def test_paler_chromatin_belongs_to_the_nucleus() -> None:
    """Three classes of darkness as in a cell with granules, but the middle one has chromatin's colour."""
    pale = (0.25, 0.55, 0.32)
    image = drawn((disc(BODY), CYTOPLASM), (disc(NUCLEUS + 6), pale), (disc(NUCLEUS), CHROMATIN))
    assert dice(found(image), disc(NUCLEUS + 6)) > 0.95


def test_cell_of_one_colour_is_all_nucleus() -> None:
    assert dice(found(drawn((disc(BODY), CHROMATIN))), disc(BODY)) > 0.97


def test_body_too_small_to_measure_keeps_the_nucleus_that_it_has() -> None:
    tiny = Patch(disc(1), disc(1), (0, 0))
    assert nucleus_of(tiny, drawn((disc(BODY), CHROMATIN)), BARE, UM) is tiny.nucleus
