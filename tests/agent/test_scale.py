"""Micrometres per pixel from red cells: what holds for any image, on rendered smears, and on real ones."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.settings import Settings
from agent.site import SiteFile
from agent.sources.directory import DirectorySource
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.place import PIXELS, source_at
from agent.sources.synthetic import SyntheticSource
from agent.tools.calibrate import ScaleJob, changed, measure_scale
from agent.tools.doctor import Doubt, check_scale
from agent.vision.arcs import LARGEST, SMALLEST, WHOLE, Arc, arcs
from agent.vision.limits import QualityLimits
from agent.vision.scale import RED_CELL_UM, SAME_CELL, RedCells, ScaleEstimate, distinct, estimate, find_red_cells
from common.errors import CheckError, SourceError, UsageError
from contract.types import Image
from evaluation.datasets import deepapl
from evaluation.datasets.sample import labelled


@lru_cache
def smear(um_per_pixel: float = 0.1, frames: int = 8, focus_um: float = 0.2) -> tuple[Image, ...]:
    source = SyntheticSource(um_per_pixel=um_per_pixel, frames=frames, seed=4, focus_um=focus_um)
    with source.open("r", threading.Event()) as made:
        return tuple(frame.image for frame in made)


def measured(images: Sequence[Image]) -> ScaleEstimate:
    found = estimate([find_red_cells(image) for image in images])
    assert found is not None
    return found


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
        with SyntheticSource(frames=4, seed=4).open("r", threading.Event()) as made:
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
        with source.open("r", threading.Event()) as made:
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


class TestPlaces:
    """What a command line's word for a source means."""

    @pytest.mark.parametrize("place", ["0", "12", "/dev/video3", "rtsp://camera/1", "videotestsrc ! appsink"])
    def test_cameras(self, place: str) -> None:
        assert isinstance(source_at(place, PIXELS), CameraSource)

    def test_files_and_folders(self, tmp_path: Path) -> None:
        (tmp_path / "slide.mp4").mkdir()
        assert isinstance(source_at("x/y.avi", PIXELS), VideoSource)
        assert isinstance(source_at(str(tmp_path / "slide.mp4"), PIXELS), DirectorySource)
        assert isinstance(source_at("x.png", PIXELS), DirectorySource)

    def test_a_folder_named_by_a_number_is_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "7").mkdir()
        monkeypatch.chdir(tmp_path)
        assert isinstance(source_at("7", PIXELS), DirectorySource)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, image in enumerate(smear()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    return tmp_path


def calibrate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", "calibrate", "scale", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestCommand:
    """`microscope-agent calibrate scale`."""

    def test_it_says_the_scale_how_sure_and_the_setting(self, folder: Path) -> None:
        done = calibrate(str(folder), "--um-per-pixel", "0.1")
        assert done.returncode == 0
        first, sure, cells, section, setting = done.stdout.splitlines()
        assert "95 % interval" in first
        assert re.fullmatch(r"8\d% sure to be within 10%", sure)
        assert "of 8 frames" in cells
        assert section == "[source]"
        pasted = tomllib.loads(f"{section}\n{setting}\n")
        assert pasted["source"]["um_per_pixel"] == pytest.approx(0.1, abs=0.05)
        assert done.stderr == ""

    def test_a_given_scale_that_disagrees_is_warned_of_and_json_is_json(self, folder: Path) -> None:
        done = calibrate(str(folder), "--um-per-pixel", "0.2", "--json", "--frames", "6")
        assert done.returncode == 0
        result = json.loads(done.stdout)
        assert result["looked"] == 6
        assert result["agrees"] is False
        assert result["low"] < result["um_per_pixel"] < result["high"]
        assert "0.2 um per pixel does not agree" in done.stderr

    @pytest.mark.parametrize(
        ("place", "options", "code", "message"),
        [
            ("nowhere", (), 2, "no folder or image"),
            ("nowhere.mp4", (), 2, "no video file"),
            ("text.png", (), 1, "none of 1 frame could be read"),
            ("flat.png", (), 1, "can not be said"),
            ("flat.png", ("--frames", "0"), 2, "no whole number from 1 up"),
            ("flat.png", ("--um-per-pixel", "0"), 2, "is no scale"),
        ],
    )
    def test_bad_input_ends_with_its_exit_code_and_a_clear_line(
        self, place: str, options: tuple[str, ...], code: int, message: str, tmp_path: Path
    ) -> None:
        (tmp_path / "text.png").write_text("a text")
        cv2.imwrite(str(tmp_path / "flat.png"), np.full((300, 300, 3), 220, np.uint8))
        done = calibrate(str(tmp_path / place), *options)
        assert done.returncode == code
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_a_camera_that_is_not_there_is_a_missing_component(self) -> None:
        with pytest.raises(SourceError):
            measure_scale(ScaleJob("/dev/video97", frames=5), threading.Event(), progress=False)

    def test_a_video_is_measured_and_what_a_still_stage_shows_again_does_not_count(self, tmp_path: Path) -> None:
        path = str(tmp_path / "v.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), 10, (640, 480))
        for image in smear():
            for _ in range(3):
                writer.write(image)
        writer.release()
        found = measure_scale(ScaleJob(path, frames=100), threading.Event(), progress=False).found
        assert found.looked == len(smear())
        assert found.um_per_pixel == pytest.approx(0.1, rel=0.05)

    def test_a_camera_is_watched_until_it_has_shown_enough_places(self, tmp_path: Path) -> None:
        path = tmp_path / "v.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
        for image in smear():
            writer.write(image)
        writer.release()
        found = measure_scale(ScaleJob(path.as_uri(), frames=5), threading.Event(), progress=False).found
        assert found.looked == 5
        assert found.um_per_pixel == pytest.approx(0.1, rel=0.06)

    def test_noise_makes_no_new_place(self) -> None:
        rng = np.random.default_rng(1)
        image = smear()[0]
        noisy = [np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8) for _ in range(5)]
        assert len(list(changed([*noisy, smear()[3]]))) == 2

    def test_a_source_that_is_none_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError):
            measure_scale(ScaleJob("nowhere", frames=5), threading.Event(), progress=False)


