"""What a frame's own red cells and nuclei are like, and how far that is from a training's."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.vision.familiar import far_from
from agent.vision.kinds import kinds_of
from agent.vision.stain import hue_of
from bench.restain import LOOKS, Stained
from contract.bundle import SHIPPED, open_bundle

UM = 0.4


def drawn(stained: Stained, *, nucleus: bool = True, granules: float = 0.0, tint: float = 0.0) -> NDArray[np.float32]:
    """Densities of a field of red cells, some over one another, and one white cell; with a camera's noise.

    Granules of eosin fill the cell's outer parts, so many times as dense as red cells; a tint takes blue light more and
    more from left to right.
    """
    density = np.zeros((120, 160, 3), np.float32)
    red = np.array(stained.red_cells)
    for k, (x, y) in enumerate((x, y) for y in range(12, 120, 24) for x in range(12, 160, 24)):
        cv2.circle(density, (x, y), 9, tuple(red * (0.8 + 0.1 * (k % 5))), cv2.FILLED)
    density[100:106, 90:110] = 2 * red
    if nucleus:
        cv2.circle(density, (60, 60), 18, tuple(granules * red) if granules else stained.cytoplasm, cv2.FILLED)
        cv2.circle(density, (60, 60), 11, stained.nuclei, cv2.FILLED)
    density[..., 0] += tint * np.linspace(-0.5, 0.5, density.shape[1])
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


@pytest.mark.parametrize("look", LOOKS)
def test_a_large_nucleus_is_known_by_its_hue_though_it_is_half_as_dense_as_others(look: str) -> None:
    stained = LOOKS[look]
    pale = stained._replace(nuclei=(stained.nuclei[0] / 2, stained.nuclei[1] / 2, stained.nuclei[2] / 2))
    kinds = kinds_of(drawn(pale), UM)
    assert kinds.own_nuclei
    assert kinds.nuclei == pytest.approx(pale.nuclei, abs=0.1)


@pytest.mark.parametrize("look", LOOKS)
def test_light_that_changes_its_colour_over_the_frame_makes_no_nuclei_of_red_cells(look: str) -> None:
    assert not kinds_of(drawn(LOOKS[look], nucleus=False, tint=0.06), UM).own_nuclei


@pytest.mark.parametrize("look", LOOKS)
def test_a_fold_holds_a_red_cell_and_a_nucleus_dark_or_pale_does_not(look: str) -> None:
    kinds = kinds_of(drawn(LOOKS[look]), UM)
    assert kinds.holds_red_cell(1.5 * kinds.red + 0.5 * kinds.nuclei)
    assert not any(kinds.holds_red_cell(share * kinds.nuclei + 0.01) for share in (0.5, 1.0, 1.5))


@pytest.mark.parametrize("frame", [np.zeros((60, 60, 3), np.float32), drawn(LOOKS["training"], nucleus=False)])
def test_without_nuclei_nothing_is_told_from_them(frame: NDArray[np.float32]) -> None:
    kinds = kinds_of(frame, UM)
    assert not kinds.holds_red_cell(1.5 * kinds.red + 0.5 * kinds.nuclei)


def test_chromatin_has_the_hue_of_nuclei_though_granules_of_eosin_lie_around_them() -> None:
    stained = LOOKS["greenish light"]
    kinds = kinds_of(drawn(stained, granules=1.8), UM)
    assert hue_of(kinds.chromatin) == pytest.approx(hue_of(np.array(stained.nuclei)), abs=6)


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
