"""One table of ranges, two INT8 graphs: S8 for TensorRT and its U8 counterpart for ONNX Runtime on CPU.

No single INT8 graph is good on both. TensorRT accepts only zero-points of zero and wants quantisation where its
fusions expect it; ONNX Runtime's CPU kernels want U8 activations and quantise both inputs of a sum. Both graphs use
the same scales, range / 127, so they compute nearly the same numbers:

========================  =====================================  =========================================
what                      S8 (TensorRT)                          U8 (CPU)
========================  =====================================  =========================================
activations               int8, zero-point 0                     uint8, zero-point 0 after a Relu, else 128
Relu                      kept, nothing between Conv and Relu    dropped: clipping is in the quantiser
weights                   int8 per output channel                int8 per output channel
bias                      float32                                int32, scale = input scale x weight scale
Add                       the shortcut alone is quantised        both inputs are quantised
means of the last stage   float32                                of INT8 numbers, then scaled
means of other stages     on what the Conv behind reads          of INT8 numbers, then scaled
picture                   as it is                               an empty fourth channel
logarithms, last Gemm     float32                                float32
========================  =====================================  =========================================

They differ where an activation leaves its range: S8 clips at 127 scales, the CPU graph after a Relu only at 255.

Nodes that are kept in floating point read their inputs unrounded. What a kept Conv computes goes into a sum unrounded
too; the other branch of that sum stays quantised, as the INT8 Conv behind it needs for its own fusion. On CPU, a
Conv whose unrounded result a kept one reads is computed in floating point as well: ONNX Runtime has no kernel for it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from common.errors import UsageError

Target: TypeAlias = Literal["tensorrt", "cpu"]
LEVELS = 127
"""Largest INT8 magnitude in use; -128 is left out so that the range is symmetric."""
BLOCK = 4
"""ONNX Runtime's direct INT8 convolution reads whole blocks of so many channels."""
POOLING = frozenset({"MaxPool", "ReduceMean", "ReduceL2"})
QUANTISING = frozenset({"Conv", "Add"}) | POOLING
"""Operators of the CPU graph that read quantised inputs; pooling does where it reads a stage."""


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    target: Target,
    *,
    keep_float: Collection[str] = (),
) -> onnx.ModelProto:
    """Make an INT8 graph of an FP32 graph.

    Args:
        model: as ``write_onnx`` writes it; not changed.
        ranges: smallest and largest value of every activation, by tensor name.
        target: which of the two graphs.
        keep_float: names of nodes to leave in floating point, Conv as a rule.

    Returns:
        A new model with explicit QuantizeLinear and DequantizeLinear nodes, checked in full.

    Raises:
        UsageError: the table does not belong to this graph, or a node to keep is none that INT8 would change.
    """
    if strange := sorted(set(keep_float) - set(quantising(model))):
        raise UsageError(
            f"there is no node {strange[0]!r} to keep in floating point; the Conv are {', '.join(convolutions(model))}"
        )
    quantised = _QdqRewriter(model, ranges, cpu=target == "cpu", kept=frozenset(keep_float)).operate()
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def quantising(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that INT8 changes, in order."""
    stages = {o for node in model.graph.node if node.op_type == "Relu" for o in node.output}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISING and (node.op_type not in POOLING or node.input[0] in stages)
    ]


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the Conv nodes, in order."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


class _QdqRewriter:
    """Writes the new graph node by node, in the order of the old one."""

    def __init__(
        self, model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], *, cpu: bool, kept: frozenset[str]
    ) -> None:
        self.model, self.ranges, self.cpu, self.kept = model, ranges, cpu, kept
        self.constants = {i.name: i for i in model.graph.initializer}
        self.producer = {o: n for n in model.graph.node for o in n.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for tensor in node.input:
                self.consumers[tensor].append(node)
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[str, onnx.TensorProto] = {}
        self.ready: set[str] = set()
        """Tensors that are written already."""
        self.pooled: set[str] = set()
        """Those of them that are the largest values of a stage, in INT8."""
        self.origin: dict[str, str] = {}
        """What is quantised in a tensor's place: a Relu's input where the quantiser clips, a widened picture."""

    def operate(self) -> onnx.ModelProto:
        steps = {"Conv": self._conv, "Add": self._add, "Relu": self._relu} | dict.fromkeys(POOLING, self._pool)
        changed = frozenset(quantising(self.model)) | {n.name for n in self.model.graph.node if n.op_type == "Relu"}
        for old in self.model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(old)
            changes = (node.name in changed and node.name not in self.kept) or node.input[0] in self.pooled
            step = steps[node.op_type] if changes else self.nodes.append
            step(node)
        return self._assemble()

    def _conv(self, node: onnx.NodeProto) -> None:
        scale = self._scale(node.input[0])
        more = self._widened(node)
        node.input[0] = self._quantised(node.input[0])
        kernel = node.input[1]
        node.input[1], scales = self._weight(kernel, more)
        if self.cpu and len(node.input) > 2:  # noqa: PLR2004 - the third input of a Conv is its bias
            node.input[2] = self._bias(node.input[2], scale * scales)
        self.nodes.append(node)

    def _widened(self, node: onnx.NodeProto) -> int:
        """Give the picture empty channels up to a whole block, if this Conv alone reads it; how many it got.

        Three channels take the slow way through a copy of every window. Weights of the empty ones are zero, so that
        results stay the same to the bit.
        """
        image = str(node.input[0])
        more = -int(self.constants[node.input[1]].dims[1]) % BLOCK
        fed = image in {i.name for i in self.model.graph.input}
        if not (self.cpu and more and fed and len(self.consumers[image]) == 1):
            return 0
        pads = self._constant(f"{image}_pads", np.array([0, 0, 0, 0, 0, more, 0, 0], np.int64))
        self.nodes.append(helper.make_node("Pad", [image, pads], [f"{image}_wide"], name=f"{image}_wide_node"))
        self.origin[image] = f"{image}_wide"
        return more

    def _add(self, node: onnx.NodeProto) -> None:
        raw = self._raw_branches(node)
        for k, tensor in enumerate(node.input):
            if tensor not in raw:
                node.input[k] = self._quantised(tensor)
        self.nodes.append(node)

    def _relu(self, node: onnx.NodeProto) -> None:
        readers = self.consumers[node.output[0]]
        alone = len(self.consumers[node.input[0]]) == 1
        if self.cpu and alone and readers and all(self._rounds(reader) for reader in readers):
            self.origin[node.output[0]] = node.input[0]
        else:
            self.nodes.append(node)

    def _pool(self, node: onnx.NodeProto) -> None:
        """The mean, the root of the squares or the largest of a stage's INT8 values, which the Conv behind reads too.

        The CPU graph pools the numbers and scales the result, which is as exact and takes less time than to scale each.
        """
        stage, result = node.input[0], node.output[0]
        behind = (reader for reader in self.consumers[stage] if reader.op_type == "Conv")
        if self.cpu and node.op_type == "MaxPool":
            node.input[0], node.output[0] = self._stored(stage), f"{result}_int8"
            self.nodes.append(node)
            self._constant(f"{result}_scale", np.float32(self._scale(stage)))
            self.ready.add(node.output[0])
            self.pooled.add(result)
            return
        if self.cpu:
            node.input[0] = self._numbers(stage)
            node.output[0] = f"{result}_of_numbers"
            self.nodes.append(node)
            self._through("Mul", [node.output[0], f"{stage}_scale"], result)
            return
        if any(self._rounds(reader) for reader in behind):
            node.input[0] = self._quantised(stage)
        self.nodes.append(node)

    def _rounds(self, reader: onnx.NodeProto) -> bool:
        """Whether a node reads what a Relu gives through INT8."""
        return reader.op_type in QUANTISING and reader.name not in self.kept

    def _raw_branches(self, node: onnx.NodeProto) -> set[str]:
        """The inputs of a sum that are not rounded: what kept convolutions compute.

        Without any, in the graph for TensorRT, the one that it adds inside the convolution which computes it.
        """
        convs = [t for t in node.input if t in self.producer and self.producer[t].op_type == "Conv"]
        if kept := {t for t in convs if self.producer[t].name in self.kept}:
            return kept
        alone = [t for t in convs if len(self.consumers[t]) == 1]
        return set() if self.cpu else set(alone[:1])

    def _quantised(self, tensor: str) -> str:
        """Pass a tensor through INT8 and back; name of what comes back. Readers of one tensor share the nodes."""
        back = f"{tensor}_back"
        if back not in self.ready:
            stored = self._stored(tensor)
            self._through("DequantizeLinear", [stored, f"{tensor}_scale", f"{tensor}_zero"], back)
        return back

    def _numbers(self, stage: str) -> str:
        """The INT8 values of a stage as floating-point numbers, not scaled; those of a Relu have zero-point 0."""
        name = f"{stage}_numbers"
        if name not in self.ready:
            self._through("Cast", [self._stored(stage)], name, to=onnx.TensorProto.FLOAT)
        return name

    def _stored(self, tensor: str) -> str:
        """A tensor in INT8."""
        name = f"{tensor}_int8"
        if name not in self.ready:
            made_by = self.producer.get(tensor)
            clipped = made_by is not None and made_by.op_type == "Relu"
            zero = np.uint8(0 if clipped else 128) if self.cpu else np.int8(0)
            scale = self._constant(f"{tensor}_scale", np.float32(self._scale(tensor)))
            point = self._constant(f"{tensor}_zero", zero)
            origin = self.origin.get(tensor, tensor)
            self._through("QuantizeLinear", [origin, scale, point], name)
        return name

    def _weight(self, name: str, more: int) -> tuple[str, NDArray[np.float32]]:
        """Weights in INT8 with ``more`` empty input channels: name of what comes back, and the scales."""
        values = numpy_helper.to_array(self.constants[name]).astype(np.float32)
        values = np.pad(values, ((0, 0), (0, more), (0, 0), (0, 0)))
        rows = np.abs(values.reshape(len(values), -1)).max(axis=1)
        scales = np.where(rows > 0, rows / LEVELS, 1).astype(np.float32)
        whole = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
        stored = np.clip(whole, -LEVELS, LEVELS).astype(np.int8)
        inputs = [
            self._constant(f"{name}_int8", stored),
            self._constant(f"{name}_scale", scales),
            self._constant(f"{name}_zero", np.zeros(len(scales), np.int8)),
        ]
        return self._through("DequantizeLinear", inputs, f"{name}_back", axis=0), scales

    def _bias(self, name: str, scales: NDArray[np.float32]) -> str:
        values = numpy_helper.to_array(self.constants[name])
        stored = self._constant(f"{name}_int32", np.rint(values / scales).astype(np.int32))
        scale = self._constant(f"{name}_scale", scales.astype(np.float32))
        return self._through("DequantizeLinear", [stored, scale], f"{name}_back", axis=0)

    def _scale(self, tensor: str) -> np.float32:
        if tensor not in self.ranges:
            raise UsageError(
                f"the table of ranges has no entry for {tensor!r}: it was made for another graph; calibrate this one"
            )
        low, high = self.ranges[tensor]
        return np.float32(max(abs(low), abs(high), 1e-6) / LEVELS)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.made[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _through(self, operator: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        node = helper.make_node(operator, inputs, [output], name=f"{output}_node")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        self.ready.add(output)
        return output

    def _assemble(self) -> onnx.ModelProto:
        old = self.model.graph
        used = {tensor for node in self.nodes for tensor in node.input}
        kept = [value for name, value in self.constants.items() if name in used]
        graph = helper.make_graph(self.nodes, old.name, old.input, old.output, [*kept, *self.made.values()])
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        model.producer_name = self.model.producer_name
        return model
