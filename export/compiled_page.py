"""The part of `report.html` that shows what NVIDIA's compiler made of the graphs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from rendering.html import paragraph, section, table

LAYER_HEAD = ("kind", "activations", "weights", "result", "ONNX nodes that it does the work of")


def compiled_section(compiled: Mapping[str, Any] | None) -> Iterator[Markup]:
    """A table of the graphs, and one of the INT8 graph's layers for the first GPU; nothing where nobody was asked.

    Args:
        compiled: `compiled` of `report.json`.
    """
    if not compiled:
        return
    graphs = compiled["graphs"]
    shown = next(one for one in graphs if one["precision"] == "int8")
    gpus = list(dict.fromkeys(one["capability"] for one in graphs))
    rows = [_graph_row(name, graphs) for name in dict.fromkeys(one["graph"] for one in graphs)]
    yield section(
        "What NVIDIA's compiler makes of the graphs",
        paragraph(f"{compiled['by']}. {compiled['says']}"),
        table(
            ("graph", "convolutions", *gpus),
            rows,
            caption="How many convolutions have INT8 activations and INT8 weights, by the GPU's compute capability.",
        ),
        table(
            LAYER_HEAD,
            [_layer_row(one) for one in shown["layers"]],
            caption=f"The layers of {shown['graph']} for compute capability {shown['capability']}, in the compiler's "
            "words: correlation is a convolution, kgen a kernel made for several small steps.",
        ),
    )


def _graph_row(name: str, graphs: Sequence[Mapping[str, Any]]) -> Sequence[object]:
    built = [one for one in graphs if one["graph"] == name]
    return (name, built[0]["convolutions"], *(one["in_int8"] for one in built))


def _layer_row(one: Mapping[str, Any]) -> Sequence[object]:
    activations, results = (", ".join(dict.fromkeys(one[part])) for part in ("activations", "outputs"))
    return (one["kind"], activations, one["weights"][0] if one["weights"] else "none", results, ", ".join(one["nodes"]))
