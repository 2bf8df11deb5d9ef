"""The scale is watched over frames: a wrong one shows, a right one does not, and few red cells are no reason."""

import threading
from functools import lru_cache

import cv2
import numpy as np
import pytest

from agent.slides.checkpoints import DELAY_FRAMES
from agent.sources.synthetic import SyntheticSource
from agent.vision.quality import assess
from agent.vision.watch import EVERY, KEPT, ScaleWatch
from contract.types import Image

UM = 0.1


@lru_cache
def smear() -> tuple[Image, ...]:
    source = SyntheticSource(frames=KEPT, seed=5, um_per_pixel=UM)
    with source.open(threading.Event()) as made:
        return tuple(frame.image for frame in made)


def resized(image: Image, factor: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def test_at_the_right_scale_red_cells_appear_as_large_as_they_are() -> None:
    watch = ScaleWatch(every=1)
    for image in smear():
        verdict = assess(image, UM, watch=watch)
        assert verdict.accepted
        assert verdict.scale == 0 or image is smear()[-1]
    assert 0.9 < verdict.scale < 1.15


def test_at_half_and_double_the_scale_frames_are_refused_for_it() -> None:
    for given in (UM / 2, 2 * UM):
        watch = ScaleWatch(every=1)
        verdicts = [assess(image, given, watch=watch) for image in smear()]
        assert "wrong_scale" in verdicts[-1].reasons
        assert "another objective" in verdicts[-1].detail


@pytest.mark.parametrize("factor", [1.5, 1.6, 1 / 1.5, 1 / 1.6])
def test_the_next_objective_is_refused_once_so_many_looks_agree_as_are_kept(factor: float) -> None:
    watch = ScaleWatch()
    verdicts = [assess(image, factor * UM, watch=watch) for image in smear()]
    assert "wrong_scale" in verdicts[-1].reasons
    assert "times as large" in verdicts[-1].detail
    assert verdicts[-1].scale == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("factor", [1.5, 1.6, 1 / 1.5, 1 / 1.6])
def test_the_next_objective_in_the_middle_of_a_run_shows_while_its_cells_can_be_taken_back(factor: float) -> None:
    watch = ScaleWatch()
    for k in range(EVERY + 5):
        assert assess(smear()[k % KEPT], UM, watch=watch).accepted
    other = [resized(image, factor) for image in smear()]
    assert any("wrong_scale" in assess(other[k % KEPT], UM, watch=watch).reasons for k in range(DELAY_FRAMES))


def test_an_objective_that_is_changed_shows_after_as_many_looks_as_are_kept() -> None:
    watch = ScaleWatch(every=1)
    for image in smear():
        assess(image, UM, watch=watch)
    halved = [resized(image, 0.5) for image in smear()]
    last = [assess(halved[k % KEPT], UM, watch=watch) for k in range(KEPT)][-1]
    assert "wrong_scale" in last.reasons


def test_a_look_at_odds_with_those_before_calls_for_more() -> None:
    """So that the other objective shows long before twelve times ``every`` frames."""
    watch, every = ScaleWatch(every=20), 20
    for k in range(every):
        assess(smear()[k % KEPT], UM, watch=watch)
    halved = [resized(image, 0.5) for image in smear()]
    refused = [assess(halved[k % KEPT], UM, watch=watch).reasons for k in range(2 * every)]
    assert ["wrong_scale"] in refused


def test_a_still_stage_is_one_place_however_often_it_is_seen() -> None:
    watch = ScaleWatch(every=1)
    once = watch.see(smear()[0], UM)
    rng = np.random.default_rng(0)
    for _ in range(5):
        again = np.clip(smear()[0] + rng.normal(0, 2, smear()[0].shape), 0, 255).astype(np.uint8)
        assert watch.see(again, UM) == once


def test_a_stage_that_stands_still_at_first_is_looked_at_when_it_moves() -> None:
    watch = ScaleWatch(every=1000)
    blank = np.full((480, 640, 3), 220, np.uint8)
    assert {watch.see(blank, UM) for _ in range(2 * KEPT)} == {None}
    assert [watch.see(image, UM) for image in smear()][-1] is not None


def test_a_field_without_red_cells_says_nothing_of_the_scale() -> None:
    watch = ScaleWatch(every=1)
    noise = np.random.default_rng(0).normal(220, 2, (240, 320, 3)).astype(np.uint8)
    assert [watch.see(noise, UM) for _ in range(3)] == [None] * 3


def test_another_given_scale_starts_anew() -> None:
    watch = ScaleWatch(every=1)
    for image in smear():
        watch.see(image, UM)
    assert watch.see(np.full((64, 64, 3), 220, np.uint8), 2 * UM) is None


def test_between_looks_nothing_is_measured() -> None:
    """Frames of another objective change nothing, for they are not looked at."""
    watch = ScaleWatch(every=100)
    known = [watch.see(image, UM) for image in smear()][-1]
    assert {watch.see(halved(image), UM) for image in smear()} == {known}


def halved(image: Image) -> Image:
    """The field of an objective of half the power, in a frame of the same size; its border is mirrored."""
    small, sides = resized(image, 0.5), (image.shape[0] // 4, image.shape[1] // 4)
    framed = cv2.copyMakeBorder(small, sides[0], sides[0], sides[1], sides[1], cv2.BORDER_REFLECT)
    return np.asarray(framed, np.uint8)


@pytest.mark.parametrize("turns", [2, 3])
def test_two_objectives_by_turns_are_told_from_each_other_and_only_the_wrong_one_is_refused(turns: int) -> None:
    watch, verdicts = ScaleWatch(), []
    for k in range(4 * KEPT):
        image = smear()[k % KEPT]
        verdicts.append("wrong_scale" in assess(image if k % turns else halved(image), UM, watch=watch).reasons)
    later = verdicts[2 * KEPT :]
    assert [later[k] for k in range(len(later)) if (k + 2 * KEPT) % turns == 0].count(False) == 0
    assert [later[k] for k in range(len(later)) if (k + 2 * KEPT) % turns].count(True) == 0


def test_frames_that_were_made_smaller_are_refused_and_those_between_them_are_not() -> None:
    watch = ScaleWatch()
    for k in range(2 * KEPT):
        image = smear()[(k // 2) % KEPT]
        small = bool(k % 2)
        verdict = assess(resized(image, 0.5) if small else image, UM, watch=watch)
        assert small or verdict.accepted
    assert verdict.reasons == ["wrong_scale"]
