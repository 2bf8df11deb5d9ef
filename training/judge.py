"""What can be evaluated: a checkpoint of train-classifier, or a bundle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract import bundle
from contract.manifest import TWO, CellColours, Columns, Decision, InputSpec, Unknown
from contract.signature import SHIPPED_ONLY, Trust
from evaluation.judgement import PREFERRED
from training.checkpoint import read_classifier
from training.network import BlastNet
from training.recipe import colours_in, data_sets_in


@dataclass(frozen=True, slots=True)
class Judge:
    """Something that can be evaluated.

    Attributes:
        engines: by name, a graph on disk or a network in memory; the first is the reference.
        decisions: by the engine's name.
        origin: which model it is, in words and hashes.
        recipe: how it was trained; empty for a bundle.
        columns: what stands where in its scores.
        unknown: from where on a cell is too unlike its training's; None: it judges every cell.
        home: the data sets of its training, whose cells have the training's colours as they are, or ``colours``.
        colours: of the cells of each data set of its training.
    """

    engines: Mapping[str, Path | BlastNet]
    spec: InputSpec
    decisions: Mapping[str, Decision]
    origin: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = TWO
    unknown: Unknown | None = None
    home: Sequence[str] = ()
    colours: Mapping[str, CellColours] = field(default_factory=dict)

    @property
    def leaks(self) -> bool:
        """Whether it was trained on a random split, so that images of its training's patients are judged."""
        return self.recipe.get("split") == "random"


def open_judge(model: Path, trust: Trust = SHIPPED_ONLY) -> Judge:
    """Open a bundle (a folder) or a checkpoint (a file)."""
    if not model.is_dir():
        kept = read_classifier(model)
        origin = {"kind": "checkpoint", "trained_on_split": kept.recipe.get("split"), "epoch": kept.epoch}
        return Judge(
            {"torch": kept.network},
            kept.input,
            {"torch": kept.decision},
            origin,
            kept.recipe,
            kept.columns,
            kept.unknown,
            data_sets_in(kept.recipe),
            kept.colours,
        )
    opened = bundle.open_bundle(model, trust)
    manifest = opened.manifest
    graphs = {"fp32": model / bundle.FP32, PREFERRED: model / bundle.INT8_CPU}
    hashes = {name: manifest.files[path.name] for name, path in graphs.items()}
    origin = {"kind": "bundle", "id": manifest.id, "graphs": hashes, "trained_on_split": "patient"}
    decisions = {"fp32": manifest.decisions.fp32, PREFERRED: manifest.decisions.int8}
    training = json.loads(opened.read(bundle.REPORT))["training"]
    return Judge(
        graphs,
        manifest.input,
        decisions,
        origin,
        columns=manifest.columns,
        unknown=manifest.unknown,
        home=data_sets_in(training["recipe"]),
        colours=colours_in(training),
    )
