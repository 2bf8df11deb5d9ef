"""Parting comes to an end whatever the shapes."""

import cv2
import numpy as np
import pytest

from agent.touching import Patch, split

UM = 0.2


@pytest.mark.parametrize("slit", [1, 2])
def test_a_lobe_whose_chromatin_bridges_a_slit_of_the_body_goes_to_its_neighbour(slit: int) -> None:
    """Its seed reaches beyond the body, and has to be given up whole."""
    body = np.zeros((100, 150), np.uint8)
    cv2.circle(body, (45, 50), 36, (1,), cv2.FILLED)
    cv2.circle(body, (112, 50), 17, (1,), cv2.FILLED)
    cv2.line(body, (60, 50), (112, 50), (1,), 3)
    cv2.line(body, (121, 50), (149, 50), (0,), slit)
    parts = split(Patch(body, body, (0, 0)), body.astype(np.float32), UM)
    assert [cv2.countNonZero(part.body) for part in parts] == [cv2.countNonZero(body)]
