"""Where a frame lies beside another, on rendered smears and on real ones."""

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.slides.registration import FLOOR, MIN_CONFIDENCE, Move, _taper, likeness, register, view_of
from agent.sources.smear import Camera, Smear
from contract.types import Image

DATA = Path(os.environ.get("MICROSCOPE_DATA", "/nonexistent"))
UM = 0.1


@pytest.fixture(scope="module")
def camera() -> Camera:
    smear = Smear(um_per_pixel=UM, seed=7, white_per_mm2=1000, blast_share=0.3)
    return Camera(smear, width=640, height=480, noise_levels=2.5)


@pytest.mark.parametrize("size", [(32, 32), (45, 36), (36, 45), (75, 27)])
def test_each_wave_counts_by_its_strength_whatever_the_picture_s_sides(size: tuple[int, int]) -> None:
    """Held against NumPy's transform, which packs nothing."""
    picture = np.random.default_rng(1).integers(30, 220, (*size, 3), np.uint8)
    view = view_of(picture, 0.3)
    assert view.plane.shape == size
    waves = np.fft.fft2(view.plane * _taper(size[::-1]))
    strength = np.abs(waves)
    seen = np.fft.fft2(cv2.idft(view.spectrum, flags=cv2.DFT_SCALE))
    np.testing.assert_allclose(seen, waves / (strength + FLOOR * strength.mean()), atol=1e-4)


def look(camera: Camera, x: float, y: float, *, blur_um: float = 0.2, seed: int = 1) -> Image:
    return camera.look(x, y, blur_um=blur_um, rng=np.random.default_rng(seed))[0]


def moved(camera: Camera, dx: float, dy: float, *, at: float = 0.0, blur_um: float = 0.3) -> Move | None:
    """Move the stage by shares of a frame and register what is seen then."""
    first = look(camera, at, at)
    second = look(camera, at + dx * 640 * UM, at + dy * 480 * UM, blur_um=blur_um, seed=2)
    return register(view_of(first, UM), view_of(second, UM))


@pytest.mark.parametrize(
    "share",
    [(0.0, 0.0), (0.1, 0.0), (0.4, 0.0), (-0.4, 0.0), (0.0, 0.6), (0.0, -0.7), (0.75, 0.0), (-0.75, 0.0), (0.5, 0.5),
     (-0.45, 0.5), (0.3, -0.6)],
)  # fmt: skip
@pytest.mark.parametrize("at", [0.0, 300.0, 777.0])
def test_a_move_is_found_to_a_few_pixels_whatever_its_direction(
    share: tuple[float, float], at: float, camera: Camera
) -> None:
    """The drawing itself is rounded to whole pixels, cell by cell."""
    move = moved(camera, *share, at=at)
    assert move is not None
    assert (move.dx, move.dy) == pytest.approx((share[0] * 640, share[1] * 480), abs=3)
    assert move.confidence > 0.85


def test_a_stage_that_stands_still_is_found_to_a_fraction_of_a_pixel(camera: Camera) -> None:
    move = moved(camera, 0, 0)
    assert move is not None
    assert (move.dx, move.dy) == pytest.approx((0, 0), abs=0.2)


def test_places_that_share_nothing_are_not_found_beside_each_other(camera: Camera) -> None:
    views = [view_of(look(camera, 97.0 * k, 71.0 * k), UM) for k in range(16)]
    assert [register(a, b) for k, a in enumerate(views) for b in views[:k]] == [None] * 120


def test_a_place_that_shares_half_of_a_frame_is_likelier_than_any_that_shares_nothing(camera: Camera) -> None:
    places = [view_of(look(camera, 97.0 * k, 71.0 * k), UM) for k in range(16)]
    for k in range(16):
        again = view_of(look(camera, 97.0 * k + 16, 71.0 * k + 12, seed=2), UM)
        assert max(range(16), key=lambda other: likeness(places[other], again)) == k


def test_frames_of_other_sizes_share_nothing(camera: Camera) -> None:
    whole = look(camera, 0, 0)
    assert register(view_of(whole, UM), view_of(whole[:300], UM)) is None
    assert likeness(view_of(whole, UM), view_of(whole[:300], UM)) == 0


def test_uneven_light_is_not_taken_for_the_smear(camera: Camera) -> None:
    """A camera's vignette and its dust stay where they are while the smear moves."""
    dust = np.zeros((480, 640), np.uint8)
    for x, y in ((100, 90), (333, 222), (520, 400), (580, 60)):
        cv2.circle(dust, (x, y), 9, (40,), cv2.FILLED)
    first, second = (view_of(look(camera, x, 0) - dust[..., None], UM) for x in (0.0, 25.6))
    move = register(first, second)
    assert move is not None
    assert (move.dx, move.dy) == pytest.approx((256, 0), abs=3)


def test_a_picture_without_anything_in_it_is_like_no_other() -> None:
    rng = np.random.default_rng(1)
    views = [view_of(np.clip(rng.normal(200, 2, (480, 640, 3)), 0, 255).astype(np.uint8), UM) for _ in range(2)]
    flat = view_of(np.full((480, 640, 3), 200, np.uint8), UM)
    assert register(*views) is None
    assert register(flat, flat) is None


@pytest.mark.parametrize("shape", [(8, 8), (33, 40), (1200, 1920)])
def test_frames_of_any_size_can_be_registered(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    view = view_of(rng.integers(0, 255, (*shape, 3), np.uint8), UM)
    move = register(view, view)
    assert move is not None
    assert move.confidence == pytest.approx(1)


needs_frames = pytest.mark.skipif(
    not (DATA / "bccd").is_dir(), reason="MICROSCOPE_DATA names no folder with the BCCD frames"
)


def bccd() -> list[Path]:
    return sorted((DATA / "bccd/JPEGImages").iterdir())


@pytest.mark.requires_data
@needs_frames
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.75])
def test_windows_moved_over_a_real_frame_are_found(share: float) -> None:
    """Each with noise of its own, and the second a little brighter."""
    rng = np.random.default_rng(3)
    width = int(640 / (1 + share))
    step = int(width * share)
    found = 0
    for path in bccd()[::10]:
        image = np.asarray(cv2.imread(str(path)), np.float32)
        parts = [image[:, :width], image[:, step : step + width] * 1.05]
        first, second = (np.clip(p + rng.normal(0, 3, p.shape), 0, 255).astype(np.uint8) for p in parts)
        move = register(view_of(first, 0.075), view_of(second, 0.075))
        found += move is not None and abs(move.dx - step) < 4 and abs(move.dy) < 4
    assert found >= 29, f"{found} of 30"


def shared(a: Image, b: Image, dx: int, dy: int) -> float:
    """Correlation, pixel by pixel, of what both show if b lies at (dx, dy) in a."""
    height, width = a.shape[:2]
    left = a[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0), 1]
    right = b[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0), 1]
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


@pytest.mark.requires_data
@needs_frames
def test_of_real_frames_only_those_are_found_beside_each_other_that_are() -> None:
    """Some neighbours in the folder overlap: what they share is alike pixel by pixel."""
    images = [np.asarray(cv2.imread(str(path)), np.uint8) for path in bccd()]
    views = [view_of(image, 0.075) for image in images]
    found = 0
    for (a, first), (b, second) in pairwise(zip(images, views, strict=True)):
        if move := register(first, second):
            assert move.confidence >= MIN_CONFIDENCE
            assert shared(a, b, round(move.dx), round(move.dy)) > 0.8
            found += 1
    assert found >= 5
