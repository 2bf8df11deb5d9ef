"""TensorRT's rules for explicit INT8, one function each, over a view of an ONNX graph.

They are those of the TensorRT developer guide ("Working with Quantized Types") and of onnx-tensorrt's importer of
QuantizeLinear and DequantizeLinear, called Q and DQ here. Subgraphs of If and Loop are not looked into.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Severity: TypeAlias = Literal["refused", "unfused", "note"]
SEVERITIES: tuple[Severity, ...] = ("refused", "unfused", "note")
NEWEST_OPSET = 20
"""That TensorRT 10.3 reads."""
Q, DQ = "QuantizeLinear", "DequantizeLinear"
FOREIGN = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"})
"""Quantised operators that TensorRT has no importer for, besides every QLinear one."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a rule.

    Attributes:
        node: name of the node, or of its first output where it has none; "" for the file as a whole.
        rule: a short name of the rule, the same for every breach of it.
        remedy: what is wrong and what to do, in words.
    """

    severity: Severity
    node: str
    rule: str
    remedy: str


class Graph:
    """A graph with its constants, and who makes and who reads each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.nodes = model, list(model.graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.producer = {o: node for node in self.nodes for o in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.input:
                self.readers[tensor].append(node)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.qdq = [node for node in self.nodes if node.op_type in {Q, DQ}]

    def maker(self, tensor: str) -> str:
        """Operator that makes a tensor, or ""."""
        return self.producer[tensor].op_type if tensor in self.producer else ""

    def optional(self, node: onnx.NodeProto, position: int) -> str:
        """Name of an input, or "" if it was left out."""
        return str(node.input[position]) if len(node.input) > position else ""

    def source(self, tensor: str) -> str:
        """The tensor that goes into the Q of a Q/DQ pair which gives this one; of a lone DQ, what it reads."""
        if self.maker(tensor) == DQ:
            tensor = self.producer[tensor].input[0]
        return str(self.producer[tensor].input[0]) if self.maker(tensor) == Q else tensor

    def rounded(self, tensor: str) -> bool:
        """Whether a tensor comes out of a DQ."""
        return self.maker(tensor) == DQ

    def int8_conv(self, tensor: str) -> bool:
        """Whether a tensor is the result of a Conv with both inputs quantised."""
        return self.maker(tensor) == "Conv" and all(self.rounded(i) for i in self.producer[tensor].input[:2])


Rule: TypeAlias = Callable[[Graph], Iterator[Finding]]


def _name(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else "")


def _opset(graph: Graph) -> Iterator[Finding]:
    version = max((o.version for o in graph.model.opset_import if o.domain in {"", "ai.onnx"}), default=0)
    if version > NEWEST_OPSET:
        yield Finding(
            "refused", "", "opset", f"opset {version}; TensorRT 10.3 reads up to {NEWEST_OPSET}: export again"
        )


def _presence(graph: Graph) -> Iterator[Finding]:
    if not graph.qdq:
        yield Finding("note", "", "no Q/DQ", "nothing here runs in INT8; quantise it with export-engine --int8")


def _operators(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type in FOREIGN or node.op_type.startswith("QLinear"):
            yield Finding("refused", _name(node), "operator", f"{node.op_type} is unknown there; write Q/DQ instead")


def _scales(graph: Graph) -> Iterator[Finding]:
    for node in graph.qdq:
        scale = graph.constants.get(node.input[1])
        if scale is None:
            yield Finding("refused", _name(node), "scale", "the scale is computed at run time; store it as a constant")
        elif not (np.isfinite(scale) & (scale > 0)).all():
            yield Finding("refused", _name(node), "scale", "a scale is not a number over zero; calibrate again")


def _zero_points(graph: Graph) -> Iterator[Finding]:
    for node in graph.qdq:
        given = graph.optional(node, 2)
        point = graph.constants.get(given)
        if given and point is None:
            yield Finding("refused", _name(node), "zero-point", "it is computed at run time; store an int8 zero")
        elif point is not None and np.asarray(point, np.float64).any():
            yield Finding("refused", _name(node), "zero-point", "it is not zero; quantise symmetrically")
        if not given and node.op_type == Q:
            yield Finding("refused", _name(node), "uint8", "without a zero-point ONNX means uint8; store an int8 zero")
        elif point is not None and point.dtype == np.uint8:
            yield Finding("refused", _name(node), "uint8", "activations are unsigned; quantise to int8, zero-point 0")


def _types(graph: Graph) -> Iterator[Finding]:
    for node in graph.qdq:
        tensor = node.input[0]
        point = graph.constants.get(graph.optional(node, 2))
        stored = graph.constants.get(tensor)
        if stored is None and graph.maker(tensor) == Q:
            stored = graph.constants.get(graph.optional(graph.producer[tensor], 2))
        if node.op_type == DQ and point is not None and stored is not None and point.dtype != stored.dtype:
            told = f"the zero-point is {point.dtype}, what it reads is {stored.dtype}; make both int8"
            yield Finding("refused", _name(node), "type", told)


def _pairs(graph: Graph) -> Iterator[Finding]:
    fed = {i.name for i in graph.model.graph.input}
    for node in graph.qdq:
        if node.op_type == Q:
            if strange := sorted({r.op_type for r in graph.readers[node.output[0]]} - {DQ}):
                told = f"its result goes to {strange[0]} without DequantizeLinear; put one between"
                yield Finding("refused", _name(node), "Q without DQ", told)
            continue
        tensor = node.input[0]
        if tensor in graph.constants or graph.maker(tensor) == Q:
            continue
        severity: Severity = "note" if tensor in fed else "refused"
        told = "it reads what no QuantizeLinear made; put one in front, fed with floating point"
        yield Finding(severity, _name(node), "DQ without Q", told)


def _biases(graph: Graph) -> Iterator[Finding]:
    for node in graph.qdq:
        stored = graph.constants.get(node.input[0])
        reader = graph.readers[node.output[0]]
        third = any(r.op_type in WEIGHTED and graph.optional(r, 2) == node.output[0] for r in reader)
        if (stored is not None and stored.dtype == np.int32) or third:
            told = "the bias is quantised; older parsers refuse that; store it as float32"
            yield Finding("refused", _name(node), "bias", told)


def _per_axis_activations(graph: Graph) -> Iterator[Finding]:
    for node in graph.qdq:
        scale = graph.constants.get(node.input[1])
        fixed = graph.source(node.output[0]) in graph.constants or node.input[0] in graph.constants
        if scale is not None and scale.size > 1 and not fixed:
            told = "an activation has a scale per channel; one scale per tensor is allowed"
            yield Finding("refused", _name(node), "per-channel activation", told)


def _weights(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type not in WEIGHTED or not graph.rounded(node.input[1]):
            continue
        back = graph.producer[node.input[1]]
        values, scale = graph.constants.get(graph.source(node.input[1])), graph.constants.get(back.input[1])
        if values is not None and scale is not None:
            yield from _weight(node, back, values, scale)


def _weight(
    node: onnx.NodeProto, back: onnx.NodeProto, values: NDArray[np.generic], scale: NDArray[np.generic]
) -> Iterator[Finding]:
    if scale.size == 1:
        if node.op_type in {"Conv", "ConvTranspose"} and values.ndim and max(values.shape[:2]) > 1:
            told = "one scale for all weights costs accuracy; give each output channel its own"
            yield Finding("note", _name(back), "per-tensor weights", told)
        return
    axis, wanted = _attribute(back, "axis", 1) % values.ndim, _output_axis(node, values.ndim)
    if axis != wanted or scale.size != values.shape[axis]:
        told = f"{scale.size} scales along axis {axis} of {values.shape}; {node.op_type} wants axis {wanted}"
        yield Finding("refused", _name(back), "weight axis", told)


def _half_quantised(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type not in WEIGHTED:
            continue
        data, weight = (graph.rounded(i) for i in node.input[:2])
        if data != weight:
            what = "its weights" if data else "its input"
            told = f"{what} are not quantised, so it runs in floating point; quantise both or neither"
            yield Finding("unfused", _name(node), "half quantised", told)


def _before_relu(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type == "Relu" and graph.rounded(node.input[0]):
            source = graph.source(node.input[0])
            if graph.maker(source) in {"Conv", "Add"}:
                told = f"Q/DQ between {_name(graph.producer[source])} and its Relu; put it behind the Relu"
                yield Finding("unfused", _name(graph.producer[node.input[0]]), "Q/DQ before Relu", told)


def _sums(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type != "Add" or any(i in graph.constants for i in node.input):
            continue
        rounded = [graph.rounded(i) for i in node.input]
        if not any(rounded) and any(graph.int8_conv(i) for i in node.input):
            told = "neither branch is quantised; put Q/DQ on the shortcut, so that the Conv can add it in INT8"
            yield Finding("unfused", _name(node), "shortcut", told)
        if all(rounded) and any(graph.int8_conv(graph.source(i)) for i in node.input):
            told = "both branches are quantised, so the sum runs alone; leave the Conv's own branch as it is"
            yield Finding("unfused", _name(node), "both branches", told)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(helper.get_attribute_value(a)) for a in node.attribute if a.name == name), default)


def _output_axis(node: onnx.NodeProto, dimensions: int) -> int:
    """The axis of a weight that counts output channels."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and _attribute(node, "transB", 0)):
        return 0
    return dimensions - 1 if node.op_type == "MatMul" else 1


RULES: tuple[Rule, ...] = (
    _opset,
    _presence,
    _operators,
    _scales,
    _zero_points,
    _types,
    _pairs,
    _biases,
    _per_axis_activations,
    _weights,
    _half_quantised,
    _before_relu,
    _sums,
)
