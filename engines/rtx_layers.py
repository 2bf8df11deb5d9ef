"""What TensorRT-RTX says of the layers of a graph that it has built."""

import re
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

_LAYERS = "Layers:"
_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w*), Inputs: (?P<inputs>.*?), Constants: (?P<constants>.*?), "
    r"Outputs: (?P<outputs>.*?), TacticName: (?P<rest>.*)$"
)
_TYPE = re.compile(r"\bDatatype: (\w+)")
_FROM = re.compile(r"\[ONNX Layer: ([^\x1f]*)\]")
_IDLE = {"shape_call", "signal", "wait"}
"""Kinds of layers that compute nothing: shapes, and the order between streams."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CompiledLayer(_Record):
    """A layer of a compiled graph."""

    name: str = Field(description="The compiler's.")
    kind: str = Field(
        description="What it does, in the compiler's word: `correlation` is a convolution, `kgen` a kernel made for "
        "several small steps, `gemm` a product of matrices."
    )
    nodes: tuple[str, ...] = Field(description="Names of the ONNX nodes that it does the work of.")
    activations: tuple[str, ...] = Field(description="Types of what goes in: `Int8`, `Half`, `Float`.")
    weights: tuple[str, ...] = Field(description="Types of its constants, the weights first.")
    outputs: tuple[str, ...] = Field(description="Types of what comes out.")

    @property
    def is_int8(self) -> bool:
        """Whether it takes INT8 activations and INT8 weights."""
        return self.activations[:1] == ("Int8",) and self.weights[:1] == ("Int8",)


class Compiled(_Record):
    """A graph as NVIDIA's compiler has built it."""

    version: str = Field(description="Of TensorRT-RTX.")
    capability: str = Field(description="The GPU's compute capability, for example 8.6.")
    plan_bytes: int = Field(description="Size of the engine.")
    layers: tuple[CompiledLayer, ...] = Field(description="Those that compute something, in order.")

    def convolution(self, node: str) -> CompiledLayer | None:
        """The layer that computes a Conv of the graph; None if the compiler has made something else of it."""
        return next((one for one in self.layers if one.kind == "correlation" and node in one.nodes), None)


class Answer(_Record):
    """What the process writes."""

    built: tuple[Compiled, ...]


def layers_of(told: Iterable[str]) -> tuple[CompiledLayer, ...]:
    """The layers, of the one entry of the log that lists them all."""
    listed = next((entry for entry in told if entry.lstrip().startswith(_LAYERS)), "")
    found = (_LAYER.match(line) for line in listed.splitlines())
    return tuple(_layer(one) for one in found if one and one["kind"] not in _IDLE)


def _layer(found: re.Match[str]) -> CompiledLayer:
    activations, weights, outputs = (tuple(_TYPE.findall(found[part])) for part in ("inputs", "constants", "outputs"))
    nodes = tuple(_FROM.findall(found["rest"].partition("Metadata: ")[2]))
    return CompiledLayer(
        name=found["name"], kind=found["kind"], nodes=nodes, activations=activations, weights=weights, outputs=outputs
    )
