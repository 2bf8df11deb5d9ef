"""The three graphs compute the same, each in the form that its runtime wants."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from calibration.ranges import Table, calibrate
from common.errors import CheckError, UsageError
from contract.bundle import FP32, INT8, INT8_CPU
from contract.decide import margins_of
from contract.manifest import InputSpec
from contract.pixels import stack
from contract.types import Crops
from export.golden import draw_cell
from export.make import write_int8
from export.quantize import POOLING, Target, convolutions, quantising, quantize
from export.sensitivity import sensitivity
from export.to_onnx import KNOWN, write_onnx
from tests.processor import saturates
from training.evaluate import scores_of
from training.network import Architecture, BlastNet, scores_by

SPEC = InputSpec(um_per_pixel=0.5, size=64, mean=(0.8, 0.7, 0.8), std=(0.15, 0.2, 0.12))


@dataclass(frozen=True)
class Graphs:
    """One network in torch, FP32, S8 and U8, with the cells that its ranges come from."""

    network: BlastNet
    spec: InputSpec
    crops: Crops
    table: Table
    folder: Path

    def load(self, name: str) -> onnx.ModelProto:
        return onnx.load(self.folder / name)


def untrained() -> BlastNet:
    """Random weights, and batch statistics that folding must not lose; blocks with and without a plain shortcut."""
    torch.manual_seed(0)
    network = BlastNet(Architecture(stem=16, stages=(32, 32), blocks=(1, 2))).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.2, 1)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return network


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The three graphs of an untrained network; the light of its cells differs widely, or all would score alike."""
    folder = tmp_path_factory.mktemp("graphs")
    rng = np.random.default_rng(1)
    drawn = (draw_cell(SPEC, blast=k % 2 == 0, rng=rng) * rng.uniform(0.2, 1, 3) for k in range(64))
    crops = stack((crop.astype(np.uint8) for crop in drawn), SPEC)
    network = untrained()
    write_onnx(network, SPEC, folder / FP32)
    table = calibrate(folder / FP32, crops, SPEC)
    write_int8({name: folder / name for name in (FP32, INT8, INT8_CPU)}, table)
    return Graphs(network, SPEC, crops, table, folder)


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def test_fp32_computes_what_torch_computes_at_any_batch_size(graphs: Graphs) -> None:
    for rows in (1, 5, 64):
        expected = scores_by(graphs.network, graphs.crops[:rows], graphs.spec)
        found = scores_of(graphs.folder / FP32, graphs.crops[:rows], graphs.spec)
        assert np.abs(found - expected).max() < 1e-4


def test_fp32_holds_only_known_operators_and_no_path_of_this_machine(graphs: Graphs) -> None:
    model = graphs.load(FP32)
    assert {node.op_type for node in model.graph.node} <= KNOWN
    assert max(i.version for i in model.opset_import) <= 20
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "scores")
    for name in (FP32, INT8, INT8_CPU):
        content = (graphs.folder / name).read_bytes()
        assert str(Path.cwd()).encode() not in content
        assert b"site-packages" not in content


@pytest.mark.parametrize(("name", "as_written"), [(INT8_CPU, False), (INT8, True)])
def test_int8_decides_as_fp32_does(graphs: Graphs, name: str, *, as_written: bool) -> None:
    """The margins of an untrained network are moved to the middle, so that a decision can flip."""
    expected = margins_of(scores_of(graphs.folder / FP32, graphs.crops, graphs.spec))
    found = margins_of(scores_of(graphs.folder / name, graphs.crops, graphs.spec, as_written=as_written))
    middle = np.median(expected)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * expected.std()
    assert ((found > middle) != (expected > middle)).sum() <= 3


def test_both_int8_graphs_compute_nearly_the_same(graphs: Graphs) -> None:
    cpu_graph = margins_of(scores_of(graphs.folder / INT8_CPU, graphs.crops, graphs.spec))
    reference = margins_of(scores_of(graphs.folder / INT8, graphs.crops, graphs.spec, as_written=True))
    assert np.sqrt(np.mean((cpu_graph - reference) ** 2)) < 0.1 * reference.std()


def test_the_runtime_computes_every_convolution_and_sum_of_the_cpu_graph_in_int8(
    graphs: Graphs, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(graphs.folder / INT8_CPU), options, providers=["CPUExecutionProvider"])
    before = Counter(node.op_type for node in graphs.load(FP32).graph.node)
    after = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert after["QLinearConv"] == before["Conv"] == 9
    assert after["QLinearAdd"] == before["Add"] == 3
    assert after["Conv"] == after["FusedConv"] == after["Relu"] == 0


def test_the_graph_for_tensorrt_has_zero_points_of_zero_and_positive_scales(graphs: Graphs) -> None:
    model = graphs.load(INT8)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert nodes
    for node in nodes:
        assert constants[node.input[1]].min() > 0
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    assert max(i.version for i in model.opset_import) <= 20


def test_the_graph_for_tensorrt_has_nothing_between_a_convolution_and_its_relu(graphs: Graphs) -> None:
    model = graphs.load(INT8)
    made_by = producers(model)
    relus = [n for n in model.graph.node if n.op_type == "Relu"]
    assert len(relus) == 7
    assert {made_by[n.input[0]].op_type for n in relus} == {"Conv", "Add"}


