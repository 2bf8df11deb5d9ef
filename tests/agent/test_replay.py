"""`microscope-agent replay`, as a user types it."""

import csv
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import defaultdict
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from agent.__main__ import main
from agent.sources.directory import listed
from agent.sources.synthetic import SyntheticSource
from agent.tools.replay import watched
from common.arguments import default_state_dir
from common.durable import draft_of
from common.errors import UsageError
from contract.messages import FrameReport
from contract.pictures import read_picture
from tests.replaying import Report, replay, reports


def test_every_file_gets_one_valid_report_in_order(smear: Path, tmp_path: Path) -> None:
    assert replay(smear, tmp_path / "r.jsonl") == 0
    read = reports(tmp_path / "r.jsonl")
    assert [r["frame"]["source"] for r in read] == [f"{n}.png" for n in range(1, 7)]
    assert [r["seq"] for r in read] == list(range(1, 7))
    schema = FrameReport.model_json_schema(mode="serialization")
    for report in read:
        jsonschema.validate(report, schema)
    assert sum(len(r["cells"]) for r in read) > 0
    assert {r["model"]["engine"] for r in read} == {"onnxruntime-int8"}


@pytest.mark.parametrize("columns", [100, 0])
def test_on_a_terminal_a_bar_shows_how_far_it_is(smear: Path, tmp_path: Path, columns: int) -> None:
    """Also on one that does not know its width, as a serial console."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = ["replay", str(smear), "--um-per-pixel", "0.1", "--out", str(tmp_path / "r.jsonl")]
    with subprocess.Popen([sys.executable, "-m", "agent", *words], stderr=terminal):
        os.close(terminal)
        drawn = b"".join(iter(lambda: read_some(ours), b"")).decode()
    os.close(ours)
    assert "100%" in drawn
    assert "6/6" in drawn


def read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end of a terminal is closed
        return b""


def test_elsewhere_lines_in_the_log_show_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with SyntheticSource(frames=3).open(threading.Event()) as frames:
        assert len(list(watched(frames, 3, bar=False, every_s=0))) == 3
    assert [record.message for record in caplog.records] == ["1 of 3 frames examined", "2 of 3 frames examined"]


def test_one_frame_is_no_frames(smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(smear / "1.png", tmp_path / "r.jsonl") == 0
    told = capsys.readouterr().err
    assert told.startswith("1 frame in ")
    assert not re.search(r"\b1 (frames|cells|white cells|jumps)\b", told)


def test_the_same_frames_give_the_same_reports(smear: Path, tmp_path: Path) -> None:
    def told(out: Path) -> list[Report]:
        """All but the names that are of one run alone."""
        replay(smear, out)
        run = reports(out)[0]["epoch"]
        return [{**r, "timing_ms": 0} for r in map(json.loads, out.read_text().replace(run, "run").splitlines())]

    assert told(tmp_path / "a.jsonl") == told(tmp_path / "b.jsonl")


def test_what_was_judged_before_a_wrong_scale_showed_is_taken_back(
    smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first frame is one white cell, from which no scale is told."""
    out, summary, frames = tmp_path / "r.jsonl", tmp_path / "s.json", tmp_path / "in"
    replay(smear, out)
    name, box = next((r["frame"]["source"], c["box"]) for r in reports(out) for c in r["cells"] if not c["flags"])
    shutil.copytree(smear, frames)
    part = np.s_[
        max(box["y"] - 25, 0) : box["y"] + box["height"] + 25, max(box["x"] - 25, 0) : box["x"] + box["width"] + 25
    ]
    cv2.imwrite(str(frames / "0.png"), read_picture(smear / name)[part])
    assert main(["replay", str(frames), "--um-per-pixel", "0.2", "--out", str(out), "--summary", str(summary)]) == 0
    read, slide = reports(out), json.loads(summary.read_text())
    judged = [r for r in read if r["quality"]["accepted"]]
    assert any(r["cells"] for r in judged)
    assert (slide["cells"], slide["refused"]) == (0, len(read))
    told = capsys.readouterr().err
    assert f"judged before the wrong scale showed, and not counted: {len(judged)} frame" in told
    taken_back = sum(len(r["cells"]) for r in judged)
    assert f"0 white cells in all frames: 0 normal, 0 blast, 0 uncertain, 0 not judged; {taken_back} taken back" in told
    assert {r["withdraws"] for r in read} == {"", next(c["object_id"] for r in judged for c in r["cells"])}


def test_crops_and_annotated_frames_are_written_where_asked(smear: Path, tmp_path: Path) -> None:
    replay(smear, tmp_path / "r.jsonl", "--crops", str(tmp_path / "c"), "--annotate", str(tmp_path / "a"))
    cells = [cell for r in reports(tmp_path / "r.jsonl") for cell in r["cells"]]
    assert len(list((tmp_path / "c").rglob("*.png"))) == len(cells)
    assert len(list((tmp_path / "a").glob("*.png"))) == 6


def test_frames_of_like_names_get_a_picture_each(smear: Path, tmp_path: Path) -> None:
    image = read_picture(smear / "1.png")
    names = ["x.png", "x.bmp", "x#1.png", "f/x.png", "f/x#1.png", "f__x.png"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), image)
    replay(tmp_path / "in", tmp_path / "r.jsonl", "--crops", str(tmp_path / "c"), "--annotate", str(tmp_path / "a"))
    drawn = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*.png")}
    assert drawn == {f"{name}.png" for name in names}
    cells = [cell for r in reports(tmp_path / "r.jsonl") for cell in r["cells"]]
    assert len(list((tmp_path / "c").rglob("*.png"))) == len(cells)


