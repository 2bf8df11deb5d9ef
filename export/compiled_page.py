"""The part of `report.html` that shows what NVIDIA's compiler made of the graphs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from rendering.html import paragraph, section, table

HEAD = ("graph", "compute capability", "engine, bytes", "convolutions", "of them in INT8", "layers by kind")
LAYER_HEAD = ("layer", "kind", "activations", "weights", "result", "ONNX nodes that it does the work of")


def compiled_section(compiled: Mapping[str, Any] | None) -> Iterator[Markup]:
    """A table of the graphs, and one of the INT8 graph's layers for the first GPU; nothing where nobody was asked.

    Args:
        compiled: `compiled` of `report.json`.
    """
    if not compiled:
        return
    graphs = compiled["graphs"]
    shown = next(one for one in graphs if one["precision"] == "int8")
    yield section(
        "What NVIDIA's compiler makes of the graphs",
        paragraph(f"{compiled['by']}. {compiled['says']}"),
        table(HEAD, [_graph_row(one) for one in graphs], caption="Every graph, built for each of these GPUs."),
        table(
            LAYER_HEAD,
            [_layer_row(one) for one in shown["layers"]],
            caption=f"The layers of {shown['graph']} for compute capability {shown['capability']}, in the compiler's "
            "words: correlation is a convolution, kgen a kernel made for several small steps.",
        ),
    )


def _graph_row(one: Mapping[str, Any]) -> Sequence[object]:
    kinds = Counter(layer["kind"] for layer in one["layers"])
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return (one["graph"], one["capability"], one["plan_bytes"], one["convolutions"], one["in_int8"], said)


def _layer_row(one: Mapping[str, Any]) -> Sequence[object]:
    weights = one["weights"][0] if one["weights"] else "none"
    return (
        one["name"],
        one["kind"],
        ", ".join(dict.fromkeys(one["activations"])),
        weights,
        ", ".join(dict.fromkeys(one["outputs"])),
        ", ".join(one["nodes"]),
    )
