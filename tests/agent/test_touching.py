"""Parting comes to an end whatever the shapes, and parts whole fields of cells."""

import cv2
import numpy as np
import pytest

from agent.vision import light
from agent.vision.touching import Patch, split, without_neighbours

UM = 0.2


@pytest.mark.parametrize("slit", [1, 2])
def test_a_lobe_whose_chromatin_bridges_a_slit_of_the_body_goes_to_its_neighbour(slit: int) -> None:
    """Its seed reaches beyond the body, and has to be given up whole."""
    body = np.zeros((100, 150), np.uint8)
    cv2.circle(body, (45, 50), 36, (1,), cv2.FILLED)
    cv2.circle(body, (112, 50), 17, (1,), cv2.FILLED)
    cv2.line(body, (60, 50), (112, 50), (1,), 3)
    cv2.line(body, (121, 50), (149, 50), (0,), slit)
    parts = split(Patch(body, body, (0, 0)), lambda where: body[where].astype(np.float32), UM)
    assert [cv2.countNonZero(part.body) for part in parts] == [cv2.countNonZero(body)]


@pytest.mark.parametrize("waist_um", [2.0, 4.0])
def test_a_red_cell_that_hangs_on_a_white_one_by_a_waist_is_left_out(waist_um: float) -> None:
    """The white cell keeps its size; a broad neck with a nucleus to either side is kept."""
    body, nucleus = np.zeros((100, 160), np.uint8), np.zeros((100, 160), np.uint8)
    cv2.circle(body, (50, 50), 32, (1,), cv2.FILLED)
    alone = cv2.countNonZero(body)
    cv2.circle(nucleus, (50, 50), 20, (1,), cv2.FILLED)
    half = round(waist_um / UM / 2)
    cv2.rectangle(body, (50, 50 - half), (110, 50 + half), (1,), cv2.FILLED)
    cv2.circle(body, (110, 50), 18, (1,), cv2.FILLED)
    cut = without_neighbours(Patch(body, nucleus, (0, 0)), UM)
    assert cv2.countNonZero(cut.body) == pytest.approx(alone, rel=0.05)
    cv2.circle(nucleus, (110, 50), 10, (1,), cv2.FILLED)
    both = without_neighbours(Patch(body, nucleus, (0, 0)), UM)
    assert cv2.countNonZero(both.body) == cv2.countNonZero(body)


@pytest.mark.parametrize(("across_um", "nucleus_um"), [(8.0, 5.6), (8.0, 6.8), (12.0, 10.0), (14.0, 11.0)])
def test_a_field_full_of_cells_that_touch_is_parted_into_all_of_them(across_um: float, nucleus_um: float) -> None:
    """As in a smear of leukemia with many white cells; the distance to the heap's border says nothing of them."""
    pitch = round(across_um / UM)
    body = np.zeros((8 * pitch, 10 * pitch), np.uint8)
    nucleus = np.zeros_like(body)
    for row, column in np.ndindex(8, 10):
        centre = pitch // 2 + column * pitch, pitch // 2 + row * pitch
        cv2.circle(body, centre, pitch // 2 + 1, (1,), cv2.FILLED)
        cv2.circle(nucleus, centre, round(nucleus_um / UM / 2), (1,), cv2.FILLED)
    body = np.asarray(cv2.morphologyEx(body, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8)), np.uint8)
    parts = split(Patch(body, nucleus, (0, 0)), lambda where: nucleus[where].astype(np.float32), UM)
    assert len(parts) == 80


def test_a_frame_without_a_bare_spot_as_large_as_a_coarse_block_is_not_taken_for_dim() -> None:
    """Red cells side by side in a frame of 190 x 120 um: what is between them is the background."""
    frame = np.full((1200, 1920, 3), 235, np.uint8)
    for x, y in ((x, y) for x in range(38, 1920, 76) for y in range(38, 1200, 76)):
        cv2.circle(frame, (x, y), 36, (180, 150, 225), cv2.FILLED)
    lit = light.measure(frame, 0.1, working_um=0.4)
    assert np.abs(lit.shade).max() < 0.02
