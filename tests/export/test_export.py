"""From a checkpoint to a bundle, on the command line."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.methods import METHODS
from calibration.ranges import Table
from calibration.sample import fingerprint, stratified
from contract.bundle import (
    CALIBRATION,
    FP32,
    INT8,
    INT8_CPU,
    MODEL_CARD,
    REPORT,
    REPORT_PAGE,
    SHIPPED,
    Bundle,
    open_bundle,
)
from contract.manifest import InputSpec
from contract.signature import UNSIGNED, Trust
from export.__main__ import main
from export.golden import draw_cell
from tests.drawn import write_cells
from training.checkpoint import read_classifier
from training.data import LAYOUTS, labelled, read_crops
from training.evaluate import main as evaluate
from training.evaluate import scale_of, scores_of, shown
from training.fit import train
from training.recipe import Recipe


def run(checkpoint: Path, cells: Path, out: Path, *more: str) -> int:
    return main([str(checkpoint), "--int8", "--no-engine", "--calibration", str(cells), "--out", str(out), *more])


@pytest.fixture(scope="module")
def drawn_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with two normal cells and two blasts each, 0.2 um per pixel."""
    return write_cells(tmp_path_factory.mktemp("cells"), patients=6, each=2)


@pytest.fixture(scope="module")
def checkpoint(drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What train-classifier leaves after one epoch on the drawn cells."""
    out = tmp_path_factory.mktemp("training")
    return train(drawn_cells, out, Recipe("folders", 0.2, epochs=3, size=48), quiet=True)


@pytest.fixture(scope="module")
def made(checkpoint: Path, drawn_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "drawn-1"
    assert run(checkpoint, drawn_cells, out) == 0
    return open_bundle(out, UNSIGNED)


def test_a_folder_of_images_is_enough_to_make_a_bundle(made: Bundle) -> None:
    """Without a layout, of the 24 images a third is kept for the gate and a quarter of the others for the decision."""
    table = Table.model_validate_json((made.path / CALIBRATION).read_text())
    manifest = made.manifest
    assert (manifest.id, manifest.model, manifest.version) == ("drawn-1", "drawn", 1)
    assert manifest.calibration.cells == table.cells == 12
    assert (manifest.gate.state, manifest.gate.cells) == ("passed", 8)
    assert manifest.calibration.sample_sha256 == table.sample_sha256
    assert table.model_sha256 == manifest.files[FP32]
    assert [c.name for c in manifest.classes] == ["normal", "blast"]


def test_the_method_that_comes_nearest_to_fp32_on_cells_kept_for_it_is_used_and_reported(made: Bundle) -> None:
    found = json.loads((made.path / REPORT).read_text())["calibration"]
    distances = [max(row["twin"], row["s8"]) for row in found["methods"]]
    assert {row["method"] for row in found["methods"]} == set(METHODS)
    assert distances == sorted(distances)
    assert all(row["cells"] == 4 for row in found["methods"])
    assert found["method"] == found["methods"][0]["method"] == made.manifest.calibration.method
    assert found["asked"] == "auto"
    assert "Methods against FP32 on a quarter of the calibration cells" in (made.path / REPORT_PAGE).read_text()


def test_a_method_that_is_asked_for_is_used_whatever_its_figures(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path
) -> None:
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--method", "mse", "--no-gate") == 0
    found = json.loads((tmp_path / "b-1" / REPORT).read_text())["calibration"]
    assert (found["method"], found["asked"], found["methods"]) == ("mse", "mse", [])
    assert open_bundle(tmp_path / "b-1", UNSIGNED).manifest.calibration.method == "mse"


def test_the_report_says_which_strata_and_stains_the_sample_covers(made: Bundle) -> None:
    report = json.loads((made.path / REPORT).read_text())
    covers = report["calibration"]["sampling"]
    assert (covers["cells"], covers["candidates"]) == (12, 12)
    assert 6 <= covers["strata"] <= 12
    assert covers["hue_degrees"] == covers["candidates_hue_degrees"]
    assert "hue" in (made.path / REPORT_PAGE).read_text()


def test_the_golden_scores_are_what_the_graphs_say(made: Bundle) -> None:
    assert set(made.golden.scores) == {FP32, INT8, INT8_CPU}
    for name, scores in made.golden.scores.items():
        again = scores_of(made.path / name, made.golden.crops, made.manifest.input)
        assert np.abs(again - scores).max() < 1e-3


def test_the_golden_cells_are_drawn_the_same_each_time() -> None:
    spec = InputSpec(um_per_pixel=0.5, size=48, mean=(0, 0, 0), std=(1, 1, 1))
    first, second = (draw_cell(spec, blast=True, rng=np.random.default_rng(0)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.std() > 10


LABELLED = ("--layout", "folders", "--um-per-pixel", "0.2")


def test_a_labelled_folder_gives_each_split_its_task(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    """Training cells calibrate, validation cells fit INT8's decision, test cells gate."""
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", *LABELLED, "--gate", str(drawn_cells)) == 0
    samples = labelled(LAYOUTS["folders"].find(drawn_cells), "training")
    spec = read_classifier(checkpoint).input
    chosen = stratified([f"{s.kind} {s.patient}" for s in samples], 512, 0)
    expected = fingerprint(read_crops([samples[k] for k in chosen], 0.2, spec, quiet=True))
    manifest = open_bundle(tmp_path / "b-1", UNSIGNED).manifest
    assert (manifest.calibration.cells, manifest.calibration.sample_sha256) == (16, expected)
    assert manifest.gate.cells == 4


def test_report_and_card_say_what_evaluate_classifier_says(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", *LABELLED, "--gate", str(drawn_cells)) == 0
    options = ["--data", str(drawn_cells), "--layout", "folders", "--um-per-pixel", "0.2", "--split", "test"]
    assert evaluate([str(tmp_path / "b-1"), "--allow-unsigned", *options, "--out", str(tmp_path / "test.json")]) == 0
    said = json.loads((tmp_path / "test.json").read_text())
    report = json.loads((tmp_path / "b-1" / REPORT).read_text())
    inside = next(e for e in report["evaluations"] if e["data"]["split"] == "test")
    assert inside == {key: said[key] for key in inside}
    assert f"{said['engines']['int8-cpu']['auroc']['value']:.4f}" in (tmp_path / "b-1" / MODEL_CARD).read_text()


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here: an engine would be built")
def test_without_tensorrt_the_bundle_is_written_and_exit_code_4_says_what_is_missing(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--int8", "--calibration", str(drawn_cells), "--out", str(tmp_path / "b-1")]
    assert main([str(checkpoint), *arguments]) == 4
    said, text = capsys.readouterr()
    report = json.loads((tmp_path / "b-1" / REPORT).read_text())
    assert report["gate"]["caveat"].startswith("8 cells show little")
    for told in (said, (tmp_path / "b-1" / REPORT_PAGE).read_text(), (tmp_path / "b-1" / MODEL_CARD).read_text()):
        assert report["gate"]["caveat"] in told, "a gate on so few proves next to nothing"
    assert f"{tmp_path / 'b-1'} is written and complete" in text
    assert "tensorrt" in text
    open_bundle(tmp_path / "b-1", UNSIGNED)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here: an engine would be built")
def test_of_a_bundle_the_engine_alone_is_built_and_only_of_one_that_is_trusted(
    made: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(made.path), "--int8"]) == 5
    assert "not signed" in capsys.readouterr().err
    assert main([str(made.path), "--int8", "--allow-unsigned"]) == 4
    assert "no TensorRT engine" in capsys.readouterr().err


def test_a_checkpoint_without_cells_or_a_place_is_wrong_usage(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), "--int8"]) == 2
    assert "--calibration" in capsys.readouterr().err


