"""A training starts from the trunk of a checkpoint or of a bundle."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from common.errors import IntegrityError, UsageError
from contract import bundle
from contract.manifest import InputSpec
from engines.session import open_session
from training.checkpoint import save
from training.network import Architecture, BlastNet
from training.trunk import digest_of, trunk_of


def test_the_trunk_of_a_bundle_computes_what_its_graph_computes() -> None:
    opened, trunk = bundle.open_bundle(bundle.SHIPPED), trunk_of(bundle.SHIPPED)
    network = BlastNet().eval()
    network.load_state_dict(dict(trunk.weights), strict=False)
    model = onnx.load_from_string(opened.read(bundle.FP32))
    last = [node for node in model.graph.node if node.op_type == "Relu"][-1].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString())
    batch = opened.golden.batch[:4]
    (expected,) = session.run([last], {trunk.input.name: batch})
    with torch.inference_mode():
        found = network.body(network.stem(torch.from_numpy(batch))).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert trunk.input == opened.manifest.input


def test_a_bundle_that_was_changed_is_not_started_from(tmp_path: Path) -> None:
    shutil.copytree(bundle.SHIPPED, tmp_path / "bundle")
    graph = tmp_path / "bundle" / bundle.FP32
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="changed after it was made"):
        trunk_of(tmp_path / "bundle")


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = BlastNet(Architecture(stem=64))
    spec = InputSpec(um_per_pixel=0.2, size=32, mean=(0, 0, 0), std=(1, 1, 1))
    save(tmp_path / "other.pt", {"weights": other.state_dict(), "input": spec.model_dump()})
    with pytest.raises(UsageError, match="of another shape"):
        trunk_of(tmp_path / "other.pt")


def test_a_start_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--start .*absent\.pt can not be read"):
        digest_of(tmp_path / "absent.pt")
