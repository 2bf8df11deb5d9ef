"""The lint finds what TensorRT would refuse or leave unfused, and nothing in what it takes."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest

from common.errors import UsageError
from contract.bundle import FP32, INT8, INT8_CPU, SHIPPED
from export.lint import lint, main
from export.lint_rules import Finding
from export.quantize import convolutions, quantize
from tests.planted import FAULTS, Plan


def told(findings: Iterable[Finding]) -> set[tuple[str, str, str]]:
    return {(f.severity, f.rule, f.node) for f in findings}


def test_a_block_as_tensorrt_wants_it_is_clean(tmp_path: Path) -> None:
    path = Plan().save(tmp_path / "block.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    assert lint(path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_at_its_node(tmp_path: Path, fault: str) -> None:
    sabotage, severity, rule, node = FAULTS[fault]
    plan = Plan()
    sabotage(plan)
    findings = lint(plan.save(tmp_path / "block.onnx"))
    assert (severity, rule, node) in told(findings)
    assert all(f.remedy for f in findings)


def test_the_wrong_number_of_scales_is_found(tmp_path: Path) -> None:
    plan = Plan()
    plan.constants |= {"first_w_scale": np.ones(3, np.float32), "first_w_zero": np.zeros(3, np.int8)}
    assert ("refused", "weight axis", "first_w_back_node") in told(lint(plan.save(tmp_path / "block.onnx")))


def test_the_shipped_graph_for_tensorrt_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(SHIPPED / INT8) == []
    assert main([str(SHIPPED / INT8)]) == 0
    assert "clean" in capsys.readouterr().out


def test_the_cpu_graph_for_the_cpu_is_full_of_findings(capsys: pytest.CaptureFixture[str]) -> None:
    found = {f.rule for f in lint(SHIPPED / INT8_CPU)}
    assert {"uint8", "zero-point", "bias", "both branches"} <= found
    assert main([str(SHIPPED / INT8_CPU)]) == 1
    assert "refused" in capsys.readouterr().out


def test_a_graph_without_quantisation_gets_a_note() -> None:
    assert [(f.severity, f.rule) for f in lint(SHIPPED / FP32)] == [("note", "no Q/DQ")]
    assert main([str(SHIPPED / FP32)]) == 0


def test_a_graph_with_kept_layers_is_clean(tmp_path: Path) -> None:
    model = onnx.load(SHIPPED / FP32)
    ranges = {name: (-1.0, 1.0) for node in model.graph.node for name in (*node.input, *node.output)}
    for name in convolutions(model):
        onnx.save(quantize(model, ranges, "tensorrt", keep_float=[name]), tmp_path / "kept.onnx")
        assert lint(tmp_path / "kept.onnx") == []


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x89PNG\r\n\x1a\n" * 9])
def test_what_is_no_onnx_file_is_refused_in_words(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(UsageError, match="there is no file"):
        lint(path)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no ONNX model"):
        lint(path)
    assert main([str(path)]) == 2
    assert "is no ONNX model" in capsys.readouterr().err
