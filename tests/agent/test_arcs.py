"""Arcs of circles in a mask: what red cells are measured by."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.vision.arcs import LARGEST, SMALLEST, WHOLE, Arc, arcs
from agent.vision.scale import SAME_CELL, distinct


def discs(*circles: tuple[int, int, int], side: int = 200) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    mask = np.zeros((side, side), np.uint8)
    for x, y, radius in circles:
        cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return mask


def sizes(found: Sequence[Arc]) -> list[float]:
    return sorted(arc.diameter for arc in found)


circles = st.builds(Arc, *[st.integers(0, 300)] * 2, st.sampled_from([16, 70, 74, 400]), st.sampled_from([3, 4, WHOLE]))


class TestDistinct:
    """Circles that are one cell."""

    @settings(deadline=None)
    @given(st.lists(circles, max_size=40))
    @example([Arc(0, 0, 400, WHOLE), Arc(SAME_CELL * 400, 0, 16, 3)])
    def test_of_circles_in_one_place_one_is_kept_of_which_most_is_seen(self, found: list[Arc]) -> None:
        kept = distinct(found)
        assert not any(same(a, b) for at, a in enumerate(kept) for b in kept[:at])
        for arc in found:
            assert any(arc is k or (same(arc, k) and k.angle >= arc.angle) for k in kept)


def same(one: Arc, other: Arc) -> bool:
    apart = np.hypot(one.x - other.x, one.y - other.y)
    return bool(apart <= SAME_CELL * max(one.diameter, other.diameter))


class TestArcs:
    """Circles in a mask."""

    @pytest.mark.parametrize("radius", [16, 20, 27])
    def test_a_disc_is_one_whole_circle(self, radius: int) -> None:
        (arc,) = arcs(discs((100, 90, radius)))
        assert (arc.x, arc.y) == pytest.approx((100, 90), abs=0.5)
        assert arc.diameter == pytest.approx(2 * radius + 1, rel=0.04)
        assert arc.angle == WHOLE

    def test_discs_that_overlap_are_told_apart(self) -> None:
        found = list(arcs(discs((70, 100, 20), (100, 100, 20), (130, 100, 24))))
        assert sizes(found)[0] == pytest.approx(41, rel=0.05)
        assert sizes(found)[-1] == pytest.approx(49, rel=0.05)

    def test_a_disc_that_the_border_cuts_is_measured_by_what_is_left(self) -> None:
        (arc,) = arcs(discs((8, 100, 20)))
        assert arc.diameter == pytest.approx(41, rel=0.05)
        assert arc.angle < WHOLE

    def test_a_hole_is_no_disc(self) -> None:
        mask = discs((100, 100, 90))
        cv2.circle(mask, (100, 100), 20, 0, cv2.FILLED)
        assert list(arcs(mask)) == []

    def test_the_gap_between_discs_shows_their_arcs_and_not_itself(self) -> None:
        ring = [(100 + round(40 * np.cos(a)), 100 + round(40 * np.sin(a)), 22) for a in np.arange(6) * np.pi / 3]
        assert all(40 < arc.diameter < 50 for arc in arcs(discs(*ring)))

    def test_a_bar_is_no_disc(self) -> None:
        mask = np.zeros((200, 200), np.uint8)
        mask[90:125, 20:180] = 1
        assert list(arcs(mask)) == []

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 120))
    def test_whatever_the_mask_diameters_lie_in_their_octave(self, seed: int, height: int, width: int) -> None:
        noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
        mask = (cv2.GaussianBlur(noise, (0, 0), 4) > 0.5).astype(np.uint8)
        for arc in arcs(mask):
            assert SMALLEST <= arc.diameter < LARGEST
            assert 0 < arc.angle <= WHOLE