class TestDoctor:
    """What the doctor says of the setting."""

    @staticmethod
    def settings_with(folder: Path, um_per_pixel: float) -> Settings:
        return Settings(source=DirectorySource(uri=folder, um_per_pixel=um_per_pixel))

    def test_a_right_scale_is_told_beside_what_the_red_cells_say(self, folder: Path) -> None:
        assert "by the red cells" in check_scale(self.settings_with(folder, 0.105))

    @pytest.mark.parametrize("um_per_pixel", [0.05, 0.2])
    def test_a_wrong_scale_is_a_fault(self, um_per_pixel: float, folder: Path) -> None:
        with pytest.raises(CheckError, match=r"say 0\.[01]"):
            check_scale(self.settings_with(folder, um_per_pixel))

    def test_the_bounds_are_those_that_frames_will_be_refused_by(self, folder: Path, tmp_path: Path) -> None:
        """At 1.5 times the scale eight frames are a fault by the usual bounds, and none where a site widens them."""
        wrong = self.settings_with(folder, 0.15)
        with pytest.raises(CheckError):
            check_scale(wrong)
        (tmp_path / "site.json").write_text(SiteFile(limits=QualityLimits(scale=(0.5, 2.0))).model_dump_json())
        assert "by the red cells" in check_scale(wrong.model_copy(update={"site_file": tmp_path / "site.json"}))

    @pytest.mark.parametrize("um_per_pixel", [0.05, 0.1, 0.2])
    def test_a_stage_that_stands_still_is_a_doubt_and_no_fault(self, um_per_pixel: float, tmp_path: Path) -> None:
        """Whatever a single field's few red cells say."""
        rng = np.random.default_rng(3)
        for number in range(8):
            noisy = np.clip(smear()[0] + rng.normal(0, 2, smear()[0].shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"{number}.png"), noisy)
        said = check_scale(self.settings_with(tmp_path, um_per_pixel))
        assert isinstance(said, Doubt)
        assert "1 place of the slide" in said
        assert "move the stage" in said

    def test_frames_without_red_cells_are_none(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "flat.png"), np.full((300, 300, 3), 220, np.uint8))
        (tmp_path / "none.png").write_bytes(b"")
        assert "too few red cells" in check_scale(self.settings_with(tmp_path, 0.1))


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
