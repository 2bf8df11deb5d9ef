"""A frame with another look: what is moved where, and what stays."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.restain import LOOKS, SOURCES, Stained, restain
from contract.types import Image

UM = 0.1
PLACES = {"red_cells": (90, 100), "cytoplasm": (220, 90), "nuclei": (220, 120)}
"""Within each thing of the drawn frame."""
BLANK = (20, 20)


def drawn(stained: Stained, *, grain: float = 0.0) -> Image:
    """A red cell, and a white one around its nucleus, on a bare background."""
    density = np.zeros((240, 320, 3), np.float32)
    for centre, radius, kind in (
        ((90, 100), 36, "red_cells"),
        ((220, 120), 60, "cytoplasm"),
        ((220, 120), 22, "nuclei"),
    ):
        cv2.circle(density, centre, radius, getattr(stained, kind), cv2.FILLED)
    light = 255 * np.array(stained.bare) * 10 ** -cv2.GaussianBlur(density, (0, 0), 2.0)
    noise = np.random.default_rng(1).normal(0, grain, light.shape) if grain else 0.0
    return np.asarray(np.clip(light + noise + 0.5, 0, 255), np.uint8)


def around(image: Image, place: tuple[int, int]) -> NDArray[np.float64]:
    x, y = place
    return image[y - 5 : y + 6, x - 5 : x + 6].reshape(-1, 3).astype(np.float64)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("source", SOURCES)
def test_background_red_cells_and_nuclei_get_the_densities_of_the_look(source: str, look: str) -> None:
    before = drawn(SOURCES[source])
    made = restain(before, look, UM, source)
    goal = LOOKS[look]
    bare = around(made, BLANK).mean(axis=0)
    assert bare / 255 == pytest.approx(goal.bare, abs=0.02)
    for kind in ("red_cells", "nuclei"):
        density = -np.log10(around(made, PLACES[kind]).mean(axis=0) / bare)
        assert density == pytest.approx(getattr(goal, kind), abs=0.05), kind
    assert (made.shape, made.dtype) == (before.shape, before.dtype)
    assert np.array_equal(before, drawn(SOURCES[source]))


def test_the_cytoplasm_goes_towards_its_density_in_the_look() -> None:
    source, goal = "deepapl", LOOKS["pink"]
    made = restain(drawn(SOURCES[source]), "pink", UM, source)
    density = -np.log10(around(made, PLACES["cytoplasm"]).mean(axis=0) / around(made, BLANK).mean(axis=0))
    own = np.array(SOURCES[source].cytoplasm)
    assert np.abs(density - goal.cytoplasm).sum() < 0.7 * np.abs(own - goal.cytoplasm).sum()


@pytest.mark.parametrize("look", LOOKS)
def test_the_grain_of_the_camera_stays_as_it_was(look: str) -> None:
    """A map that pulls apart what is near in colour would else multiply it."""
    before = drawn(SOURCES["bccd"], grain=3.0)
    after = restain(before, look, UM, "bccd")
    for place in (BLANK, *PLACES.values()):
        ratio = around(after, place).std(axis=0).mean() / around(before, place).std(axis=0).mean()
        assert 0.5 < ratio < 1.6, place


def test_the_same_image_becomes_the_same_each_time() -> None:
    image = drawn(SOURCES["pbc"], grain=2.0)
    assert np.array_equal(restain(image, "brown", UM, "pbc"), restain(image, "brown", UM, "pbc"))


@pytest.mark.parametrize("look", LOOKS)
def test_no_dye_adds_light(look: str) -> None:
    """What takes green and red but no blue, as the granules of PBC's basophils, is not made brighter than bare."""
    stained = SOURCES["pbc"]
    before = drawn(stained._replace(cytoplasm=(0.0, 0.5, 0.25)))
    made = around(restain(before, look, UM, "pbc"), PLACES["cytoplasm"]).mean(axis=0)
    assert (made <= 255 * np.array(LOOKS[look].bare) * 10**0.11 + 1).all()
