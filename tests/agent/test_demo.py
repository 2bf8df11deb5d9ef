"""The demonstration, as a user types it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2

from rendering.gallery import CAPTION, COLUMNS, GAP, HEAD, TILE


def test_it_heeds_no_setting_of_the_machine_and_every_report_is_received() -> None:
    foreign = {"MICROSCOPE_MQTT__PREFIX": "foo", "MICROSCOPE_SOURCE__WIDTH": "7", "MICROSCOPE_NO_SUCH": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "--count", "5"],
        env={**os.environ, **foreign}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "published 5 = received 5"


def test_it_waits_until_every_picture_is_on_the_page_and_leaves_a_montage(tmp_path: Path) -> None:
    out = tmp_path / "made" / "cells.png"
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "--count", "40", "--montage", str(out)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pictures, montage, _ = done.stdout.splitlines()[-3:]
    there, kept = map(int, re.findall(r"\d+", pictures))
    assert there == kept > 40, "every frame, and cells"
    cells = int(re.search(r" (\d+) cells, each counted once", done.stdout.split("closed")[-1])[1])  # type: ignore[index]
    assert montage == f"montage: {cells} of {cells} cells, the highest probability first. {out}"
    image = cv2.imread(str(out))
    assert image is not None
    rows = -(-cells // COLUMNS)
    assert image.shape[:2] == (HEAD + rows * (TILE + CAPTION) + GAP, GAP + COLUMNS * (TILE + GAP))


def test_frames_of_an_unknown_scale_are_not_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "--frames", "."],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "give --um-per-pixel" in done.stderr
    assert "calibrate scale" in done.stderr


def test_frames_that_are_not_there_are_an_error_at_once(tmp_path: Path) -> None:
    """The service would wait for them."""
    words = ["demo", "--frames", str(tmp_path / "none"), "--um-per-pixel", "0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "agent", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no folder" in done.stderr
