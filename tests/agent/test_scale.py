"""Micrometres per pixel from red cells: what holds for any image, on rendered smears, and on real ones."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.synthetic import SyntheticSource
from agent.tools.calibrate import ScaleJob, measure_scale
from agent.vision.scale import RED_CELL_UM, RedCells, ScaleEstimate, estimate, find_red_cells
from common.errors import CheckError
from contract.types import Image
from evaluation.datasets import deepapl
from evaluation.datasets.sample import labelled
from tests.smears import smear


def measured(images: Sequence[Image]) -> ScaleEstimate:
    found = estimate([find_red_cells(image) for image in images])
    assert found is not None
    return found


class TestRenderedSmear:
    """What is measured where the truth is known."""

    @pytest.mark.parametrize("um_per_pixel", [0.05, 0.075, 0.1, 0.2, 0.4])
    def test_the_scale_is_found_whatever_it_is(self, um_per_pixel: float) -> None:
        found = measured(smear(um_per_pixel, frames=8 if um_per_pixel > 0.06 else 16))
        assert found.um_per_pixel == pytest.approx(um_per_pixel, rel=0.05)
        assert found.agrees(um_per_pixel)
        assert found.low < found.um_per_pixel < found.high

    def test_more_cells_make_it_surer(self) -> None:
        one, all_of_them = measured(smear()[:1]), measured(smear())
        assert one.cells < all_of_them.cells
        assert one.sure < all_of_them.sure
        assert all_of_them.word == "sure"

    def test_what_is_measured_are_red_cells(self) -> None:
        """Nine of ten circles lie in a true red cell and are as wide, give or take a fifth."""
        with SyntheticSource(frames=4, seed=4).open(threading.Event()) as made:
            frames = list(made)
        hits = total = 0
        for frame in frames:
            reds = np.array([(*c.box.centre, c.box.width, c.box.height) for c in frame.truth if c.kind == "red"])
            cells = find_red_cells(frame.image)
            for (x, y), diameter in zip(cells.places, cells.diameters, strict=True):
                near = np.hypot(reds[:, 0] - x, reds[:, 1] - y) < 0.35 * diameter
                total += 1
                hits += bool(near.any()) and bool(np.abs(74 / diameter - 1) < 0.25)
        assert total > 40
        assert hits >= 0.9 * total

    @pytest.mark.parametrize("near_um", [0.06, 0.1, 0.18])
    def test_where_a_scale_is_believed_the_same_is_found(self, near_um: float) -> None:
        found = estimate([find_red_cells(image, near_um) for image in smear()])
        assert found is not None
        assert found.um_per_pixel == pytest.approx(0.1, rel=0.05)

    def test_light_and_white_balance_do_not_matter(self) -> None:
        fall = np.linspace(1, 0.7, 640)[None, :, None] * np.array([0.9, 1.0, 0.8])
        worse = [np.asarray(image * fall, np.uint8) for image in smear()]
        assert measured(worse).um_per_pixel == pytest.approx(measured(smear()).um_per_pixel, rel=0.04)

    def test_a_frame_is_not_written_on_and_gives_the_same_each_time(self) -> None:
        image = smear()[0]
        before = image.copy()
        first, second = find_red_cells(image), find_red_cells(image)
        assert np.array_equal(first.diameters, second.diameters)
        assert np.array_equal(image, before)

    def test_a_large_frame_is_measured_in_its_middle(self) -> None:
        source = SyntheticSource(um_per_pixel=0.1, frames=1, seed=4, width=2600, height=2000)
        with source.open(threading.Event()) as made:
            (image,) = (frame.image for frame in made)
        assert measured([image]).um_per_pixel == pytest.approx(0.1, rel=0.05)


class TestNothingToSee:
    """What shows no red cells gives no scale."""

    @pytest.mark.parametrize("level", [0, 1, 128, 255])
    def test_a_flat_frame_has_no_red_cells(self, level: int) -> None:
        assert not find_red_cells(np.full((480, 640, 3), level, np.uint8)).diameters.size

    def test_noise_gives_no_scale(self) -> None:
        rng = np.random.default_rng(1)
        noise = [rng.integers(0, 256, (300, 300, 3), np.uint8) for _ in range(5)]
        soft = [np.asarray(cv2.GaussianBlur(image, (0, 0), 6), np.uint8) for image in noise]
        assert estimate([find_red_cells(image) for image in noise]) is None
        assert (
            estimate(
                [find_red_cells(cv2.normalize(i, i.copy(), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)) for i in soft]
            )
            is None
        )

    def test_no_frames_give_no_scale(self) -> None:
        assert estimate([]) is None

    def test_few_cells_among_many_frames_give_no_scale(self) -> None:
        assert estimate([*(find_red_cells(image) for image in smear()[:1]), *[_cells([])] * 50]) is None

    def test_round_things_of_all_sizes_give_no_scale(self) -> None:
        rng = np.random.default_rng(1)
        assert estimate([_cells(np.exp(rng.uniform(3, 6, 10))) for _ in range(20)]) is None

    def test_two_equally_common_sizes_give_no_scale(self) -> None:
        rng = np.random.default_rng(1)
        frames = [_cells(rng.normal(size, 2, 8)) for size in [40, 80] * 6]
        assert estimate(frames) is None

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
    def test_no_image_is_too_odd(self, height: int, width: int, seed: int) -> None:
        find_red_cells(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def _cells(diameters: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> RedCells:
    sizes_of = np.asarray(diameters, np.float32)
    return RedCells(sizes_of, np.full_like(sizes_of, np.pi), np.zeros((len(sizes_of), 2), np.float32))


class TestInterval:
    """Whether the interval tells the truth about drawn diameters."""

    def test_the_true_diameter_lies_in_it(self) -> None:
        rng = np.random.default_rng(3)
        inside = 0
        for _ in range(40):
            smear_um = RED_CELL_UM * np.exp(rng.normal(0, 0.06))
            frames = [_cells(rng.normal(smear_um / 0.1, 5, 6)) for _ in range(12)]
            found = estimate(frames)
            assert found is not None
            inside += found.agrees(0.1)
        assert inside >= 35


@pytest.mark.requires_data
@pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA does not name the real images")
class TestRealSmears:
    """What is measured in public data sets, whose scale is known."""

    @pytest.mark.parametrize(("folder", "um_per_pixel"), [("bccd/JPEGImages", 0.075), ("txl-pbc-tiles", 0.1)])
    def test_the_scale_is_within_a_tenth(self, folder: str, um_per_pixel: float) -> None:
        found = measured([read(path) for path in images_of(folder)[::9]])
        assert found.um_per_pixel == pytest.approx(um_per_pixel, rel=0.1)
        assert found.agrees(um_per_pixel)

    def test_a_few_frames_do_and_what_is_said_of_them_is_true(self) -> None:
        """Ten frames each: within a tenth nine times of ten, in the interval always."""
        looks = [find_red_cells(read(path)) for path in images_of("txl-pbc-tiles")[::5]]
        found = [estimate(looks[k::9]) for k in range(9)]
        assert all(one is not None and one.agrees(0.1) for one in found)
        assert sum(one is not None and abs(one.um_per_pixel / 0.1 - 1) < 0.1 for one in found) >= 8

    @pytest.mark.parametrize("zoom", [0.35, 2.2])
    def test_another_magnification_is_seen(self, zoom: float) -> None:
        images = [cv2.resize(read(path), None, fx=zoom, fy=zoom) for path in images_of("txl-pbc-tiles")[::40]]
        found = measured([np.asarray(image, np.uint8) for image in images])
        assert found.um_per_pixel == pytest.approx(0.1 / zoom, rel=0.1)

    @pytest.mark.parametrize("folder", ["segwbc-dataset1/images", "cnmc2019/training_data/fold_0/hem"])
    def test_cells_without_red_ones_around_them_give_no_scale(self, folder: str) -> None:
        images = [read(path) for path in images_of(folder)[:400]]
        looks = [find_red_cells(image) for image in images]
        assert all(estimate(looks[k : k + 10]) is None for k in range(0, len(looks), 10))
        job = ScaleJob(str(Path(os.environ["MICROSCOPE_DATA"]) / folder), frames=400)
        with pytest.raises(CheckError, match="can not be said"):
            measure_scale(job, threading.Event(), progress=False)


@pytest.mark.skipif("MICROSCOPE_DEEPAPL" not in os.environ, reason="MICROSCOPE_DEEPAPL does not name DeepAPL")
def test_the_scale_of_patients_that_nothing_was_tuned_on_is_told_within_a_tenth() -> None:
    """By all of them; by 20 frames of a single one, whose red cells may be large or small, four times of five."""
    looks: dict[str, list[RedCells]] = {}
    for cell in labelled(deepapl.find(Path(os.environ["MICROSCOPE_DEEPAPL"])), "test"):
        if len(of_patient := looks.setdefault(cell.patient, [])) < 20:
            of_patient.append(find_red_cells(read(cell.path)))
    everybody = estimate([seen for of_patient in looks.values() for seen in of_patient])
    assert everybody is not None
    assert everybody.um_per_pixel == pytest.approx(deepapl.UM_PER_PIXEL, rel=0.1)
    told = [one for of_patient in looks.values() if (one := estimate(of_patient))]
    assert len(told) >= 0.95 * len(looks)
    assert np.mean([one.agrees(deepapl.UM_PER_PIXEL) for one in told]) >= 0.9
    assert np.mean([abs(one.um_per_pixel / deepapl.UM_PER_PIXEL - 1) < 0.1 for one in told]) >= 0.8


def images_of(folder: str) -> list[Path]:
    found = sorted(_files(Path(os.environ["MICROSCOPE_DATA"]) / folder))
    assert found
    return found


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".webp"})


def read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path)), np.uint8)
