"""`evaluate-classifier` on a checkpoint, and how figures are shown."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import MODEL_CARD, Bundle, open_bundle
from contract.manifest import Columns, Decision, Unknown
from contract.signature import UNSIGNED
from evaluation.datasets.sample import Kind, Sample
from evaluation.judgement import counts, judgement
from evaluation.readable import shown, table
from tests.drawn import write_cells
from tests.exporting import run
from training.checkpoint import read_classifier
from training.evaluate import main as evaluate
from training.fit import main as train
from training.fit import train as train_with
from training.recipe import Recipe, scale_of

KINDS: tuple[Kind, ...] = ("normal", "blast")


def test_a_checkpoint_can_be_evaluated_too(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "validation.json"
    options = ["--data", str(drawn_cells), "--layout", "folders", "--split", "validation", "--out", str(out)]
    assert evaluate([str(checkpoint), *options]) == 0
    report = json.loads(out.read_text())
    assert list(report["engines"]) == ["torch"]
    assert (report["data"]["cells"], report["data"]["patients"]) == (4, 1)
    told = capsys.readouterr()
    assert told.err.startswith("training: 16 cells (")
    assert "test: 4 cells (2 blast, 2 normal) of 1 patient; groups: " in told.err
    assert "scale: 0.2 um per pixel, as told for all images" in told.err
    assert "watch out: 4 cells of 1 patient are too few to speak of others" in told.out
    assert report["data"]["warning"] in told.out
    assert not re.search(r"\d\.\d{3}", told.out), "four cells give no figure of three places, nor an interval"
    assert {figure["low"] for figure in report["engines"]["torch"].values()} == {None}


def judged(patients: int, each: int) -> dict[str, Any]:
    """A report on blasts and normal cells that all are told rightly."""
    samples = [
        Sample(Path(f"{k}-{n}.png"), f"p{k}", kind, kind, "test")
        for k in range(patients)
        for n in range(each // 2)
        for kind in KINDS
    ]
    scores = np.array([[5.0, -5.0] if s.kind == "normal" else [-5.0, 5.0] for s in samples], np.float32)
    decision = Decision(temperature=1, threshold=0.5, uncertain_from=0.4, uncertain_to=0.6)
    data = {"layout": "folders", "split": "test", **counts(samples)}
    return {"data": data, **judgement(samples, {"fp32": scores}, {"fp32": decision})}


@pytest.mark.parametrize(("patients", "each"), [(1, 2), (4, 200), (50, 2), (49, 2), (5, 18)])
def test_figures_of_few_cells_or_patients_have_a_warning_and_no_interval(patients: int, each: int) -> None:
    report = judged(patients, each)
    few = patients < 5 or patients * each < 100
    text = table(report)
    assert ("watch out" in text) == few
    assert ("1.0000 (1.000 to 1.000)" in text) == (not few)
    assert ("1.00\n" in f"{text}\n") == few


def test_of_enough_cells_only_the_worst_patient_has_no_interval() -> None:
    """No draw of patients has a worse one than the worst."""
    figures = judged(5, 20)["engines"]["fp32"]
    assert {name for name, figure in figures.items() if figure["low"] is None} == {"patient_accuracy_worst"}


@pytest.fixture
def nobodys(drawn_cells: Path, tmp_path: Path) -> Path:
    """The drawn cells in two folders, without patients."""
    for kind in KINDS:
        (tmp_path / "cells" / kind).mkdir(parents=True)
        for k, path in enumerate(sorted(drawn_cells.rglob(f"{kind}/*.png"))):
            shutil.copy(path, tmp_path / "cells" / kind / f"{k}.png")
    return tmp_path / "cells"


def test_images_without_patients_are_refused_by_every_command_unless_that_is_meant(
    checkpoint: Path, nobodys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, out = ["--data", str(nobodys), "--layout", "folders"], tmp_path / "out"
    assert train([*cells, "--out", str(out)]) == 2
    assert evaluate([str(checkpoint), *cells, "--split", "test", "--out", str(out)]) == 2
    assert run(checkpoint, nobodys, tmp_path / "b-1", "--layout", "folders") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("24 of 24 images" in line and "--patients none" in line for line in lines)
    assert not out.exists()


def test_of_images_without_patients_everything_says_that_the_split_is_by_image(
    nobodys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe("folders", 0.2, epochs=1, size=48)
    model = train_with(nobodys, tmp_path / "training", recipe, patients="none")
    assert "the split is by image, leaky" in capsys.readouterr().err
    cells = ["--data", str(nobodys), "--layout", "folders", "--patients", "none"]
    assert evaluate([str(model), *cells, "--split", "test", "--out", str(tmp_path / "test.json")]) == 0
    assert "split by image, leaky" in capsys.readouterr().out
    assert json.loads((tmp_path / "test.json").read_text())["data"]["split_by"] == "by image, leaky"
    more = ["--layout", "folders", "--gate", str(nobodys), "--patients", "none", "--no-gate"]
    assert run(model, nobodys, tmp_path / "b-1", *more) == 0
    made = open_bundle(tmp_path / "b-1", UNSIGNED)
    card = made.read(MODEL_CARD).decode()
    assert "Its cells were split by image, leaky" in card
    assert "cells of one person may stand in several splits" in card
    assert "none of them in another split" not in card
    assert made.manifest.gate.on == "images, split by image, leaky, of the test split of layout folders"


def test_images_of_a_layout_have_the_scale_that_training_took(checkpoint: Path) -> None:
    recipe = read_classifier(checkpoint).recipe
    assert scale_of("folders", recipe) == 0.2
    assert scale_of("cnmc", recipe) is None, "each image has its own"
    assert scale_of("folders", {}) is None


def test_what_cells_can_not_tell_is_said_so() -> None:
    assert shown({"value": 0.5, "low": 0.25, "high": 0.75}) == "0.5000 (0.250 to 0.750)"
    assert shown({"value": 0.5, "low": None, "high": None}) == "0.5000"
    assert shown({"value": None, "low": None, "high": None}) == "n/a"


def test_a_tenth_nearest_to_the_threshold_may_stay_uncertain() -> None:
    """Of 20 cells the two on the wrong side lie nearest to it: without them all are right."""
    kinds = ["normal"] * 10 + ["blast"] * 10
    samples = [Sample(Path(f"{k}.png"), f"p{k}", kind, kind, "test") for k, kind in enumerate(kinds)]  # type: ignore[arg-type]
    margins = np.where(np.array(kinds) == "blast", 4.0, -4.0)
    margins[[0, 10]] = 0.2, -0.2
    decision = Decision(temperature=1, threshold=0.5, uncertain_from=0.5, uncertain_to=0.5)
    scores = np.column_stack([np.zeros(20), margins]).astype(np.float32)
    rest = judgement(samples, {"fp32": scores}, {"fp32": decision})["abstention"]
    assert rest["accuracy_of_the_rest"] == 0.9
    assert rest["accuracy_of_nine_tenths"] == rest["accuracy_of_nine_tenths_by_score"] == 1.0


def test_what_is_unlike_the_training_counts_towards_the_tenth_but_for_the_score_alone() -> None:
    kinds = ["normal"] * 10 + ["blast"] * 10
    samples = [Sample(Path(f"{k}.png"), f"p{k}", kind, kind, "test") for k, kind in enumerate(kinds)]  # type: ignore[arg-type]
    margins = np.where(np.array(kinds) == "blast", 4.0, -4.0)
    margins[[0, 10]] = 0.2, -0.2
    decision = Decision(temperature=1, threshold=0.5, uncertain_from=0.5, uncertain_to=0.5)
    scores = np.column_stack([np.zeros(20), margins, np.full(20, -9.0), np.ones(20)]).astype(np.float32)
    scores[1:3, 3] = 9.0
    columns, unknown = Columns(("normal", "blast", "other"), distance=True), Unknown(other=0.5, distance=2.0)
    given = judgement(samples, {"fp32": scores}, {"fp32": decision}, columns=columns, unknown=unknown)
    rest = given["abstention"]
    assert rest["accuracy_of_nine_tenths"] == pytest.approx(16 / 18)
    assert rest["accuracy_of_nine_tenths_by_score"] == 1.0


def test_resamples_tell_how_thresholds_hold_for_others_and_that_few_cells_show_little(
    made: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, out = write_cells(tmp_path / "cells", patients=12, each=3), tmp_path / "report.json"
    words = ["--data", str(cells), "--layout", "folders", "--resamples", "--um-per-pixel", "0.2", "--allow-unsigned"]
    assert evaluate([str(made.path), *words, "--out", str(out)]) == 0
    report, told = json.loads(out.read_text()), capsys.readouterr().out
    assert report["data_sets"]["folders"]["accuracy"]["mean"] > 0.5
    assert told.startswith(f"watch out: {report['warning']}\nthresholds chosen on half of the people")
    assert re.search(r"blasts_called_normal +0\.\d{3} \(.*; 0\.02 held in \d+%", told)
