"""torch -> ONNX: the FP32 graph from which the INT8 graphs are made."""

import copy
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from common.errors import CheckError
from contract.manifest import InputSpec
from engines.session import open_session

OPSET = 18
OUTPUT = "scores"
FEATURES = "features"
"""Name of the tensor that the heads read."""
KNOWN = frozenset(
    {"Conv", "Relu", "Add", "Mul", "MaxPool", "ReduceMean", "ReduceL2", "Clip", "Log", "Concat", "Gemm", "Min"}
)
TOLERANCE = 1e-3
"""Largest difference of a score between torch and ONNX Runtime, of scores over 1 relative: both sum in float32, in
different order."""


def write_onnx(network: nn.Module, spec: InputSpec, path: Path) -> onnx.ModelProto:
    """Write the network as ONNX with a free batch size and every BatchNorm folded into its Conv.

    Args:
        network: not changed.
        spec: names the input and its size.
        path: the file to write.

    Raises:
        CheckError: the graph holds an operator that the INT8 export does not know, or does not compute what the
            network computes.
    """
    folded = fold(network)
    model = _named(_bare(_exported(folded, spec)))
    if strange := {node.op_type for node in model.graph.node} - KNOWN:
        raise CheckError(f"the exported graph holds {', '.join(sorted(strange))}; teach export/quantize.py first")
    onnx.checker.check_model(model, full_check=True)
    _compare(folded, model, spec)
    onnx.save(model, path)
    return model


def fold(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with each BatchNorm folded into the convolution before it."""
    folded = copy.deepcopy(network).eval()
    for part in list(folded.modules()):
        if isinstance(part, nn.Sequential):
            for k in range(len(part) - 1):
                conv, norm = part[k], part[k + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[k], part[k + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return folded


def _exported(network: nn.Module, spec: InputSpec) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which we do not use
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # torch's exporter against torch's own API
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, spec.size, spec.size),),
            input_names=[spec.name],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise CheckError("torch exported nothing; check that its version is 2.6 or newer")
    return program.model_proto


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes, which hold the paths of the machine that ran it."""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return model


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """With a name of its own for what the heads read."""
    (read,) = {node.input[0] for node in model.graph.node if node.op_type == "Gemm"}
    for node in model.graph.node:
        node.input[:] = [FEATURES if name == read else name for name in node.input]
        node.output[:] = [FEATURES if name == read else name for name in node.output]
    return model


def _compare(network: nn.Module, model: onnx.ModelProto, spec: InputSpec) -> None:
    rng = np.random.default_rng(0)
    session = open_session(model.SerializeToString())
    for rows in (1, 3):
        batch = rng.normal(size=(rows, 3, spec.size, spec.size)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        (found,) = session.run([OUTPUT], {spec.name: batch})
        if (worst := float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())) > TOLERANCE:
            raise CheckError(f"the ONNX graph differs from the network by {worst:.2g}; report this torch version")
