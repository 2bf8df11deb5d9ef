"""Which frames are refused, and for which reason."""

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from agent.sources.synthetic import SyntheticSource
from agent.vision.limits import DEFAULT_LIMITS
from agent.vision.quality import assess
from contract.messages import Reason
from contract.remedies import REMEDIES
from contract.types import Frame, Image

Spoil = Callable[[Image, float], Image]


def blurred(image: Image, um_per_pixel: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5 / um_per_pixel), np.uint8)


def darkened(image: Image, _: float) -> Image:
    return np.asarray(image * 0.25, np.uint8)


def burnt_out(image: Image, _: float) -> Image:
    return np.asarray(np.clip(image * 3.0, 0, 255), np.uint8)


def vignetted(image: Image, _: float) -> Image:
    """A quarter of the light is left in the corners."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    return np.asarray(image * (1 - 0.375 * (x * x + y * y))[..., None], np.uint8)


def emptied(image: Image, _: float) -> Image:
    return np.broadcast_to(np.percentile(image, 90, axis=(0, 1)).astype(np.uint8), image.shape)


def greyed(image: Image, _: float) -> Image:
    """A monochrome camera's picture, with a tint."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(grey * np.array([0.8, 0.9, 1.0]), np.uint8)


SPOILED: dict[str, Spoil] = {
    "out_of_focus": blurred,
    "underexposed": darkened,
    "overexposed": burnt_out,
    "uneven": vignetted,
    "empty": emptied,
    "no_colour": greyed,
}


@lru_cache
def smears() -> tuple[Frame, ...]:
    frames: list[Frame] = []
    for seed, um_per_pixel in enumerate((0.075, 0.1, 0.2)):
        source = SyntheticSource(frames=4, seed=seed, um_per_pixel=um_per_pixel)
        with source.open(threading.Event()) as made:
            frames += made
    return tuple(frames)


def test_a_good_frame_is_accepted_without_a_word() -> None:
    for frame in smears():
        verdict = assess(frame.image, frame.um_per_pixel)
        assert verdict.accepted
        assert verdict.reasons == []
        assert verdict.detail == ""
        assert verdict.focus > DEFAULT_LIMITS.min_focus_per_um
        assert 0.7 < verdict.background < 0.95
        assert verdict.unevenness < 0.3
        assert verdict.saturated == 0


@pytest.mark.parametrize("reason", SPOILED)
def test_a_spoiled_frame_is_refused_for_its_reason(reason: str) -> None:
    for frame in smears():
        verdict = assess(SPOILED[reason](frame.image, frame.um_per_pixel), frame.um_per_pixel)
        assert not verdict.accepted
        assert verdict.reasons == [reason]
        assert verdict.detail.endswith(f": {REMEDIES[verdict.reasons[0]]}")


def test_the_detail_says_the_figure_and_the_bound() -> None:
    frame = smears()[0]
    verdict = assess(darkened(frame.image, 0), frame.um_per_pixel)
    assert f"{verdict.background:.2f}" in verdict.detail
    assert f"{DEFAULT_LIMITS.min_background:g}" in verdict.detail


@pytest.mark.parametrize("reason", get_args(Reason))
def test_each_reason_has_a_remedy_and_the_manual_the_same(reason: Reason) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "site.md").read_text()
    (row,) = (line for line in manual.splitlines() if line.startswith(f"| `{reason}` |"))
    assert row.endswith(f"| {REMEDIES[reason]} |")


@pytest.mark.parametrize(
    ("shape", "um_per_pixel", "reason"),
    [
        ((31, 640, 3), 0.5, "too_small"),
        ((480, 20, 3), 0.5, "too_small"),
        ((64, 64, 3), 0.1, "too_small"),
        ((0, 0, 3), 0.1, "too_small"),
        ((8001, 8000, 3), 0.1, "too_large"),
    ],
)
def test_frames_of_the_wrong_size_are_refused_unseen(shape: tuple[int, ...], um_per_pixel: float, reason: str) -> None:
    image = np.broadcast_to(np.uint8(200), shape)
    assert assess(image, um_per_pixel).reasons == [reason]


@pytest.mark.parametrize(("level", "reason"), [(0, "underexposed"), (200, "empty"), (255, "overexposed")])
def test_a_constant_frame_is_refused(level: int, reason: str) -> None:
    assert assess(np.full((480, 640, 3), level, np.uint8), 0.1).reasons == [reason]


def test_worse_focus_measures_lower() -> None:
    frame = smears()[4]
    sharpness = [
        assess(np.asarray(cv2.GaussianBlur(frame.image, (0, 0), um / 0.1), np.uint8), 0.1).focus
        for um in (0.1, 0.3, 0.6, 1.2, 2.4)
    ]
    assert sharpness == sorted(sharpness, reverse=True)


def test_the_image_is_left_as_it_is() -> None:
    frame = smears()[0]
    before = frame.image.copy()
    assess(frame.image, frame.um_per_pixel)
    assert np.array_equal(frame.image, before)


REAL = {"bccd/JPEGImages": 0.075, "txl-pbc-tiles/images": 0.1}


@pytest.mark.requires_data
@pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA does not name the real images")
@pytest.mark.parametrize("folder", REAL)
class TestRealFrames:
    """What holds for public data sets."""

    def test_all_are_accepted(self, folder: str) -> None:
        refused = [name for name, image in pictures(folder) if not assess(image, REAL[folder]).accepted]
        assert refused == []

    @pytest.mark.parametrize("reason", SPOILED)
    def test_spoiled_ones_are_refused_for_their_reason(self, folder: str, reason: str) -> None:
        um_per_pixel = REAL[folder]
        for name, image in pictures(folder, every=15):
            verdict = assess(SPOILED[reason](image, um_per_pixel), um_per_pixel)
            assert verdict.reasons == [reason], name


def pictures(folder: str, *, every: int = 1) -> list[tuple[str, Image]]:
    paths = sorted((Path(os.environ["MICROSCOPE_DATA"]) / folder).rglob("*.jpg"))[::every]
    assert paths
    return [(path.name, np.asarray(cv2.imread(str(path)), np.uint8)) for path in paths]
