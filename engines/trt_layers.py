"""What TensorRT made of the layers, from the inspector's JSON: which run in INT8?"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

BINDINGS = ("I/O Tensors", "Bindings")
"""What the inspector calls inputs and outputs: from 11 on, and before."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a plan by what they compute in."""

    int8: tuple[str, ...]
    other: tuple[str, ...]
    tensors: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{len(self.int8)} of {len(self.int8) + len(self.other)} layers run in INT8"


def summary(told: str) -> Layers:
    """Sort the layers: a layer runs in INT8 if one of its inputs is INT8."""
    information = json.loads(told)
    layers = information.get("Layers", [])
    int8 = [_name(layer) for layer in layers if _takes_int8(layer)]
    other = [_name(layer) for layer in layers if not _takes_int8(layer)]
    tensors: list[Any] = next((information[key] for key in BINDINGS if key in information), [])
    return Layers(tuple(int8), tuple(other), tuple(_name(t) for t in tensors))


def _name(layer: Any) -> str:
    return str(layer.get("Name", layer)) if isinstance(layer, dict) else str(layer)


def _takes_int8(layer: Any) -> bool:
    if not isinstance(layer, dict):
        return False
    return any("int8" in text.lower() for tensor in layer.get("Inputs", []) for text in _texts(tensor))


def _texts(tensor: Any) -> Iterator[str]:
    """How a tensor is stored, in TensorRT's words; its name is no part of them."""
    if isinstance(tensor, dict):
        yield from (str(value) for key, value in tensor.items() if key != "Name")
