"""From a checkpoint to a bundle, on the command line: what the bundle holds."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.methods import METHODS
from calibration.ranges import Table
from calibration.strata import fingerprint, stratified
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
from contract.manifest import ClassName, InputSpec
from contract.signature import UNSIGNED, Trust
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.sample import labelled
from export.__main__ import main
from export.golden import draw_cell, golden_batch
from tests.exporting import run
from training.checkpoint import read_classifier
from training.evaluate import main as evaluate
from training.evaluate import scores_of


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


def test_the_golden_batch_holds_a_cell_of_each_kind() -> None:
    """By the area of what is dark: a myeloblast's nucleus is the largest, a smudge has none."""
    spec = InputSpec(um_per_pixel=0.2, size=100, mean=(0, 0, 0), std=(1, 1, 1))
    kinds: tuple[ClassName, ...] = ("normal", "lymphoblast", "myeloblast", "other")
    crops = golden_batch(spec, kinds, {}).crops
    dark = (crops[..., 1] < 110).sum((1, 2))
    normal, small, large, smudge = (dark[k::4].mean() for k in range(4))
    assert smudge < min(normal, small) < max(normal, small) < large


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
    expected = fingerprint(read_crops([samples[k] for k in chosen], spec, um_per_pixel=0.2, quiet=True))
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
    assert f"{said['engines']['int8-cpu']['auroc']['value']:.2f}" in (tmp_path / "b-1" / MODEL_CARD).read_text()


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


def test_without_a_gate_the_manifest_says_so(checkpoint: Path, drawn_cells: Path, tmp_path: Path) -> None:
    assert run(checkpoint, drawn_cells, tmp_path / "b-1", "--no-gate") == 0
    assert open_bundle(tmp_path / "b-1", UNSIGNED).manifest.gate.state == "skipped"
    assert "SKIPPED" in (tmp_path / "b-1" / MODEL_CARD).read_text()


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


def test_an_engine_in_fp16_changes_nothing_in_the_bundle(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, made: Bundle
) -> None:
    """All graphs are in it, whatever engine is asked for."""
    options = ["--no-engine", "--check", "none", "--calibration", str(drawn_cells), "--out", str(tmp_path / "drawn-1")]
    assert main([str(checkpoint), "--fp16", "--method", "minmax", *options]) == 0
    again = open_bundle(tmp_path / "drawn-1", UNSIGNED).manifest
    assert again.files.keys() == made.manifest.files.keys()
    assert again.files[FP32] == made.manifest.files[FP32]
