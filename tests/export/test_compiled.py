"""An export has NVIDIA's compiler take its graphs, and ends where that refuses one."""

import json
from pathlib import Path

import pytest

from common.errors import GateError
from contract.bundle import FP32, INT8, INT8_CPU, REPORT, REPORT_PAGE, SHIPPED
from engines.rtx import is_installed
from export.compiled import CAPABILITIES, compile_graphs
from tests.exporting import run

pytestmark = [
    pytest.mark.rtx,
    pytest.mark.skipif(not is_installed(), reason="TensorRT-RTX is not installed; extra rtx brings it"),
]


def test_the_report_of_an_export_shows_every_convolution_in_int8(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lab-1"
    assert run(checkpoint, drawn_cells, out, "--no-gate", "--check", "rtx") == 0
    compiled = json.loads((out / REPORT).read_text())["compiled"]
    graphs = compiled["graphs"]
    assert [(one["precision"], one["capability"]) for one in graphs] == [
        (precision, capability) for precision in ("int8", "fp16", "fp32") for capability in CAPABILITIES
    ]
    for one in graphs:
        assert one["convolutions"] == 12
        assert one["in_int8"] == (12 if one["precision"] == "int8" else 0)
    page = (out / REPORT_PAGE).read_text()
    assert compiled["by"] in page
    assert compiled["says"].replace("'", "&#39;") in page
    assert "correlation" in page


def test_without_the_check_the_compiler_is_not_asked() -> None:
    assert compile_graphs({}, "none") is None


def test_a_graph_that_it_refuses_ends_the_export_with_its_words_beside_ours() -> None:
    files = {FP32: SHIPPED / FP32, INT8: SHIPPED / INT8_CPU}
    with pytest.raises(GateError, match=r"nothing was written.*Non-zero zero point.*Our lint says: refused") as refused:
        compile_graphs(files, "rtx")
    assert refused.value.exit_code == 3


def test_where_it_is_not_installed_the_export_says_how_to_install_it(
    checkpoint: Path, drawn_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("engines.rtx.MODULE", "tensorrt_rtx_that_nobody_has")
    assert run(checkpoint, drawn_cells, tmp_path / "lab-1", "--no-gate", "--check", "rtx") == 4
    assert ".[rtx]" in capsys.readouterr().err
    assert not (tmp_path / "lab-1").exists()