def test_the_summary_tells_of_the_slide_in_words(
    smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(smear, tmp_path / "r.jsonl", "--slide", "s7") == 0
    told = capsys.readouterr().err
    assert "slide s7, each cell counted once: " in told
    assert "5 jumps" in told, "the frames of that smear share nothing"
    assert " % interval " in told


def test_what_was_written_is_told_at_the_end(smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, drawn = tmp_path / "r.jsonl", tmp_path / "a"
    assert replay(smear, out, "--annotate", str(drawn)) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"written: {out}, {drawn}"


@pytest.mark.parametrize(("um_per_pixel", "times"), [("0.1", 0), ("0.125", 1)])
def test_a_scale_that_is_doubtful_but_not_refused_is_told_at_the_end(
    um_per_pixel: str, times: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, out = tmp_path / "in", tmp_path / "r.jsonl"
    frames.mkdir()
    with SyntheticSource(frames=14).open(threading.Event()) as smear:
        for number, frame in enumerate(smear):
            cv2.imwrite(str(frames / f"{number:02d}.png"), frame.image)
    assert main(["replay", str(frames), "--um-per-pixel", um_per_pixel, "--out", str(out)]) == 0
    assert capsys.readouterr().err.count(f"is {um_per_pixel} um per pixel right?") == times


def test_a_replay_that_is_interrupted_says_so_and_is_no_success(smear: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "many", tmp_path / "r.jsonl"
    folder.mkdir()
    for number in range(500):
        (folder / f"{number}.png").symlink_to(smear / "1.png")
    command = [sys.executable, "-m", "agent", "replay", str(folder), "--um-per-pixel", "0.1", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (draft_of(out).exists() and draft_of(out).read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert f"stopped after {len(reports(out))} of 500 frames" in told


def test_the_slide_is_called_as_its_folder(smear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smear)
    for source in (Path(), smear):
        assert replay(source, tmp_path / "r.jsonl") == 0
        assert {r["slide_id"] for r in reports(tmp_path / "r.jsonl")} == {smear.name}


def test_a_video_is_replayed_frame_by_frame(smear: Path, tmp_path: Path) -> None:
    frames = [read_picture(path) for path in listed(smear)]
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (640, 480))
    for frame in frames:
        writer.write(frame)
    writer.release()
    assert replay(tmp_path / "v.avi", tmp_path / "r.jsonl") == 0
    assert [r["frame"]["source"] for r in reports(tmp_path / "r.jsonl")] == [f"v.avi#{n}" for n in range(1, 7)]


DATA = Path(os.environ.get("MICROSCOPE_DATA", "/nonexistent"))


@pytest.mark.requires_data
@pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason="MICROSCOPE_DATA names no folder with the BCCD frames")
def test_white_cells_of_real_frames_are_found(tmp_path: Path) -> None:
    """BCCD without the frames with known annotation faults, by centre: recall >= 0.98, precision >= 0.97."""
    out = tmp_path / "r.jsonl"
    assert main(["replay", str(DATA / "bccd/JPEGImages"), "--um-per-pixel", "0.075", "--out", str(out)]) == 0
    read = reports(out)
    assert [r["frame"]["source"] for r in read] == sorted(p.name for p in (DATA / "bccd/JPEGImages").iterdir())
    with (DATA / "bccd/index.csv").open() as file:
        faulty = {row["file"] for row in csv.DictReader(file) if row["known_issue"]}
    truth: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (DATA / "bccd/wbc_boxes.csv").open() as file:
        for row in csv.DictReader(file):
            truth[row["file"]].append(row)
    judged = [r for r in read if r["frame"]["source"] not in faulty]
    hits = sum(_matches(r["cells"], truth[r["frame"]["source"]]) for r in judged)
    found = sum(len(r["cells"]) for r in judged)
    present = sum(len(truth[r["frame"]["source"]]) for r in judged)
    assert hits / present >= 0.98, f"recall {hits}/{present}"
    assert hits / found >= 0.97, f"precision {hits}/{found}"


def _matches(cells: list[Report], boxes: list[dict[str, str]]) -> int:
    """True boxes that hold the centre of a reported box, one to one."""
    free = list(cells)
    hits = 0
    for box in boxes:
        x0, y0, x1, y1 = (int(box[k]) for k in ("xmin", "ymin", "xmax", "ymax"))
        for cell in free:
            x = cell["box"]["x"] + cell["box"]["width"] / 2
            y = cell["box"]["y"] + cell["box"]["height"] / 2
            if x0 <= x <= x1 and y0 <= y <= y1:
                free.remove(cell)
                hits += 1
                break
    return hits


def test_pictures_are_for_this_user_alone_whatever_the_umask(smear: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folders = tmp_path / "crops", tmp_path / "drawn"
        replay(smear, tmp_path / "r.jsonl", "--crops", str(folders[0]), "--annotate", str(folders[1]))
    finally:
        os.umask(before)
    pictures = [path for folder in folders for path in folder.rglob("*.png")]
    assert len(pictures) > 6
    assert {path.stat().st_mode & 0o777 for path in pictures} == {0o600}


def test_a_user_without_a_home_folder_can_replay(smear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable names a place, and `~` of this home means nothing: so it is in many a container."""
    monkeypatch.setenv("XDG_STATE_HOME", "~nobody-of-that-name/state")
    with pytest.raises(UsageError, match="no home folder"):
        default_state_dir()
    assert replay(smear, tmp_path / "r.jsonl") == 0