def test_the_graph_for_tensorrt_quantises_one_branch_of_a_sum_and_no_head(graphs: Graphs) -> None:
    model = graphs.load(INT8)
    made_by = producers(model)
    for node in model.graph.node:
        inputs = sorted(made_by[name].op_type for name in node.input if name in made_by)
        if node.op_type == "Add":
            assert inputs == ["Conv", "DequantizeLinear"]
        if node.op_type == "Conv":
            assert inputs == ["DequantizeLinear", "DequantizeLinear"]
        if node.op_type == "Gemm":
            assert "DequantizeLinear" not in inputs


@pytest.mark.parametrize("name", [INT8, INT8_CPU])
def test_features_are_pooled_from_what_the_convolution_behind_reads(graphs: Graphs, name: str) -> None:
    """So that a stage need not be written twice. The last stage has none behind: TensorRT's graph leaves it whole."""
    model = graphs.load(name)
    made_by = producers(model)

    def stage_of(node: onnx.NodeProto) -> str:
        """What is pooled, before what the CPU graph computes on unscaled numbers, and the largest of four."""
        tensor = str(node.input[0])
        while made_by[tensor].op_type in ("Cast", "MaxPool"):
            tensor = str(made_by[tensor].input[0])
        return tensor

    stages = [stage_of(n) for n in model.graph.node if n.op_type == "ReduceL2"]
    assert len(stages) == 4
    assert [stage_of(n) for n in model.graph.node if n.op_type == "ReduceMean"][:4] == stages
    assert [n.op_type for n in model.graph.node].count("MaxPool") == 1
    read = [made_by[stage].op_type for stage in stages]
    if name == INT8_CPU:
        assert read == ["QuantizeLinear"] * 4
        convolved = {made_by[n.input[0]].input[0] for n in model.graph.node if n.op_type == "Conv"}
    else:
        assert read == ["DequantizeLinear"] * 3 + ["Relu"]
        convolved = {n.input[0] for n in model.graph.node if n.op_type == "Conv"}
    assert set(stages[:3]) <= convolved


def test_weights_have_a_scale_per_output_channel(graphs: Graphs) -> None:
    for name in (INT8, INT8_CPU):
        model = graphs.load(name)
        constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        kernels = [k for k, v in constants.items() if v.dtype == np.int8 and v.ndim == 4]
        assert len(kernels) == 9
        for kernel in kernels:
            assert len(constants[kernel.replace("_int8", "_scale")]) == len(constants[kernel])
            assert np.abs(constants[kernel]).max() == 127


def test_the_cpu_graph_drops_relus_and_stores_whole_biases(graphs: Graphs) -> None:
    model = graphs.load(INT8_CPU)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Relu"] == 0
    assert sum(i.data_type == onnx.TensorProto.INT32 for i in model.graph.initializer) == kinds["Conv"]


def test_both_graphs_share_every_scale_of_an_activation(graphs: Graphs) -> None:
    tables = []
    for name in (INT8, INT8_CPU):
        values = {i.name: numpy_helper.to_array(i) for i in graphs.load(name).graph.initializer}
        tables.append({k: float(v) for k, v in values.items() if k.endswith("_scale") and v.ndim == 0})
    shared = tables[0].keys() & tables[1].keys()
    assert tables[0].keys() <= tables[1].keys()
    assert len(shared) == 9
    assert all(tables[0][k] == tables[1][k] for k in shared)


def test_the_cpu_graph_reads_the_picture_in_a_whole_block_of_channels(graphs: Graphs, tmp_path: Path) -> None:
    """The fourth channel is empty and weighs nothing: cut away again, results are the same to the bit.

    Where sums of two products are cut off, it matters which two these are.
    """
    wide = graphs.load(INT8_CPU)
    values = {i.name: i for i in wide.graph.initializer}
    (pad,) = (n for n in wide.graph.node if n.op_type == "Pad")
    (reader,) = (n for n in wide.graph.node if pad.output[0] in n.input)
    kernel = next(name for name, i in values.items() if i.data_type == onnx.TensorProto.INT8 and i.dims[1:2] == [4])
    stem = numpy_helper.to_array(values[kernel])
    assert not stem[:, 3:].any()
    values[kernel].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(stem[:, :3]), kernel))
    reader.input[0] = pad.input[0]
    wide.graph.node.remove(pad)
    onnx.save(wide, tmp_path / "narrow.onnx")
    narrow = scores_of(tmp_path / "narrow.onnx", graphs.crops, graphs.spec)
    here = scores_of(graphs.folder / INT8_CPU, graphs.crops, graphs.spec)
    assert np.array_equal(narrow, here) or (saturates() and np.abs(narrow - here).max() < 0.05)


def test_quantising_leaves_the_fp32_graph_alone(graphs: Graphs) -> None:
    model = graphs.load(FP32)
    before = model.SerializeToString()
    quantize(model, graphs.table.ranges, "cpu")
    assert model.SerializeToString() == before


