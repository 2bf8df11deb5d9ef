"""The demonstration, as a user types it."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from rendering.gallery import CAPTION, COLUMNS, GAP, HEAD, TILE
from tests.waiting import until

MARK = "DEMO_TEST_MARK"
ENDED_S = 40
"""The promise is ten seconds; a machine that others use too is slower."""


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


def _marked(mark: str) -> dict[int, str]:
    """The processes that were started with a mark in their environment, each with its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended, or is another's
            continue
    return found


def _end(tmp_path: Path, told: Sequence[signal.Signals], *, hangs: str = "") -> tuple[int, str, str]:
    """Begin a demonstration that goes on, tell it to end after some reports; fails if anything of it is left."""
    mark, folders, out = secrets.token_hex(8), tmp_path / "temporary", tmp_path / "cells.png"
    folders.mkdir()
    with (tmp_path / "out").open("w+") as said, (tmp_path / "err").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "demo", "--keep", "--montage", str(out)],
            env={**os.environ, MARK: mark, "TMPDIR": str(folders)}, stdout=said, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            assert until(lambda: "demo/demo #8 " in (tmp_path / "out").read_text(), 60), (tmp_path / "err").read_text()
            assert len(_marked(mark)) == 4, "agent, broker, subscriber and page"
            assert list(folders.iterdir())
            for pid, words in _marked(mark).items():
                if hangs and hangs in words:
                    os.kill(pid, signal.SIGSTOP)
            for number in told:
                process.send_signal(number)
            code = process.wait(ENDED_S)
            assert until(lambda: not _marked(mark), 5), _marked(mark)
            assert list(folders.iterdir()) == []
        finally:
            for pid in _marked(mark):
                os.kill(pid, signal.SIGKILL)
    return code, (tmp_path / "out").read_text(), (tmp_path / "err").read_text()


@pytest.mark.parametrize("told", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]], ids=str)
def test_told_to_end_it_leaves_no_process_and_no_folder_and_says_that_there_is_no_montage(
    tmp_path: Path, told: list[signal.Signals]
) -> None:
    code, out, errors = _end(tmp_path, told)
    assert code == 0, errors
    assert "montage: none is made, for the demonstration was told to end" in out
    assert re.fullmatch(r"published (\d+) = received \1", out.splitlines()[-1])


def test_told_to_end_while_a_part_of_it_hangs_it_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    code, _, errors = _end(tmp_path, [signal.SIGTERM], hangs="dashboard.terminal")
    assert code == 1
    assert "told to end, but" in errors
