"""What a frame's own red cells and nuclei are like, and how far that is from a training's."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.vision.familiar import far_from
from agent.vision.kinds import kinds_of
from bench.restain import LOOKS, Stained
from contract.bundle import SHIPPED, open_bundle

UM = 0.4


def drawn(stained: Stained, *, nucleus: bool = True) -> NDArray[np.float32]:
    """Densities of a field of red cells, some over one another, and one white cell; with a camera's noise."""
    density = np.zeros((120, 160, 3), np.float32)
    red = np.array(stained.red_cells)
    for k, (x, y) in enumerate((x, y) for y in range(12, 120, 24) for x in range(12, 160, 24)):
        cv2.circle(density, (x, y), 9, tuple(red * (0.8 + 0.1 * (k % 5))), cv2.FILLED)
    density[100:106, 90:110] = 2 * red
    if nucleus:
        cv2.circle(density, (60, 60), 18, stained.cytoplasm, cv2.FILLED)
        cv2.circle(density, (60, 60), 11, stained.nuclei, cv2.FILLED)
    noise = np.random.default_rng(4).normal(0, 0.01, density.shape)
    return np.asarray(cv2.GaussianBlur(density, (0, 0), 0.8) + noise, np.float32)


@pytest.mark.parametrize("look", LOOKS)
def test_red_cells_and_nuclei_are_measured_whatever_the_stain_looks_like(look: str) -> None:
    kinds = kinds_of(drawn(LOOKS[look]), UM)
    assert kinds.own_nuclei
    assert kinds.red == pytest.approx(LOOKS[look].red_cells, abs=0.05)
    assert kinds.nuclei == pytest.approx(LOOKS[look].nuclei, abs=0.12)
    score = kinds.axis @ kinds.nuclei - kinds.offset, kinds.axis @ kinds.red - kinds.offset
    assert score == pytest.approx((1.0, 0.0), abs=1e-6)
    assert kinds.axis @ (2 * kinds.red) - kinds.offset < 0.4, "red cells over one another are no nucleus"


@pytest.mark.parametrize("look", LOOKS)
def test_red_cells_alone_have_no_nuclei(look: str) -> None:
    assert not kinds_of(drawn(LOOKS[look], nucleus=False), UM).own_nuclei


def test_a_stain_as_in_training_is_near_and_a_foreign_one_far() -> None:
    training = open_bundle(SHIPPED).manifest.reference
    assert training is not None
    far = {look: far_from(kinds_of(drawn(LOOKS[look]), UM), training) for look in LOOKS}
    near = far.pop("training")
    assert near is not None
    assert near < 2
    assert all(other is not None and other > near for other in far.values()), far
    assert far["brown"] is not None
    assert far["brown"] > 3


def test_of_a_frame_without_red_cells_nothing_is_said() -> None:
    training = open_bundle(SHIPPED).manifest.reference
    assert training is not None
    assert far_from(kinds_of(np.zeros((60, 60, 3), np.float32), UM), training) is None