def test_a_table_of_another_graph_is_refused(graphs: Graphs) -> None:
    with pytest.raises(UsageError, match="calibrate this one"):
        quantize(graphs.load(FP32), {"image": (0.0, 1.0)}, "tensorrt")


def test_an_operator_without_an_int8_recipe_is_refused(graphs: Graphs, tmp_path: Path) -> None:
    network = nn.Sequential(graphs.network, nn.Softmax(dim=1)).eval()
    with pytest.raises(CheckError, match="Softmax"):
        write_onnx(network, graphs.spec, tmp_path / "model.onnx")


def kept_cases(model: onnx.ModelProto) -> dict[str, set[str]]:
    """Convolutions to keep around the sum whose shortcut is a convolution too, and all of them."""
    made_by = producers(model)
    add = next(n for n in model.graph.node if n.op_type == "Add" and {made_by[i].op_type for i in n.input} == {"Conv"})
    one, other = (made_by[i].name for i in add.input)
    convs = set(convolutions(model))
    return {"stem": {convolutions(model)[0]}, "one": {one}, "other": {other}, "both": {one, other}, "all": convs}


@pytest.mark.parametrize("case", ["stem", "one", "other", "both", "all"])
def test_kept_convolutions_stay_in_floating_point_in_both_graphs(graphs: Graphs, tmp_path: Path, case: str) -> None:
    """They read unrounded inputs and their own weights; nothing rounds what they give to a sum."""
    model = graphs.load(FP32)
    kept = kept_cases(model)[case]
    before = {node.name: node for node in model.graph.node}
    expected = margins_of(scores_of(graphs.folder / FP32, graphs.crops, graphs.spec))
    targets: tuple[Target, ...] = ("cpu", "tensorrt")
    for target in targets:
        made = quantize(model, graphs.table.ranges, target, keep_float=kept)
        made_by = producers(made)
        for node in made.graph.node:
            if node.name in kept:
                assert list(node.input)[1:] == list(before[node.name].input)[1:]
                assert made_by.get(node.input[0], node).op_type != "DequantizeLinear"
            if node.op_type == "Add":
                plain = {i for i in before[node.name].input if producers(model)[i].name in kept}
                assert plain <= set(node.input)
        path = tmp_path / f"{target}.onnx"
        onnx.save(made, path)
        found = margins_of(scores_of(path, graphs.crops, graphs.spec, as_written=target == "tensorrt"))
        assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * expected.std()


def test_keeping_every_node_gives_fp32_again(graphs: Graphs, tmp_path: Path) -> None:
    model = graphs.load(FP32)
    every = quantising(model)
    assert {n.op_type for n in model.graph.node if n.name in every} == {"Conv", "Add"} | POOLING
    onnx.save(quantize(model, graphs.table.ranges, "cpu", keep_float=every), tmp_path / "kept.onnx")
    found = scores_of(tmp_path / "kept.onnx", graphs.crops, graphs.spec)
    assert np.abs(found - scores_of(graphs.folder / FP32, graphs.crops, graphs.spec)).max() < 1e-4


def test_the_runtime_still_computes_the_other_convolutions_in_int8(graphs: Graphs, tmp_path: Path) -> None:
    """All but those whose unrounded result a kept convolution reads: that result has to be floating point."""
    model = graphs.load(FP32)
    made_by = producers(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    for case, kept in kept_cases(model).items():
        cpu_graph = quantize(model, graphs.table.ranges, "cpu", keep_float=kept)
        ort.InferenceSession(cpu_graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        after = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
        relus = [made_by[n.input[0]] for n in model.graph.node if n.name in kept and n.input[0] in made_by]
        sources = {made_by[relu.input[0]].name for relu in relus if made_by[relu.input[0]].op_type == "Conv"}
        assert after["QLinearConv"] == 9 - len(kept | sources), case


def test_a_node_that_is_not_there_can_not_be_kept(graphs: Graphs) -> None:
    model = graphs.load(FP32)
    for name in ("guess", next(n.name for n in model.graph.node if n.op_type == "Gemm")):
        with pytest.raises(UsageError, match=f"{name}.*{convolutions(model)[-1]}"):
            quantize(model, graphs.table.ranges, "cpu", keep_float=[name])


def test_the_layer_with_a_broken_range_costs_most(graphs: Graphs) -> None:
    model = graphs.load(FP32)
    broken = convolutions(model)[1]
    tensor = next(n.input[0] for n in model.graph.node if n.name == broken)
    low, high = graphs.table.ranges[tensor]
    ranges = {**graphs.table.ranges, tensor: (8 * low, 8 * high)}
    rows = sensitivity(model, graphs.table.model_copy(update={"ranges": ranges}), graphs.crops, SPEC, quiet=True)
    readers = {n.name for n in model.graph.node if tensor in n.input}
    assert {row.node for row in rows} == set(convolutions(model))
    assert rows[0].node in readers
    assert rows[0].alone == max(row.alone for row in rows)
    with pytest.raises(UsageError, match="no cell"):
        sensitivity(model, graphs.table, graphs.crops[:0], SPEC)
