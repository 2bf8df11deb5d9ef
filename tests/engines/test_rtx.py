"""NVIDIA's own compiler takes our graphs, computes their convolutions in INT8, and refuses what it should."""

import re
from pathlib import Path

import onnx
import pytest

from common.errors import EngineError
from contract.bundle import FP32, INT8, INT8_CPU
from engines.half import half_copy
from engines.rtx import compile_graph, is_installed
from export.compiled import CAPABILITIES
from export.lint import lint
from tests.planted import FAULTS, Plan

ROOT = Path(__file__).parents[2]
BUNDLES = [path.parent.name for path in sorted(ROOT.glob("models/*/manifest.json"))]
TABLE = ROOT / "docs" / "nvidia-compiler.md"
pytestmark = [
    pytest.mark.rtx,
    pytest.mark.skipif(not is_installed(), reason="TensorRT-RTX is not installed; extra rtx brings it"),
]


def convolutions(graph: bytes) -> list[str]:
    return [node.name for node in onnx.load_model_from_string(graph).graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", BUNDLES)
def test_every_convolution_of_a_shipped_int8_graph_has_int8_activations_and_weights(name: str, capability: str) -> None:
    graph = (ROOT / "models" / name / INT8).read_bytes()
    (compiled,) = compile_graph(graph, [capability])
    layers = [compiled.convolution(node) for node in convolutions(graph)]
    assert len(layers) == 12
    assert [layer is not None and layer.is_int8 for layer in layers] == [True] * len(layers)
    assert compiled.plan_bytes > 100_000


@pytest.mark.parametrize(("precision", "word"), [("fp32", "Float"), ("fp16", "Half")])
@pytest.mark.parametrize("name", BUNDLES)
def test_the_graphs_in_floating_point_are_computed_as_they_say(name: str, precision: str, word: str) -> None:
    graph = (ROOT / "models" / name / FP32).read_bytes()
    graph = half_copy(graph) if precision == "fp16" else graph
    (compiled,) = compile_graph(graph, ["8.6"])
    for node in convolutions(graph):
        layer = compiled.convolution(node)
        assert layer is not None
        assert (layer.activations[0], layer.weights[0]) == (word, word)


@pytest.mark.parametrize("name", BUNDLES)
def test_the_cpu_graph_is_refused_in_nvidias_words(name: str) -> None:
    with pytest.raises(EngineError, match="Non-zero zero point is not supported"):
        compile_graph((ROOT / "models" / name / INT8_CPU).read_bytes(), ["8.6"])


def test_for_the_oldest_gpu_it_says_why_it_refuses() -> None:
    """The errors of a missing driver, which stand in its log too, are left out."""
    with pytest.raises(EngineError, match="FP32 GEMM is not supported") as refused:
        compile_graph((ROOT / "models" / BUNDLES[0] / INT8).read_bytes(), ["7.5"])
    assert "driver" not in str(refused.value)


def test_who_catches_which_planted_fault_is_as_the_table_says(tmp_path: Path) -> None:
    """Every fault that is `refused` by the lint's word is caught by one of the two at least."""
    told = {
        row[0]: (row[1], row[2])
        for row in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", TABLE.read_text(), re.MULTILINE)
    }
    for name, (sabotage, *_) in FAULTS.items():
        plan = Plan()
        sabotage(plan)
        path = plan.save(tmp_path / "block.onnx")
        ours = {finding.severity for finding in lint(path)}
        said = next(word for word in ("refused", "unfused", "note") if word in ours)
        assert (name, *told[name]) == (name, said, by_nvidia(path))


def by_nvidia(path: Path) -> str:
    graph = path.read_bytes()
    try:
        (compiled,) = compile_graph(graph, ["8.6"])
    except EngineError:
        return "refused"
    layers = [compiled.convolution(node) for node in convolutions(graph)]
    slow = sum(layer is None or not layer.is_int8 for layer in layers)
    return f"taken, {slow} of {len(layers)} convolutions not in INT8" if slow else "taken, all in INT8"


def test_a_gpu_that_it_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match=r"does not know compute capability 8\.7"):
        compile_graph((ROOT / "models" / BUNDLES[0] / INT8).read_bytes(), ["8.7"])


def test_what_is_no_graph_is_refused_in_words() -> None:
    with pytest.raises(EngineError, match="can not read the graph"):
        compile_graph(b"no graph at all", ["8.6"])
