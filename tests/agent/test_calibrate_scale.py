"""`calibrate scale`, and what `doctor` says of the scale."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
import cv2
import numpy as np
import pytest

from agent.settings import Settings
from agent.site import SiteFile
from agent.sources.directory import DirectorySource
from agent.tools.calibrate import ScaleJob, changed, measure_scale
from agent.tools.doctor import Warned, check_scale
from agent.vision.limits import QualityLimits
from common.errors import CheckError, SourceError, UsageError
from tests.smears import smear


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
        assert isinstance(said, Warned)
        assert "1 place of the slide" in said
        assert "move the stage" in said

    def test_frames_without_red_cells_are_none(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "flat.png"), np.full((300, 300, 3), 220, np.uint8))
        (tmp_path / "none.png").write_bytes(b"")
        assert "too few red cells" in check_scale(self.settings_with(tmp_path, 0.1))
