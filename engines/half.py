"""An FP32 graph in half precision, for TensorRT's strong typing: there the graph alone decides what runs in FP16.

Made on the board, when an engine is built: the bundle holds no such graph, as it follows from the FP32 one. Images and
scores stay FP32, so the agent sees no difference. The only file of the builder that imports onnx.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.errors import EngineError

KNOWN = frozenset(
    {"Conv", "Relu", "Add", "Mul", "MaxPool", "ReduceMean", "ReduceL2", "Clip", "Log", "Concat", "Gemm", "Min"}
)
"""Operators that compute in the type of what they are given; sums of squares go beyond FP16 and stay FP32."""
LARGEST = float(np.finfo(np.float16).max)


def half_copy(graph: bytes) -> bytes:
    """The same graph with every weight and every step between image and scores in FP16.

    Args:
        graph: ONNX, with one input and one output, both FP32.

    Raises:
        EngineError: it holds an operator or a weight that has no place in FP16.
    """
    model = onnx.load_model_from_string(graph)
    if strange := {node.op_type for node in model.graph.node} - KNOWN:
        raise EngineError(f"the FP32 graph holds {', '.join(sorted(strange))}, for which engines/half.py has no rule")
    weights = [_halved(tensor) for tensor in model.graph.initializer]
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend(weights)
    _sum_squares_in_float(model.graph)
    _cast_input(model.graph)
    _cast_output(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _halved(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    values = numpy_helper.to_array(tensor)
    if not float(np.abs(values).max(initial=0)) <= LARGEST:
        raise EngineError(
            f"the weights {tensor.name} go beyond what FP16 holds; build the engine with --precision fp32"
        )
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _sum_squares_in_float(graph: onnx.GraphProto) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "ReduceL2":
            nodes.append(node)
            continue
        stage, result = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{stage}.float", f"{result}.float"
        nodes += [
            helper.make_node("Cast", [stage], [node.input[0]], name=f"{node.name}_in", to=TensorProto.FLOAT),
            node,
            helper.make_node("Cast", [node.output[0]], [result], name=f"{node.name}_out", to=TensorProto.FLOAT16),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast_input(graph: onnx.GraphProto) -> None:
    image = graph.input[0].name
    half = f"{image}.half"
    for node in graph.node:
        node.input[:] = [half if name == image else name for name in node.input]
    graph.node.insert(0, helper.make_node("Cast", [image], [half], name="to_half", to=TensorProto.FLOAT16))


def _cast_output(graph: onnx.GraphProto) -> None:
    scores = graph.output[0].name
    half = f"{scores}.half"
    for node in graph.node:
        node.input[:] = [half if name == scores else name for name in node.input]
        node.output[:] = [half if name == scores else name for name in node.output]
    graph.node.append(helper.make_node("Cast", [half], [scores], name="to_float", to=TensorProto.FLOAT))