def test_layers_kept_in_float_and_the_sensitivity_table_come_into_manifest_and_report(
    made: Bundle, checkpoint: Path, drawn_cells: Path, tmp_path: Path
) -> None:
    first = next(n.name for n in onnx.load(made.path / FP32).graph.node if n.op_type == "Conv")
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--keep-float", first, "--sensitivity") == 0
    assert open_bundle(tmp_path / "b-1", UNSIGNED).manifest.calibration.keep_float == (first,)
    rows = json.loads((tmp_path / "b-1" / REPORT).read_text())["sensitivity"]
    assert first in {row["node"] for row in rows}


def test_a_signed_bundle_opens_with_the_public_key_that_keygen_made(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keygen", "--out", str(tmp_path / "KEY.pem")]) == 0
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--key", str(tmp_path / "KEY.pem")) == 0
    public = (tmp_path / "KEY.pub").read_text().strip()
    assert open_bundle(tmp_path / "b-1", Trust.of([public])).signed_by in capsys.readouterr().out


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


def test_without_a_gate_the_manifest_says_so(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--no-gate") == 0
    assert open_bundle(tmp_path / "b-1", UNSIGNED).manifest.gate.state == "skipped"
    assert "SKIPPED" in (tmp_path / "b-1" / MODEL_CARD).read_text()


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


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_the_engine_of_a_bundle_is_built_alone_or_its_lack_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    """Where TensorRT is not, exit 4 says what is missing, and that the bundle is none the worse."""
    assert main([str(SHIPPED), f"--{precision}", "--state-dir", str(tmp_path)]) == 4
    text = capsys.readouterr().err
    assert "is whole and unchanged, but it has no TensorRT engine: " in text
    assert "tensorrt" in text
    assert list(tmp_path.iterdir()) == []


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


def test_an_engine_in_fp16_changes_nothing_in_the_bundle(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, made: Bundle
) -> None:
    """All graphs are in it, whatever engine is asked for."""
    options = ["--no-engine", "--calibration", str(drawn_cells), "--out", str(tmp_path / "drawn-1")]
    assert main([str(checkpoint), "--fp16", "--method", "minmax", *options]) == 0
    again = open_bundle(tmp_path / "drawn-1", UNSIGNED).manifest
    assert again.files.keys() == made.manifest.files.keys()
    assert again.files[FP32] == made.manifest.files[FP32]


def test_a_checkpoint_can_be_evaluated_too(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "validation.json"
    options = ["--data", str(drawn_cells), "--layout", "folders", "--split", "validation", "--out", str(out)]
    assert evaluate([str(checkpoint), *options]) == 0
    report = json.loads(out.read_text())
    assert list(report["engines"]) == ["torch"]
    assert (report["data"]["cells"], report["data"]["patients"]) == (4, 1)


def test_images_of_a_layout_have_the_scale_that_training_took(checkpoint: Path) -> None:
    recipe = read_classifier(checkpoint).recipe
    assert scale_of("folders", recipe) == 0.2
    assert scale_of("cnmc", recipe) == LAYOUTS["cnmc"].um_per_pixel
    assert scale_of("folders", {}) == LAYOUTS["folders"].um_per_pixel


def test_what_cells_can_not_tell_is_said_so() -> None:
    assert shown({"value": 0.5, "low": 0.25, "high": 0.75}) == "0.5000 (0.250 to 0.750)"
    assert shown({"value": None, "low": None, "high": None}) == "n/a"


def test_the_shipped_bundle_says_here_what_it_said_where_it_was_made() -> None:
    shipped = open_bundle(SHIPPED)
    for name, scores in shipped.golden.scores.items():
        again = scores_of(shipped.path / name, shipped.golden.crops, shipped.manifest.input)
        margin, before = again[:, 1] - again[:, 0], scores[:, 1] - scores[:, 0]
        assert np.abs(margin - before).max() < (1e-3 if name == FP32 else 0.3)


def test_the_shipped_bundle_is_as_accurate_as_required() -> None:
    """AUROC at least 0.985 on unseen patients, accuracy within half a point of FP32, one decision in 100 flipped."""
    report = json.loads((SHIPPED / REPORT).read_text())
    (found,) = (e for e in report["evaluations"] if e["data"]["split"] == "test")
    fp32, int8 = found["engines"]["fp32"], found["engines"]["int8-cpu"]
    assert int8["auroc"]["value"] >= 0.985
    assert abs(int8["accuracy"]["value"] - fp32["accuracy"]["value"]) <= 0.005
    assert found["agreement"]["int8-cpu"]["flip_share"] <= 0.01
