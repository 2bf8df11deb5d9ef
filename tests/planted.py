"""A small block as TensorRT wants it, and the faults that are planted in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDE = 4
Sabotage = Callable[["Plan"], None]


class Plan:
    """A residual block as TensorRT wants it: conv, relu, conv, sum with a quantised shortcut, relu. To be spoilt."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.opset = 18
        self.pair("image")
        self.conv("first", "image_back")
        self.add("Relu", ["first"], "relu")
        self.pair("relu")
        self.conv("second", "relu_back")
        self.add("Add", ["second", "image_back"], "sum")
        self.add("Relu", ["sum"], "scores")

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int) -> None:
        node = helper.make_node(operator, inputs, [output], name=f"{output}_node")
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)

    def pair(self, tensor: str) -> None:
        self.constants |= {f"{tensor}_scale": np.array(0.1, np.float32), f"{tensor}_zero": np.array(0, np.int8)}
        self.add("QuantizeLinear", [tensor, f"{tensor}_scale", f"{tensor}_zero"], f"{tensor}_int8")
        self.add("DequantizeLinear", [f"{tensor}_int8", f"{tensor}_scale", f"{tensor}_zero"], f"{tensor}_back")

    def conv(self, name: str, source: str) -> None:
        self.constants |= {
            f"{name}_w": np.ones((WIDE, WIDE, 1, 1), np.int8),
            f"{name}_w_scale": np.full(WIDE, 0.1, np.float32),
            f"{name}_w_zero": np.zeros(WIDE, np.int8),
            f"{name}_b": np.zeros(WIDE, np.float32),
        }
        stored = [f"{name}_w", f"{name}_w_scale", f"{name}_w_zero"]
        self.add("DequantizeLinear", stored, f"{name}_w_back", axis=0)
        self.add("Conv", [source, f"{name}_w_back", f"{name}_b"], name)

    def node(self, output: str) -> onnx.NodeProto:
        return next(n for n in self.nodes if output in n.output)

    def save(self, path: Path) -> Path:
        shape: list[str | int | None] = ["batch", WIDE, 2, 2]
        graph = helper.make_graph(
            sorted(self.nodes, key=lambda n: n.op_type != "DequantizeLinear" or n.input[0] not in self.constants),
            "block",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8), path)
        return path


def stored(**values: np.ndarray) -> Sabotage:
    """Put other constants in their place."""
    return lambda plan: plan.constants.update(values)


def quantised_bias(plan: Plan) -> None:
    plan.constants |= {"first_b": np.zeros(WIDE, np.int32), "b_scale": np.full(WIDE, 0.01, np.float32)}
    plan.add("DequantizeLinear", ["first_b", "b_scale"], "first_b_back", axis=0)
    plan.node("first").input[2] = "first_b_back"


def pair_before_relu(plan: Plan) -> None:
    plan.pair("first")
    plan.node("relu").input[0] = "first_back"


def raw_shortcut(plan: Plan) -> None:
    plan.node("sum").input[1] = "image"


def both_branches(plan: Plan) -> None:
    plan.pair("second")
    plan.node("sum").input[0] = "second_back"


def newer_opset(plan: Plan) -> None:
    plan.opset = 21


def no_zero_point(plan: Plan) -> None:
    del plan.node("image_int8").input[2]


def wrong_axis(plan: Plan) -> None:
    plan.node("first_w_back").attribute[0].i = 1


def lone_dequantiser(plan: Plan) -> None:
    plan.add("Identity", ["image_int8"], "moved")
    plan.node("image_back").input[0] = "moved"


def lone_quantiser(plan: Plan) -> None:
    plan.add("Cast", ["relu_int8"], "cast", to=TensorProto.FLOAT)


def float_weights(plan: Plan) -> None:
    plan.constants["first_plain"] = np.ones((WIDE, WIDE, 1, 1), np.float32)
    plan.node("first").input[1] = "first_plain"


def computed_scale(plan: Plan) -> None:
    plan.add("Abs", ["relu_scale"], "relu_scale_late")
    plan.node("relu_int8").input[1] = "relu_scale_late"


def foreign_operator(plan: Plan) -> None:
    plan.node("relu").op_type = "QLinearLeakyRelu"


EIGHT = np.array(128, np.uint8)
SIGNLESS = np.array(0, np.uint8)
FAULTS: dict[str, tuple[Sabotage, str, str, str]] = {
    "non-zero zero-point": (stored(relu_zero=np.array(3, np.int8)), "refused", "zero-point", "relu_int8_node"),
    "uint8 activation": (stored(image_zero=SIGNLESS), "refused", "uint8", "image_int8_node"),
    "uint8 by default": (no_zero_point, "refused", "uint8", "image_int8_node"),
    "uint8 in the middle": (stored(image_zero=EIGHT), "refused", "zero-point", "image_int8_node"),
    "quantised bias": (quantised_bias, "refused", "bias", "first_b_back_node"),
    "opset 21": (newer_opset, "refused", "opset", ""),
    "negative scale": (stored(relu_scale=np.array(-0.1, np.float32)), "refused", "scale", "relu_int8_node"),
    "scale of zero": (stored(first_w_scale=np.zeros(WIDE, np.float32)), "refused", "scale", "first_w_back_node"),
    "scale that is no number": (stored(relu_scale=np.array(np.nan, np.float32)), "refused", "scale", "relu_back_node"),
    "computed scale": (computed_scale, "refused", "scale", "relu_int8_node"),
    "per-channel activation": (
        stored(relu_scale=np.full(WIDE, 0.1, np.float32), relu_zero=np.zeros(WIDE, np.int8)),
        "refused",
        "per-channel activation",
        "relu_int8_node",
    ),
    "zero-point of another type": (
        stored(first_w_zero=np.zeros(WIDE, np.uint8)),
        "refused",
        "type",
        "first_w_back_node",
    ),
    "weights along the wrong axis": (wrong_axis, "refused", "weight axis", "first_w_back_node"),
    "DQ without Q": (lone_dequantiser, "refused", "DQ without Q", "image_back_node"),
    "Q without DQ": (lone_quantiser, "refused", "Q without DQ", "relu_int8_node"),
    "quantised operator": (foreign_operator, "refused", "operator", "relu_node"),
    "Q/DQ between Conv and Relu": (pair_before_relu, "unfused", "Q/DQ before Relu", "first_back_node"),
    "shortcut without Q/DQ": (raw_shortcut, "unfused", "shortcut", "sum_node"),
    "both branches quantised": (both_branches, "unfused", "both branches", "sum_node"),
    "weights in floating point": (float_weights, "unfused", "half quantised", "first_node"),
    "per-tensor weights": (
        stored(first_w_scale=np.array(0.1, np.float32), first_w_zero=np.array(0, np.int8)),
        "note",
        "per-tensor weights",
        "first_w_back_node",
    ),
}
