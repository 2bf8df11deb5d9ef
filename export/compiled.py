"""What NVIDIA's own compiler makes of a bundle's graphs; one that it refuses ends the export.

The compiler is TensorRT-RTX (``engines.rtx``), which needs no GPU. Of the GPUs that it knows, compute capability 7.5 is
left out: for that it has no FP32 product of matrices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import onnx

from common.errors import EngineError, GateError
from contract import bundle
from contract.manifest import Precision
from engines.half import half_copy
from engines.rtx import compile_graph, is_installed
from engines.rtx_layers import Compiled
from export.lint import lint
from export.lint import readable as findings_in_words

Check: TypeAlias = Literal["auto", "rtx", "none"]
"""Whether NVIDIA's compiler is asked: where it is installed, always, never."""
CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
SAYS = (
    "NVIDIA's parser and builder take these graphs and compute where the table says. It is TensorRT-RTX, not the "
    "TensorRT of a Jetson, whose compute capability 8.7 it does not know; it says nothing of speed, nor of results on "
    "a board."
)


class _Asked(NamedTuple):
    precision: Precision
    name: str
    graph: bytes


def compile_graphs(files: Mapping[str, Path], check: Check) -> dict[str, Any] | None:
    """Have NVIDIA's compiler build the INT8, FP16 and FP32 graphs of a bundle.

    Args:
        files: `bundle.INT8` and `bundle.FP32` by their names.
        check: whether to.

    Returns:
        For `report.json`: `by` (the compiler), `says` (what that proves and what not), and `graphs`: one entry for each
        graph and GPU with `graph`, `precision`, `capability`, `plan_bytes`, `convolutions` (of the graph), `in_int8`
        (convolutions with INT8 activations and weights) and `layers`. None if the compiler was not asked.

    Raises:
        GateError: the compiler refuses a graph; its own words stand beside what the lint says.
        MissingError: `rtx` was asked for, and the compiler is not installed.
    """
    if check == "none" or (check == "auto" and not is_installed()):
        return None
    built = [(one, compiled) for one in _asked(files) for compiled in _compiled(one, files)]
    return {
        "by": f"TensorRT-RTX {built[0][1].version}",
        "says": SAYS,
        "graphs": [_entry(asked, compiled) for asked, compiled in built],
    }


def _asked(files: Mapping[str, Path]) -> Sequence[_Asked]:
    fp32 = files[bundle.FP32].read_bytes()
    return (
        _Asked("int8", bundle.INT8, files[bundle.INT8].read_bytes()),
        _Asked("fp16", f"{bundle.FP32} in half precision", half_copy(fp32)),
        _Asked("fp32", bundle.FP32, fp32),
    )


def _compiled(asked: _Asked, files: Mapping[str, Path]) -> Sequence[Compiled]:
    try:
        return compile_graph(asked.graph, CAPABILITIES)
    except EngineError as refusal:
        ours = findings_in_words(lint(files[bundle.INT8])) if asked.precision == "int8" else "it does not look at this"
        raise GateError(
            f"NVIDIA's compiler refuses {asked.name}, and nothing was written: {refusal}. Our lint says: {ours}"
        ) from refusal


def _entry(asked: _Asked, compiled: Compiled) -> dict[str, Any]:
    nodes = [node.name for node in onnx.load_model_from_string(asked.graph).graph.node if node.op_type == "Conv"]
    found = [compiled.convolution(node) for node in nodes]
    return {
        "graph": asked.name,
        "precision": asked.precision,
        "capability": compiled.capability,
        "plan_bytes": compiled.plan_bytes,
        "convolutions": len(nodes),
        "in_int8": sum(one is not None and one.is_int8 for one in found),
        "layers": [layer.model_dump() for layer in compiled.layers],
    }
