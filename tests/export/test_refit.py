"""Heads that are fitted again on a bundle's features, out of fold."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import UsageError
from contract.bundle import Bundle
from contract.signature import UNSIGNED
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.sample import Sample
from tests.drawn import write_cells
from training.evaluate import main as evaluate
from training.judge import open_judge
from training.refit import FITTED_SO, ONE_AREA, features_of, fold_report, shown_folds


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Cells of twelve people, each in one of three folds."""
    root = write_cells(tmp_path_factory.mktemp("folded"), patients=12, each=3)
    people = sorted({s.patient for s in LAYOUTS["folders"].find(root)})
    cells = (replace(s, um_per_pixel=0.2, fold=people.index(s.patient) % 3) for s in LAYOUTS["folders"].find(root))
    return list(cells)


def test_the_features_of_the_int8_graph_are_nearly_those_of_the_network(
    made: Bundle, checkpoint: Path, folded: list[Sample]
) -> None:
    bundle, network = open_judge(made.path, UNSIGNED), open_judge(checkpoint)
    crops = read_crops(folded, bundle.spec, colours=bundle.colours, quiet=True)
    found, expected = (features_of(judge, crops, judge.spec) for judge in (bundle, network))
    assert found.shape == expected.shape
    assert np.median(np.abs(found - expected)) < 0.05


def test_out_of_fold_figures_come_with_intervals_over_people_and_beside_size_alone(
    made: Bundle, folded: list[Sample]
) -> None:
    report = fold_report(open_judge(made.path, UNSIGNED), folded, quiet=True)
    assert (report["cells"], report["groups"]) == (72, 12)
    found = report["figures"]
    assert found["auroc"]["value"] > 0.8, "drawn blasts differ from drawn normal cells at first sight"
    assert found["auroc"]["low"] <= found["auroc"]["value"] <= found["auroc"]["high"]
    assert set(report["sizes"]) == {"drawn 5 % too small", "drawn 5 % too large", ONE_AREA, FITTED_SO}
    assert all(abs(size["auroc"] - found["auroc"]["value"]) < 0.3 for size in report["sizes"].values())
    assert all(0 <= size["called"] <= 1 for size in report["sizes"].values())
    assert found["gain"]["value"] == pytest.approx(found["auroc"]["value"] - found["auroc_beside"]["value"])


def test_few_cells_or_people_give_a_warning_and_no_interval(made: Bundle, folded: list[Sample]) -> None:
    few = fold_report(open_judge(made.path, UNSIGNED), folded, quiet=True)
    text = shown_folds(few)
    assert text.startswith("watch out: 72 cells of 12 patients are too few")
    assert not re.search(r"\d\.\d{3}", text)
    enough = shown_folds({**few, "warning": ""})
    assert re.search(r"auroc +\d\.\d{4} \(\d\.\d{3} to \d\.\d{3}\)", enough)


def test_cells_without_folds_are_refused(
    made: Bundle, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(made.path), "--data", str(drawn_cells), "--layout", "folders", "--folds", "--allow-unsigned"]
    assert evaluate([*words, "--out", str(tmp_path / "report.json")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("training: 16 cells (")
    assert "fold" in said
    assert not (tmp_path / "report.json").exists()


def test_a_person_in_two_folds_is_refused(made: Bundle, folded: list[Sample]) -> None:
    moved = [replace(s, fold=(s.fold or 0) + 1) if k == 0 else s for k, s in enumerate(folded)]
    with pytest.raises(UsageError, match="more than one fold"):
        fold_report(open_judge(made.path, UNSIGNED), moved, quiet=True)


def test_the_report_says_what_became_of_images_without_a_cell(made: Bundle, drawn_cells: Path, tmp_path: Path) -> None:
    words = [str(made.path), "--data", str(drawn_cells), "--layout", "folders", "--split", "test", "--allow-unsigned"]
    assert evaluate([*words, "--um-per-pixel", "0.2", "--out", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["not_found"] + report["data"]["cells"] >= 4
