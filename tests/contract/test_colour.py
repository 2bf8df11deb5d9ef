"""One site's cells made to look like the training's: what must hold whatever the stain and the light."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.vision.quality import assess
from common.errors import UsageError
from contract.colour import METHODS, Method, advised, normaliser
from contract.look import macenko, measure_stain, stain_profile
from contract.reference import StainProfile, Triple
from contract.types import Crops, Image

UM = 0.2
RED, BLUE = np.array([0.13, 0.21, 0.12]), np.array([0.12, 0.62, 0.38])
WHITE = (203.0, 228.0, 250.0)
NORMALISING: list[Method] = ["reinhard", "macenko"]


def drawn_density(seed: int) -> NDArray[np.float32]:
    """A smear of 40 x 40 um in optical density: red cells of all thicknesses, and a nucleus in its cytoplasm."""
    rng = np.random.default_rng(seed)
    density = np.zeros((200, 200, 3), np.float32)
    layer = np.empty((200, 200), np.float32)
    for _ in range(25):
        layer[:] = 0
        cv2.circle(layer, rng.integers(0, 200, 2).tolist(), 17, (float(rng.uniform(0.7, 1.3)),), cv2.FILLED, cv2.LINE_8)
        density += layer[..., None] * RED.astype(np.float32)
    middle = rng.integers(80, 120, 2).tolist()
    for radius, colour in ((36, RED * 0.8), (24, BLUE)):
        layer[:] = 0
        cv2.circle(layer, middle, radius, (1.0,), cv2.FILLED, cv2.LINE_8)
        density[layer > 0] = colour
    density *= rng.normal(1, 0.06, density.shape[:2]).astype(np.float32)[..., None]
    return np.asarray(cv2.GaussianBlur(density, (0, 0), 1), np.float32)


def photographed(
    density: NDArray[np.float32],
    bare: tuple[float, float, float] = WHITE,
    mix: NDArray[np.floating] | None = None,
) -> Image:
    mixed = cv2.transform(density, (np.eye(3) if mix is None else mix).astype(np.float32))
    light = (np.array(bare, np.float32) + 1) * 10**-mixed - 1
    return np.asarray(np.clip(light + 0.5, 0, 255), np.uint8)


def a_look(bare: tuple[float, float, float] = WHITE, mix: NDArray[np.floating] | None = None) -> StainProfile:
    measurements = (measure_stain(photographed(drawn_density(seed), bare, mix), UM) for seed in range(4))
    return stain_profile([measurement for measurement in measurements if measurement], UM, "drawn smears")


REFERENCE = a_look()


def crops_of_drawn(bare: tuple[float, float, float] = WHITE, mix: NDArray[np.floating] | None = None) -> Crops:
    return np.stack([photographed(drawn_density(seed), bare, mix) for seed in (11, 12)])


def normalised(method: Method, crops: Crops, site: StainProfile) -> Crops:
    made = normaliser(method, site, REFERENCE)
    return crops if made is None else made.apply(crops)


def grey_levels_between(some: Crops, others: Crops) -> float:
    """Mean distance."""
    return float(np.abs(some.astype(int) - others).mean())


@pytest.mark.parametrize("method", NORMALISING)
def test_a_site_that_looks_like_the_training_is_left_as_it_is(method: Method) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    assert np.abs(normalised(method, crops, REFERENCE).astype(int) - crops).max() <= 1


def test_off_is_off() -> None:
    assert normaliser("off", a_look((120, 200, 240)), REFERENCE) is None


@pytest.mark.parametrize("method", NORMALISING)
@pytest.mark.parametrize("bare", [(203, 228, 200), (150, 170, 190), (130, 228, 250)])
def test_the_colour_of_the_light_does_not_count(method: Method, bare: tuple[float, float, float]) -> None:
    crops = crops_of_drawn(bare)
    assert grey_levels_between(crops, crops_of_drawn()) > 5
    assert grey_levels_between(normalised(method, crops, a_look(bare)), crops_of_drawn()) < 1.5


@pytest.mark.parametrize("method", NORMALISING)
@pytest.mark.parametrize("strength", [0.6, 0.8, 1.3])
def test_the_strength_of_the_stain_does_not_count(method: Method, strength: float) -> None:
    mix = np.eye(3) * strength
    crops = crops_of_drawn(mix=mix)
    assert grey_levels_between(normalised(method, crops, a_look(mix=mix)), crops_of_drawn()) < 2
    assert grey_levels_between(crops, crops_of_drawn()) > 4


@pytest.mark.parametrize(("red", "blue"), [(1.0, 0.7), (1.5, 1.0), (0.8, 1.2)])
def test_macenko_also_undoes_a_change_of_one_stain_alone(red: float, blue: float) -> None:
    basis = np.stack([RED, BLUE, np.cross(RED, BLUE)], axis=1)
    mix = basis @ np.diag([red, blue, 1]) @ np.linalg.inv(basis)
    crops, site = crops_of_drawn(mix=mix), a_look(mix=mix)
    before = grey_levels_between(crops, crops_of_drawn())
    assert grey_levels_between(normalised("macenko", crops, site), crops_of_drawn()) < before / 3


@given(
    bare=st.tuples(*[st.floats(0, 1)] * 3),
    density=st.tuples(*[st.floats(-0.5, 3)] * 3),
    level=st.integers(0, 255),
)
@settings(max_examples=100, deadline=None)
def test_no_site_and_no_crop_is_too_odd(bare: Triple, density: Triple, level: int) -> None:
    """Black, white, flat, every level: the result is an image, and with Reinhard brighter stays brighter."""
    colour = REFERENCE.nuclei.model_copy(update={"mean": density})
    site = REFERENCE.model_copy(update={"bare": bare, "nuclei": colour, "red_cells": colour})
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    crops = np.concatenate([np.full((1, 16, 16, 3), level, np.uint8), ramp])
    for method in NORMALISING:
        done = normalised(method, crops, site)
        assert done.shape == crops.shape
        assert done.dtype == np.uint8
        if method == "reinhard":
            assert (np.diff(done[1].reshape(256, 3).astype(int), axis=0) >= 0).all()


@pytest.mark.parametrize("method", NORMALISING)
def test_no_cells_stay_no_cells(method: Method) -> None:
    made = normaliser(method, a_look(), REFERENCE)
    assert made is not None
    assert made.apply(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("method", NORMALISING)
def test_crops_do_not_touch_one_another(method: Method) -> None:
    crops, site = crops_of_drawn((150, 170, 190)), a_look((150, 170, 190))
    alone = [normalised(method, crops[k : k + 1], site) for k in range(len(crops))]
    assert np.array_equal(normalised(method, crops, site), np.concatenate(alone))


def test_stains_that_can_not_be_told_apart_are_refused() -> None:
    red = REFERENCE.stains.red
    same = REFERENCE.model_copy(update={"stains": REFERENCE.stains.model_copy(update={"blue": red})})
    with pytest.raises(UsageError, match="distinguished"):
        normaliser("macenko", same, REFERENCE)


@pytest.mark.parametrize(("site", "reference", "words"), [(REFERENCE, None, "bundle"), (None, REFERENCE, "site")])
def test_what_is_not_known_can_not_be_normalised_to(
    site: StainProfile | None, reference: StainProfile | None, words: str
) -> None:
    assert normaliser("off", site, reference) is None
    with pytest.raises(UsageError, match=words):
        normaliser("reinhard", site, reference)


def test_macenko_is_advised_for_another_light_pale_nuclei_and_nuclei_of_another_hue_alone() -> None:
    basis = np.stack([RED, BLUE, np.cross(RED, BLUE)], axis=1)
    assert advised(REFERENCE, REFERENCE) == "off"
    assert advised(a_look((190, 220, 240)), REFERENCE) == "off"
    assert advised(a_look((160, 228, 250)), REFERENCE) == "macenko"
    assert advised(a_look(mix=np.eye(3) * 1.3), REFERENCE) == "off"
    assert advised(a_look(mix=np.eye(3) * 0.6), REFERENCE) == "macenko"
    assert advised(a_look(mix=basis @ np.diag([1, 0.6, 1]) @ np.linalg.inv(basis)), REFERENCE) == "macenko"
    assert advised(a_look(mix=np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])), REFERENCE) == "macenko"


def test_every_method_but_off_is_in_the_table() -> None:
    assert set(METHODS) == set(NORMALISING)


def test_macenko_finds_the_stains_that_were_mixed() -> None:
    """Pixels of pure stains and of all mixtures of them."""
    rng = np.random.default_rng(5)
    red, blue = RED / np.linalg.norm(RED), BLUE / np.linalg.norm(BLUE)
    shares = rng.uniform(0.2, 1, (4000, 2)) * np.array([[1, 0], [0, 1], [1, 1], [0.5, 0.7]])[rng.integers(0, 4, 4000)]
    stains, strength = macenko(shares @ np.stack([red, blue]) + rng.normal(0, 0.002, (4000, 3)))
    assert stains[0] @ red > 0.999
    assert stains[1] @ blue > 0.999
    assert strength == pytest.approx(np.percentile(shares, 99, axis=0), rel=0.03)


def test_a_look_finds_red_cells_and_nuclei_whatever_the_light() -> None:
    for bare in (WHITE, (150.0, 170.0, 190.0)):
        look = a_look(bare)
        assert look.images == 4
        assert np.array(look.bare) * 255 == pytest.approx(bare, abs=2)
        assert look.nuclei.mean == pytest.approx(BLUE, rel=0.12)
        assert np.array(look.red_cells.mean) / look.red_cells.mean[1] == pytest.approx(RED / RED[1], rel=0.08)


def test_its_focus_is_the_one_of_the_reports() -> None:
    image = photographed(drawn_density(3))
    measurement = measure_stain(image, UM)
    assert measurement is not None
    assert measurement.focus == pytest.approx(assess(image, UM).focus, rel=0.05)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_nothing_looks_like_nothing(level: int) -> None:
    assert measure_stain(np.full((60, 60, 3), level, np.uint8), UM) is None
    assert measure_stain(np.full((1, 1, 3), level, np.uint8), UM) is None


def test_red_cells_alone_say_nothing_of_nuclei() -> None:
    density = np.zeros((200, 200, 3), np.float32)
    density[40:90, 40:90] = density[120:170, 60:110] = RED
    assert measure_stain(photographed(density), UM) is None


def test_no_sight_makes_no_look() -> None:
    with pytest.raises(UsageError, match="nucleus"):
        stain_profile([], UM, "an empty slide")
