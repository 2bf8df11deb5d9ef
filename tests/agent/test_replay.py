"""`microscope-agent replay`, as a user types it."""

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from agent.__main__ import main
from agent.sources.directory import image_files, read_image
from agent.sources.synthetic import SyntheticSource
from contract.bundle import INT8_CPU, SHIPPED
from contract.messages import FrameReport

Report = dict[str, Any]


@pytest.fixture(scope="session")
def smear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six rendered frames."""
    import threading  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("smear")
    with SyntheticSource(frames=6).open("smear", threading.Event()) as frames:
        for number, frame in enumerate(frames, start=1):
            cv2.imwrite(str(folder / f"{number}.png"), frame.image)
    return folder


def replay(source: Path, out: Path, *more: str) -> int:
    return main(["replay", str(source), "--um-per-pixel", "0.1", "--out", str(out), *more])


def reports(out: Path) -> list[Report]:
    return [json.loads(line) for line in out.read_text().splitlines()]


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


def test_the_same_frames_give_the_same_reports(smear: Path, tmp_path: Path) -> None:
    def told(out: Path) -> list[Report]:
        replay(smear, out)
        return [{**r, "timing_ms": 0, "frame": {**r["frame"], "captured_at": 0}} for r in reports(out)]

    assert told(tmp_path / "a.jsonl") == told(tmp_path / "b.jsonl")


def test_crops_and_annotated_frames_are_written_where_asked(smear: Path, tmp_path: Path) -> None:
    replay(smear, tmp_path / "r.jsonl", "--crops", str(tmp_path / "c"), "--annotate", str(tmp_path / "a"))
    cells = [cell for r in reports(tmp_path / "r.jsonl") for cell in r["cells"]]
    assert len(list((tmp_path / "c").rglob("*.png"))) == len(cells)
    assert len(list((tmp_path / "a").glob("*.png"))) == 6


def test_a_video_is_replayed_frame_by_frame(smear: Path, tmp_path: Path) -> None:
    frames = [read_image(path) for path in image_files(smear)]
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (640, 480))
    for frame in frames:
        writer.write(frame)
    writer.release()
    assert replay(tmp_path / "v.avi", tmp_path / "r.jsonl") == 0
    assert [r["frame"]["source"] for r in reports(tmp_path / "r.jsonl")] == [f"v.avi#{n}" for n in range(1, 7)]


def test_bad_files_are_refused_with_a_reason_and_the_frames_around_them_are_not_lost(
    smear: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = (smear / "1.png").read_bytes()
    jpeg = cv2.imencode(".jpg", read_image(smear / "1.png"))[1].tobytes()
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


def test_a_scale_that_no_microscope_has_is_wrong_usage(smear: Path, tmp_path: Path) -> None:
    done = run_command("replay", str(smear), "--um-per-pixel", "0", "--out", str(tmp_path / "r.jsonl"))
    assert done.returncode == 2
    assert "--um-per-pixel" in done.stderr


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
