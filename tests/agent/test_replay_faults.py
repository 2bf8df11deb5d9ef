"""`replay` and bad input: what it refuses, and what it loses (nothing)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.__main__ import main
from common.durable import draft_of, growing
from contract.bundle import INT8_CPU, SHIPPED
from contract.pictures import decode_picture, read_picture
from contract.types import Image
from tests.replaying import replay, reports


@pytest.mark.parametrize("out", ["in/1.png", "in/link.jsonl", "other.avi"])
def test_reports_are_never_written_over_a_picture(out: str, smear: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture = tmp_path / "in/1.png"
    picture.write_bytes((smear / "1.png").read_bytes())
    (tmp_path / "in/link.jsonl").symlink_to(picture)
    assert replay(tmp_path / "in", tmp_path / out) == 2
    assert picture.read_bytes() == (smear / "1.png").read_bytes()
    assert not (tmp_path / "other.avi").exists()


@pytest.mark.parametrize("option", ["--annotate", "--crops"])
def test_pictures_are_never_written_among_those_that_are_read(option: str, smear: Path, tmp_path: Path) -> None:
    before = sorted(smear.rglob("*"))
    assert replay(smear, tmp_path / "r.jsonl", option, f"{smear}/") == 2
    assert sorted(smear.rglob("*")) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "/dev/full"),
        ("--out", "a file/r.jsonl"),
        ("--annotate", "a file"),
        ("--crops", "a file/x"),
        ("--annotate", "n" * 300),
        ("--summary", "a file/s.json"),
    ],
)
def test_a_result_that_can_not_be_written_is_named_with_cause_and_remedy(
    options: tuple[str, str], smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").touch()
    option, place = options[0], str(tmp_path / options[1])
    assert replay(smear, tmp_path / "r.jsonl", option, place) == 2
    told = capsys.readouterr().err
    assert place in told
    assert "can not be written (" in told
    assert "choose another place" in told


def test_names_that_are_no_utf_8_are_reported_and_drawn(smear: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"slide\xff.mp4")
    folder.mkdir()
    (folder / os.fsdecode(b"\xfe.png")).write_bytes((smear / "1.png").read_bytes())
    assert replay(folder, tmp_path / "r.jsonl", "--annotate", str(tmp_path / "a")) == 0
    (report,) = reports(tmp_path / "r.jsonl")
    assert (report["slide_id"], report["frame"]["source"]) == (r"slide\xff", r"\xfe.png")
    assert (tmp_path / r"a/\xfe.png.png").exists()


def test_bad_files_are_refused_with_a_reason_and_the_frames_around_them_are_not_lost(
    smear: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = (smear / "1.png").read_bytes()
    jpeg = cv2.imencode(".jpg", read_picture(smear / "1.png"))[1].tobytes()
    one = cv2.imencode(".png", np.full((1, 1, 3), 200, np.uint8))[1].tobytes()
    files = {"1.png": good, "2.jpg": b"a text", "3.jpg": jpeg[: len(jpeg) // 2], "4.png": one, "5.png": good}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    cv2.imwrite(str(folder / "4b.png"), np.zeros((20_000, 20_000), np.uint8))
    assert replay(folder, tmp_path / "r.jsonl") == 0
    read = {r["frame"]["source"]: r for r in reports(tmp_path / "r.jsonl")}
    reasons = {name: r["quality"]["reasons"] for name, r in read.items()}
    assert reasons == {
        "1.png": [], "2.jpg": ["unreadable"], "3.jpg": ["incomplete"], "4.png": ["too_small"],
        "4b.png": ["too_large"], "5.png": [],
    }  # fmt: skip
    assert all(r["quality"]["detail"] for r in read.values() if not r["quality"]["accepted"])
    assert len(read["5.png"]["cells"]) == len(read["1.png"]["cells"])


@pytest.fixture
def changed_bundle(tmp_path: Path) -> Path:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in SHIPPED.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    model = bytearray((copy / INT8_CPU).read_bytes())
    model[len(model) // 2] ^= 1
    (copy / INT8_CPU).write_bytes(model)
    return copy


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "agent", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("source", "bundle", "code", "message"),
    [
        ("empty", None, 2, "holds no image"),
        ("nowhere", None, 2, "no folder or image"),
        ("n" * 300, None, 2, "no folder or image"),
        ("nowhere.mp4", None, 2, "no folder or video"),
        ("smear", "changed", 5, "was changed after it was made"),
        ("smear", "nowhere", 4, "no bundle at"),
    ],
)
def test_bad_input_ends_with_its_exit_code_and_one_clear_line(
    source: str, bundle: str | None, code: int, message: str, smear: Path, changed_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"smear": smear, "changed": changed_bundle}
    more = ["--bundle", str(places.get(bundle, tmp_path / bundle))] if bundle else []
    done = run_command(
        "replay", str(places.get(source, tmp_path / source)), "--um-per-pixel", "0.1",
        "--out", str(tmp_path / "r.jsonl"), *more,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_wrong_with_a_file_stands_in_its_report_and_nowhere_else(tmp_path: Path) -> None:
    """OpenCV and its libraries keep quiet, and hear no bound from the environment, whose form they do not check."""
    picture = cv2.imencode(".tif", np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8))[1].tobytes()
    (tmp_path / "1.tif").write_bytes(picture[: len(picture) // 2])
    (tmp_path / "2.png").write_bytes(b"no picture")
    bounds = {f"OPENCV_IO_MAX_IMAGE_{name}": "x" for name in ("PIXELS", "WIDTH", "HEIGHT")}
    done = subprocess.run(
        [sys.executable, "-m", "agent", "--log", "ERROR", "replay", str(tmp_path), "--um-per-pixel", "0.1",
         "--out", str(tmp_path / "r.jsonl")],
        capture_output=True, text=True, check=False, env={**os.environ, **bounds},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.strip().splitlines()) == 4, done.stderr
    assert [r["quality"]["reasons"] for r in reports(tmp_path / "r.jsonl")] == [["incomplete"], ["unreadable"]]


def test_a_scale_that_no_microscope_has_is_wrong_usage(smear: Path, tmp_path: Path) -> None:
    done = run_command("replay", str(smear), "--um-per-pixel", "0", "--out", str(tmp_path / "r.jsonl"))
    assert done.returncode == 2
    assert "--um-per-pixel" in done.stderr


@pytest.mark.parametrize("name", ["ż" * 125 + ".png", "a\nb\x1b[2J.png", "x" * 251 + ".png"])
def test_a_name_that_is_long_or_odd_ends_no_batch_and_montage_finds_its_pictures(
    smear: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(smear / "1.png", tmp_path / "in" / name)
    shutil.copy(smear / "2.png", tmp_path / "in" / "z.png")
    crops, out = tmp_path / "crops", tmp_path / "r.jsonl"
    assert replay(tmp_path / "in", out, "--crops", str(crops), "--annotate", str(tmp_path / "drawn")) == 0
    assert len(reports(out)) == len(list((tmp_path / "drawn").iterdir())) == 2
    assert main(["montage", str(out), "--crops", str(crops), "--out", str(tmp_path / "m.html")]) == 0
    said = capsys.readouterr().err
    assert "without a picture" not in said
    assert "\x1b" not in said


def test_a_medium_that_is_gone_ends_replay_in_words_and_not_as_a_success(
    smear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stick = tmp_path / "stick"
    shutil.copytree(smear, stick)
    decoded: list[int] = []

    def pulled_out_after_three(data: bytearray) -> Image:
        decoded.append(len(data))
        if len(decoded) == 3:
            stick.rename(tmp_path / "elsewhere")
        return decode_picture(data)

    monkeypatch.setattr("agent.sources.directory.decode_picture", pulled_out_after_three)
    assert replay(stick, tmp_path / "r.jsonl") == 4
    said = capsys.readouterr().err
    assert f"{stick} is gone while its pictures were read" in said
    assert not (tmp_path / "r.jsonl").exists(), "it is not whole"
    assert len(reports(draft_of(tmp_path / "r.jsonl"))) == 3


def test_a_second_replay_into_the_same_file_is_refused(
    smear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.jsonl"
    with growing(out) as file:
        file.write("first\n")
        assert replay(smear, out) == 2
    assert "another program is writing" in capsys.readouterr().err
    assert out.read_text() == "first\n"
