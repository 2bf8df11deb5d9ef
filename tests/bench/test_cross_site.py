"""The cross-site bar: what its parts do, on pictures that we draw."""

import numpy as np
import pytest

from bench.cross_site import METHODS, Row, measure, over_shifts
from bench.shifts import shifts
from contract.look import measure_stain, stain_profile
from contract.manifest import InputSpec
from contract.reference import StainProfile
from contract.types import Image
from export.golden import draw_cell

WIDE = InputSpec(um_per_pixel=0.2, size=180, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(3)
    return [draw_cell(WIDE, blast=k % 2 == 1, rng=rng) for k in range(8)]


@pytest.fixture(scope="module")
def look(images: list[Image]) -> StainProfile:
    return stain_profile(
        [measurement for measurement in (measure_stain(image, 0.2) for image in images) if measurement],
        0.2,
        "drawn cells",
    )


def test_every_shift_makes_another_picture_of_the_same_form(images: list[Image], look: StainProfile) -> None:
    before = images[0].copy()
    for name, shift in shifts(look).items():
        shifted = shift(images[0])
        assert (shifted.shape, shifted.dtype.name) == (before.shape, "uint8")
        assert np.array_equal(shifted, before) == (name == "none"), name
    assert np.array_equal(images[0], before)


def test_a_stronger_stain_is_measured_as_one(images: list[Image], look: StainProfile) -> None:
    shift = shifts(look)["stain x 1.4"]
    measurements = (measure_stain(shift(image), 0.2) for image in images)
    stronger = stain_profile([measurement for measurement in measurements if measurement], 0.2, "drawn cells")
    assert np.array(stronger.stains.strength) == pytest.approx(np.array(look.stains.strength) * 1.4, rel=0.15)


def test_without_images_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MICROSCOPE_DATA", "MICROSCOPE_DEEPAPL"):
        monkeypatch.delenv(name, raising=False)
    assert "MICROSCOPE_DATA" in str(measure()["skipped"])


def test_of_all_shifts_the_mean_and_the_worst_are_kept() -> None:
    rows = [
        Row(shift, method, {"auroc": 0.9, "accuracy": accuracy, "flips": flips})
        for method in METHODS
        for shift, accuracy, flips in (("none", 0.9, 0), ("pale", 0.7, 12))
    ]
    figures = over_shifts(rows)
    assert figures["deepapl_shifted_off_accuracy_mean"] == 0.8
    assert figures["deepapl_shifted_off_accuracy_worst"] == 0.7
    assert figures["deepapl_shifted_macenko_flips_worst"] == 12
