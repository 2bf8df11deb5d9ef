"""`compare-engines` as a user types it: the same cells, every engine, and what is not here is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import SHIPPED, open_bundle
from contract.manifest import InputSpec
from engines.scoring import Scored, read_scored, score, write_scored
from export.compare import main
from export.compare_page import compare_page
from export.differences import Cells, compare, flipped, furthest, words
from tests.drawn import write_cells

NASTY = "<script>&.png"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with two cells each, in layout ``folders``."""
    return write_cells(tmp_path_factory.mktemp("cells"), patients=3, each=1, seed=5)


@pytest.fixture(scope="module")
def report(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    options = ["--data", str(drawn), "--um-per-pixel", "0.2", "--out", str(out)]
    assert main([str(SHIPPED), *options]) == 0
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())
    page = out / "compare.html"
    return {**found, "page": page.read_text(), "mode": page.stat().st_mode & 0o777}


def test_every_engine_is_compared_or_its_absence_explained(report: dict[str, Any]) -> None:
    assert {"fp32", "int8-cpu", "int8-reference"} <= set(report["engines"])
    assert set(report["engines"]) | set(report["not_available"]) >= {"tensorrt", "tensorrt-fp16", "tensorrt-fp32"}
    assert all("TensorRT" in reason for reason in report["not_available"].values())


def test_the_reference_agrees_with_itself_and_int8_nearly_does(report: dict[str, Any]) -> None:
    engines = report["engines"]
    assert (engines["fp32"]["flips"], engines["fp32"]["rmse"]) == (0, 0)
    assert 0 < engines["int8-cpu"]["rmse_over_sigma"] < 0.5
    assert all(found["ms_alone"] > 0 and found["ms_together"] > 0 for found in engines.values())
    assert report["data"] == {"cells": 6, "labelled": False, "layout": None, "split": None, "warning": ""}


def test_the_page_holds_the_figures_and_loads_nothing(report: dict[str, Any]) -> None:
    page = report["page"]
    assert page.count("<svg viewBox") >= 5
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert "data:image/png;base64," in page


def test_the_page_shows_cells_and_is_for_this_user_alone(report: dict[str, Any]) -> None:
    assert report["mode"] == 0o600


def test_labels_bring_accuracy_and_few_a_warning(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--layout", "folders", "--split", "training", "--um-per-pixel", "0.2", "--engines", "int8-cpu"]
    assert main([str(SHIPPED), "--data", str(drawn), "--out", str(tmp_path), *options]) == 0
    found = json.loads((tmp_path / "compare.json").read_text())
    assert list(found["engines"]) == ["fp32", "int8-cpu"]
    assert 0 <= found["engines"]["int8-cpu"]["accuracy"] <= 1
    page = (tmp_path / "compare.html").read_text()
    assert "Reliability" in page
    assert "are too few to speak of others" in page
    assert capsys.readouterr().out.startswith("watch out: ")


def test_what_can_not_be_compared_is_one_line(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    fine = ["--um-per-pixel", "0.2", "--engines", "int8-cpu"]
    cases = {
        "no cell": (2, [str(SHIPPED), "--data", str(tmp_path / "empty"), *fine]),
        "no bundle": (4, [str(tmp_path), "--data", str(drawn), *fine]),
        "nothing to compare": (4, [str(SHIPPED), "--data", str(drawn), "--engines", "fp32"]),
        "can not be written": (2, [str(SHIPPED), "--data", str(drawn), *fine, "--out", str(tmp_path / "file")]),
        "no Ed25519": (2, [str(SHIPPED), "--data", str(drawn), *fine, "--trust", "rubbish"]),
    }
    for text, (code, arguments) in cases.items():
        assert main(arguments) == code, text
        assert text in capsys.readouterr().err.splitlines()[-1]


def test_a_board_needs_no_torch_to_compare() -> None:
    modules = "export.compare, engines.score_onnxruntime, engines.score_tensorrt"
    program = f"import sys, {modules}; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def four() -> Cells:
    return Cells(["a", "b", "c", NASTY], np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 1, 0]))


def margins(*values: float) -> Scored:
    """Scores of the shipped model's columns with these margins; every cell is one to be judged."""
    columns = open_bundle(SHIPPED).manifest.columns
    scores = np.full((len(values), columns.width), -99, np.float32)
    scores[:, columns.normal] = 0
    scores[:, columns.blasts[0]] = values
    return Scored("made up", scores, 1.0, 0.5)


def test_a_flip_is_a_blast_to_one_and_not_to_the_other(four: Cells) -> None:
    bundle = open_bundle(SHIPPED)
    figures, verdicts = compare(bundle, four, {"fp32": margins(-9, -9, 9, 9), "other": margins(-9, 9, 9, -0.9)})
    assert figures["other"]["flips"] == 2
    assert figures["other"]["flip_share"] == 0.5
    assert figures["fp32"]["accuracy"] == 0.5
    assert figures["other"]["accuracy"] == 1
    assert flipped(verdicts) == [1, 3]
    assert furthest(verdicts, 1) == [1]
    assert words(1, four, verdicts)["truth"] == "blast"


def test_a_file_name_can_not_become_markup(four: Cells) -> None:
    bundle = open_bundle(SHIPPED)
    figures, verdicts = compare(bundle, four, {"fp32": margins(0, 1, 2, 9), "other": margins(0, 1, 2, -9)})
    report = {
        "model": {"id": "m", "signed_by": ""},
        "machine": {"processor": NASTY, "cores": 1, "threads": 1},
        "data": {"labelled": True},
        "reference": "fp32",
        "engines": figures,
        "not_available": {"tensorrt": NASTY},
        "flipped": [3],
    }
    page = compare_page(report, four, verdicts, [3], bundle.manifest)
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_scores_keep_their_order_through_batches_and_files(tmp_path: Path) -> None:
    crops = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    spec = InputSpec(um_per_pixel=0.2, size=16, mean=(0, 0, 0), std=(1, 1, 1))
    made = score("mean", lambda batch: batch.mean(axis=(2, 3))[:, :2], crops, spec)
    assert np.allclose(made.scores[:, 0], np.arange(40) / 255)
    write_scored(tmp_path / "s.npz", made)
    again = read_scored(tmp_path / "s.npz")
    assert (again.name, again.alone_ms, again.together_ms) == (made.name, made.alone_ms, made.together_ms)
    assert np.array_equal(again.scores, made.scores)


def test_labelled_images_without_patients_are_refused_unless_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_cells(tmp_path / "whole", patients=1, each=6)
    (whole / "patient-0").rename(tmp_path / "nobodys")
    options = [
        "--data",
        str(tmp_path / "nobodys"),
        "--layout",
        "folders",
        "--split",
        "training",
        "--um-per-pixel",
        "0.2",
    ]
    more = ["--engines", "int8-cpu", "--out", str(tmp_path / "out")]
    assert main([str(SHIPPED), *options, *more]) == 2
    assert "--patients none" in capsys.readouterr().err
    assert main([str(SHIPPED), *options, *more, "--patients", "none"]) == 0
