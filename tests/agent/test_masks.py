"""What is done to masks: discs are round, holes are filled."""

import cv2
import numpy as np
import pytest

from agent.vision.masks import Mask, closed, filled, opened

SIDE, MIDDLE = 161, 80


def ring(outer: int, inner: int) -> Mask:
    blank = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(blank, (MIDDLE, MIDDLE), outer, (1,), cv2.FILLED)
    if inner:
        cv2.circle(blank, (MIDDLE, MIDDLE), inner, (0,), cv2.FILLED)
    return blank


@pytest.mark.parametrize("radius", [2, 3, 4, 5, 7, 11, 16, 25])
@pytest.mark.parametrize("degrees", range(0, 90, 15))
def test_what_is_opened_or_closed_is_wider_or_narrower_than_a_disc_whatever_its_direction(
    radius: int, degrees: int
) -> None:
    y, x = np.indices((SIDE, SIDE)) - MIDDLE
    across = np.abs(x * np.sin(np.radians(degrees)) - y * np.cos(np.radians(degrees)))
    narrow, broad = (across <= width * radius for width in (0.8, 1.3))
    centre = np.s_[MIDDLE, MIDDLE]
    assert not opened(narrow.astype(np.uint8), radius + 0.1)[centre]
    assert opened(broad.astype(np.uint8), radius - 0.1)[centre]
    assert closed(1 - narrow.astype(np.uint8), radius + 0.1)[centre]
    assert not closed(1 - broad.astype(np.uint8), radius - 0.1)[centre]


def test_holes_are_filled_and_what_lies_in_them_with_them() -> None:
    nested = ring(60, 40) | ring(20, 10)
    assert np.array_equal(filled(nested), ring(60, 0))


def test_a_bay_is_no_hole() -> None:
    bay = ring(60, 40)
    bay[:MIDDLE, MIDDLE - 2 : MIDDLE + 3] = 0
    assert np.array_equal(filled(bay), bay)


def test_an_empty_mask_stays_empty() -> None:
    assert not filled(ring(1, 2)).any()
