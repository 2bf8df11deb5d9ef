"""`microscope-agent render`: frames to try with, for a person who has none."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import load

UM = 0.12


def call(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_replay_and_calibration_can_be_tried_with_rendered_frames(tmp_path: Path) -> None:
    """What is printed can be typed as it stands; the scale comes as a fragment of the settings' file."""
    done = call("render", str(tmp_path / "frames"), "--count", "12", "--um-per-pixel", str(UM))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "frames").glob("*.png"))) == 12
    typed = next(line.split()[1:] for line in done.stdout.splitlines() if " replay " in line)
    out = tmp_path / "reports.jsonl"
    assert call(*typed[:-1], str(out)).returncode == 0
    reports = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(reports) == 12
    assert sum(len(report["cells"]) for report in reports) > 5
    said = call("calibrate", "scale", str(tmp_path / "frames"))
    assert said.returncode == 0, said.stderr
    (tmp_path / "agent.toml").write_text(said.stdout[said.stdout.index("[source]") :])
    settings = load(tmp_path / "agent.toml", {"source.kind": "camera"}).settings
    assert settings.source.um_per_pixel == pytest.approx(UM, rel=0.2)
    assert re.search("no patient's, every cell is drawn", done.stdout)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()
    done = call("render", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty; name a new one" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.png"]
