"""`evaluate-classifier` on a checkpoint, and how figures are shown."""

import json
from pathlib import Path

from training.checkpoint import read_classifier
from training.evaluate import main as evaluate
from training.evaluate import shown
from training.recipe import scale_of


def test_a_checkpoint_can_be_evaluated_too(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "validation.json"
    options = ["--data", str(drawn_cells), "--layout", "folders", "--split", "validation", "--out", str(out)]
    assert evaluate([str(checkpoint), *options]) == 0
    report = json.loads(out.read_text())
    assert list(report["engines"]) == ["torch"]
    assert (report["data"]["cells"], report["data"]["patients"]) == (4, 1)
    bare = {name for name, figure in report["engines"]["torch"].items() if figure["low"] is None}
    assert bare == {"patient_accuracy_worst"}, "no draw of patients has a worse one than the worst"


def test_images_of_a_layout_have_the_scale_that_training_took(checkpoint: Path) -> None:
    recipe = read_classifier(checkpoint).recipe
    assert scale_of("folders", recipe) == 0.2
    assert scale_of("cnmc", recipe) is None, "each image has its own"
    assert scale_of("folders", {}) is None


def test_what_cells_can_not_tell_is_said_so() -> None:
    assert shown({"value": 0.5, "low": 0.25, "high": 0.75}) == "0.5000 (0.250 to 0.750)"
    assert shown({"value": 0.5, "low": None, "high": None}) == "0.5000"
    assert shown({"value": None, "low": None, "high": None}) == "n/a"
