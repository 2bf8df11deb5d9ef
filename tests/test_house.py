"""Truths about the house itself."""

import inspect
import os
import re
import shlex
import subprocess
import sys
import zipfile
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from agent.settings import AnySource
from agent.tools.doctor import clashes
from engines.choice import ENGINES

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {script.name: script.value for script in distribution("microscope-agent").entry_points}
"""Each command that is installed, and the function that starts it, as `module:name`."""
ROOMS = (
    "common", "contract", "mqttlink", "engines", "devbroker", "rendering", "agent", "evaluation", "calibration",
    "training", "export", "collector", "dashboard", "bench",
)  # fmt: skip
HIDDEN = ["amqtt", "fhir", "onnx", "onnxscript", "psycopg", "rich", "sqlalchemy", "torch", "weasyprint"]
"""Libraries of the extras."""
HEAVY = ("torch", "onnx", "tensorrt", "pycuda", "paho")
REGISTERED = {
    Path(inspect.getfile(found)).resolve()
    for found in (
        *get_args(get_args(AnySource)[0]),
        *(opener.func if isinstance(opener, partial) else opener for opener in ENGINES.values()),
    )
}
"""The files of sources and engines, which the settings list: one more is no change of the architecture."""
ARM = ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]


@pytest.mark.parametrize(
    ("module", "libraries"), [("agent.pipeline", (*HEAVY, "jinja2")), ("agent.service", ("torch", "onnx", "jinja2"))]
)
def test_a_running_agent_loads_no_library_that_it_does_not_need(module: str, libraries: tuple[str, ...]) -> None:
    """The pipeline knows no network client either."""
    program = f"import sys, {module}; print([m for m in {libraries} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("export-engine", ["c.pt", "--int8", "--calibration", "cells", "--out", "m-1"]),
        ("train-classifier", ["--data", "d", "--layout", "folders", "--out", "o"]),
        ("evaluate-classifier", ["c.pt", "--data", "d", "--layout", "folders", "--split", "test", "--out", "o"]),
    ],
)
def test_a_workshop_command_without_its_extra_says_what_to_install(command: str, words: list[str]) -> None:
    done = without_torch(command, words)
    assert done.returncode == 4, done.stderr
    assert "pip install -c constraints.txt '.[export,training]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_needs_no_extra(command: str) -> None:
    done = without_torch(command, ["--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_seen_enough_of_the_help_ends_a_command_in_silence(command: str) -> None:
    done = run_command(command, ["--help"], stdout=a_pipe_that_nobody_reads())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_standard_streams_are_closed_still_works(command: str) -> None:
    line = shlex.join([sys.executable, "-c", start_of(command), "--help"])
    done = subprocess.run(["sh", "-c", f"{line} <&- >&- 2>&-"], check=False)
    assert done.returncode == 0


def test_a_full_disk_below_standard_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = run_command("microscope-agent", ["config", "schema"], stdout=full.fileno())
    assert done.returncode == 2
    assert "standard output can not be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


def a_pipe_that_nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def run_command(command: str, words: list[str], *, stdout: int) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-c", start_of(command), *words]
    return subprocess.run(line, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def without_torch(command: str, words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command as if only the base were installed: an import hook hides the libraries."""
    program = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r}))\n{start_of(command)}"
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)


def start_of(command: str) -> str:
    """What the installed script does."""
    module, _, function = COMMANDS[command].partition(":")
    return f"from {module} import {function}; raise SystemExit({function}())"


def test_nothing_is_told_to_the_makers_of_the_inference_runtime(tmp_path: Path) -> None:
    """Neither a device id nor a queue of events appears in the home folder."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((480, 640, 3), 200, np.uint8))
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-m", "agent", "replay", str(tmp_path / "a.png"), "--um-per-pixel", "0.1",
         "--out", str(tmp_path / "r.jsonl")],
        env={**os.environ, "HOME": str(home)}, capture_output=True, check=True,
    )  # fmt: skip
    assert list(home.rglob("*")) == []


def test_no_other_package_installs_files_under_our_names() -> None:
    assert clashes() == []


def test_a_wheel_carries_the_model_and_the_templates_and_works_anywhere(tmp_path: Path) -> None:
    """Built from the checkout, unpacked elsewhere, run from a third place."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((480, 640, 3), 200, np.uint8))
    for words in (
        ["replay", "a.png", "--um-per-pixel", "0.1", "--out", "r.jsonl"],
        ["montage", "r.jsonl", "--frames", "a.png", "--out", "m.html"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "agent", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1
    assert "<h1>Slide a: 0 blast" in (tmp_path / "m.html").read_text()


@pytest.mark.requires_registry
@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_a_board_can_install_the_agent_from_binary_wheels(python: str, tmp_path: Path) -> None:
    """The base dependencies resolve for aarch64 without a compiler."""
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(tmp_path), "annotated-types"],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip("no package registry within reach")
    platforms = [part for name in ARM for part in ("--platform", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--target", str(tmp_path / "board"),
         "--only-binary=:all:", "--python-version", python, *platforms, "--report", str(tmp_path / "report.json"),
         "--quiet", *_base_dependencies(python)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in (tmp_path / "report.json").read_text()


def _base_dependencies(python: str) -> list[str]:
    from packaging.requirements import Requirement  # noqa: PLC0415

    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    requirements = [Requirement(text) for text in wanted]
    board = {"python_version": python, "platform_machine": "aarch64", "sys_platform": "linux"}
    return [f"{r.name}{r.specifier}" for r in requirements if r.marker is None or r.marker.evaluate(board)]


@pytest.mark.parametrize("room", ROOMS)
def test_the_architecture_names_every_file_of_a_room(room: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = text.partition(f"| in `{room}/` |")[2].partition("\n\n")[0]
    rows = {row.split("|")[1].strip(" `/"): row for row in table.splitlines() if row.startswith("| `")}
    for file in sorted(set((ROOT / room).rglob("*.py")) - REGISTERED):
        folder, name = file.parent.relative_to(ROOT / room).as_posix(), f"`{file.name}`"
        if file.name != "__init__.py":
            assert name in (table if folder == "." else rows.get(folder, "")), f"{room}/{folder}/{file.name}"
    named = set(re.findall(r"`(\w+\.py)`", table))
    assert named <= {file.name for file in (ROOT / room).rglob("*.py")}, "a file that is gone"


def test_sessions_of_onnx_runtime_are_made_in_one_module() -> None:
    files = (file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    assert [file for file in files if "InferenceSession" in file.read_text()] == [ROOT / "engines/session.py"]


def test_the_project_holds_no_picture_that_it_did_not_render() -> None:
    """Only documents hold pictures, and those the project draws itself."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    pictures = [p for p in tracked.stdout.splitlines() if Path(p).suffix in {".jpg", ".jpeg", ".png", ".bmp", ".tif"}]
    assert all(p.startswith("docs/pictures/") for p in pictures), pictures
