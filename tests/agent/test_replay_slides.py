"""Whose frames `microscope-agent replay` counts together, and what it says of a source that is odd."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

from agent.__main__ import main
from agent.sources.synthetic import SyntheticSource
from common.durable import draft_of
from tests.replaying import replay, reports


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one frame of its own, and one folder each for two patients."""
    root = tmp_path_factory.mktemp("patients")
    names = ["0.png", "b/1.png", "a/2.png", "b/3.png"]
    with SyntheticSource(frames=4, width=320, height=240).open(threading.Event()) as frames:
        for name, frame in zip(names, frames, strict=True):
            (root / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(root / name), frame.image)
    return root


def test_each_folder_is_a_slide_of_its_own_where_that_is_asked_for(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = tmp_path / "r.jsonl", tmp_path / "s.json"
    assert replay(patients, out, "--slide-per-folder", "--summary", str(summary)) == 0
    read, slides = reports(out), json.loads(summary.read_text())
    assert [(r["slide_id"], r["frame"]["source"]) for r in read] == [
        (patients.name, "0.png"), ("a", "a/2.png"), ("b", "b/1.png"), ("b", "b/3.png")
    ]  # fmt: skip
    assert [(s["slide_id"], s["frames"], s["state"]) for s in slides] == [
        (patients.name, 1, "closed"), ("a", 1, "closed"), ("b", 2, "closed")
    ]  # fmt: skip
    assert len({s["count_id"] for s in slides}) == 3
    said = capsys.readouterr().err
    assert "slide a, each cell counted once" in said
    assert "counted as one slide" not in said


def test_folders_that_are_counted_as_one_slide_are_told(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(patients, tmp_path / "r.jsonl") == 0
    assert {r["slide_id"] for r in reports(tmp_path / "r.jsonl")} == {patients.name}
    assert "the frames of 3 folders were counted as one slide" in capsys.readouterr().err


def test_one_slide_and_several_can_not_both_be_asked_for(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(patients, tmp_path / "r.jsonl", "--slide", "S1", "--slide-per-folder") == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_no_two_runs_share_an_epoch_a_count_or_a_frame(patients: Path, tmp_path: Path) -> None:
    names = []
    for run in "12":
        summary = tmp_path / f"{run}.json"
        assert replay(patients / "a", tmp_path / f"{run}.jsonl", "--summary", str(summary)) == 0
        (report,) = reports(tmp_path / f"{run}.jsonl")
        names.append((report["epoch"], report["frame"]["id"], json.loads(summary.read_text())["count_id"]))
    assert all(first != second for first, second in zip(*names, strict=True))


def test_the_summary_of_an_interrupted_run_says_so(patients: Path, tmp_path: Path) -> None:
    folder, out, summary = tmp_path / "many", tmp_path / "r.jsonl", tmp_path / "s.json"
    folder.mkdir()
    for number in range(500):
        (folder / f"{number}.png").symlink_to(patients / "0.png")
    command = [sys.executable, "-m", "agent", "replay", str(folder), "--um-per-pixel", "0.1", "--out", str(out)]
    process = subprocess.Popen([*command, "--summary", str(summary)], stderr=subprocess.DEVNULL)
    while not (draft_of(out).exists() and draft_of(out).read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 1
    told = json.loads(summary.read_text())
    assert (told["interrupted"], told["frames_planned"]) == (True, 500)
    assert told["frames"] == len(reports(out)) < 500


def test_what_a_run_drew_into_its_source_is_no_frame_of_the_next(patients: Path, tmp_path: Path) -> None:
    source = tmp_path / "slides"
    shutil.copytree(patients / "b", source)
    drawings = ["--annotate", str(source / "annotated"), "--crops", str(source / "crops")]
    for _ in range(2):
        assert replay(source, source / "r.jsonl", *drawings) == 0
        assert [r["frame"]["source"] for r in reports(source / "r.jsonl")] == ["1.png", "3.png"]
    assert len(list((source / "annotated").iterdir())) == 2


def test_the_end_tells_what_was_left_out_and_that_sizes_differ(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "slides"
    shutil.copytree(patients / "b", source)
    frame = cv2.imread(str(source / "3.png"))
    assert frame is not None
    cv2.imwrite(str(source / "3.png"), frame[::2, ::2])
    for name in ("4.czi", "5.dng", "notes.txt"):
        (source / name).touch()
    assert main(["replay", str(source), "--um-per-pixel", "0.1", "--out", str(tmp_path / "r.jsonl")]) == 0
    said = capsys.readouterr().err
    assert "2 files that are no picture of a kind that is read (.czi .dng)" in said
    assert "the frames differ in size (1 of 320x240, 1 of 160x120)" in said
