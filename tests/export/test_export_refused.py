"""What `export-engine` refuses, and that nothing is lost by it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from calibration.methods import METHODS
from contract.bundle import (
    CALIBRATION,
    REPORT,
    REPORT_PAGE,
    SHIPPED,
    Bundle,
    open_bundle,
)
from contract.signature import UNSIGNED
from export.__main__ import main
from tests.exporting import run


def test_a_version_that_was_made_is_replaced_only_where_that_is_meant(
    made: Bundle, checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before the work; agents hold the higher number for the newer model, and no number for two."""
    shutil.copytree(made.path, tmp_path / "drawn-1")
    assert run(checkpoint, drawn_cells, tmp_path / "drawn-1", "--no-gate") == 2
    assert "is a bundle already" in capsys.readouterr().err
    assert open_bundle(tmp_path / "drawn-1", UNSIGNED).sha256 == made.sha256
    assert run(checkpoint, drawn_cells, tmp_path / "drawn-1", "--no-gate", "--replace") == 0
    assert open_bundle(tmp_path / "drawn-1", UNSIGNED).manifest.gate.state == "skipped"


def test_an_export_into_the_folder_of_images_is_refused_before_it_begins(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "cells-1"
    shutil.copytree(drawn_cells, precious)
    assert run(checkpoint, drawn_cells, precious) == 2
    assert len(list(precious.rglob("*.png"))) == 24


@pytest.mark.parametrize("count", [2, 3, 4, 12])
def test_a_gate_on_hardly_any_cells_or_on_cells_all_alike_is_refused_in_words(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    """Of two to four cells one is held out; of twelve that are one image over again, four are."""
    cells = sorted(drawn_cells.rglob("*.png"))
    (tmp_path / "few").mkdir()
    for k in range(count):
        shutil.copy(cells[0 if count > 4 else k], tmp_path / "few" / f"{k}.png")
    assert run(checkpoint, tmp_path / "few", tmp_path / "b-1", "--um-per-pixel", "0.2") == 3
    said = capsys.readouterr().err
    assert "can not show what INT8 costs" in said
    assert "give --gate DIR with 300 or more" in said
    assert not re.search(r"\d{4,}\.\d* %", said)
    assert not (tmp_path / "b-1").exists()


def test_without_a_gate_layers_are_ranked_on_few_cells_and_the_report_says_how_few(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    for k, path in enumerate(sorted(drawn_cells.rglob("*.png"))[:3]):
        shutil.copy(path, tmp_path / "few" / f"{k}.png")
    few = ["--um-per-pixel", "0.2", "--no-gate", "--sensitivity"]
    assert run(checkpoint, tmp_path / "few", tmp_path / "b-1", *few) == 0
    made = open_bundle(tmp_path / "b-1", UNSIGNED)
    assert "too few to rank layers by" in made.read(REPORT_PAGE).decode()
    costs = json.loads(made.read(REPORT))["gate"]["costs"]
    assert {cost["rmse_over_sigma"] for cost in costs.values()} == {None}


@pytest.mark.parametrize("named", [True, False])
def test_a_table_with_a_range_eight_times_too_wide_is_refused_by_name_and_nothing_is_written(
    made: Bundle,
    checkpoint: Path,
    drawn_cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    named: bool,
) -> None:
    """Whether its method is named or not: a table that is given is used, and never picked against."""
    table = json.loads((made.path / CALIBRATION).read_text())
    name = sorted(table["ranges"])[3]
    table["ranges"][name] = [8 * bound for bound in table["ranges"][name]]
    (tmp_path / "table.json").write_text(json.dumps(table))
    method = ["--method", made.manifest.calibration.method] if named else []
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--table", str(tmp_path / "table.json"), *method) == 3
    text = capsys.readouterr().err
    assert f"the range of {name}" in text
    assert "nothing was written" in text
    assert not (tmp_path / "b-1").exists()


def test_a_table_of_other_cells_is_never_used_in_silence(
    made: Bundle, checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["--table", str(made.path / CALIBRATION)]
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", *again, "--seed", "7") == 2
    assert "sample" in capsys.readouterr().err
    other = next(name for name in METHODS if name != made.manifest.calibration.method)
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", *again, "--method", other) == 2
    assert "method" in capsys.readouterr().err
    assert run(checkpoint, drawn_cells, tmp_path / "b-2", *again) == 0
    assert open_bundle(tmp_path / "b-2", UNSIGNED).manifest.calibration == made.manifest.calibration


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": {}}', '{"model": {"trained_on_split": "random"}}'])
def test_what_is_no_evaluation_is_refused(checkpoint: Path, drawn_cells: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--leaky-evaluation", str(path)) == 2


def test_a_wrong_model_folder_or_name_is_one_line_and_exit_code_2(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    cases = {
        "text.pt": (tmp_path / "text.pt", drawn_cells, tmp_path / "b-1"),
        "missing.pt": (tmp_path / "missing.pt", drawn_cells, tmp_path / "b-1"),
        "empty": (checkpoint, tmp_path / "empty", tmp_path / "b-1"),
        "nowhere": (checkpoint, tmp_path / "nowhere", tmp_path / "b-1"),
        "Not A Name": (checkpoint, drawn_cells, tmp_path / "Not A Name"),
    }
    for word, (model, cells, out) in cases.items():
        assert run(model, cells, out) == 2
        text = capsys.readouterr().err
        assert text.startswith("export-engine: ")
        assert word in text
        assert text.count("\n") == 1


@pytest.mark.parametrize("precisions", [[], ["--int8", "--fp16"], ["--fp16", "--fp32"]])
def test_one_precision_must_be_asked_for(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, precisions: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(checkpoint), *precisions, "--calibration", str(drawn_cells), "--out", str(tmp_path / "b-1")])


def test_a_bundle_takes_no_options_that_would_change_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SHIPPED), "--int8", "--no-engine", "--out", "b-1", "--seed", "3"]) == 2
    assert "--no-engine, --seed, --out would have no effect" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--int8"]) == 2
    assert "is a folder and no bundle" in capsys.readouterr().err


@pytest.mark.parametrize("odd", [["--seed", "-1"], ["--cells", "0"], ["--cells", "many"]])
def test_numbers_that_are_none_are_wrong_usage(
    checkpoint: Path, tmp_path: Path, odd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(checkpoint), "--int8", "--calibration", str(tmp_path), "--out", str(tmp_path / "b-1"), *odd])
    assert "is no whole number" in capsys.readouterr().err


def test_a_bundle_below_a_file_is_refused_before_the_work(
    checkpoint: Path, drawn_cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, drawn_cells, checkpoint / "deeper" / "b-1") == 2
    assert "is no folder of yours" in capsys.readouterr().err


def test_a_checkpoint_without_cells_or_a_place_is_wrong_usage(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), "--int8"]) == 2
    assert "--calibration" in capsys.readouterr().err
