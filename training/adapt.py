"""`train-classifier --adapt`: the heads of a bundle, fitted further on a site's own labelled cells.

Trunk, columns and what is called unlike the training stay. What is fitted is what must be added to the margin of the
blasts: linear in the features, held near zero by a penalty, so that a hundred cells move what they know of and no more.
How much it helps is measured out of fold, on nobody's cells whose others were fitted on.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from common.arguments import made_folder
from common.errors import GateError, UsageError
from common.terminal import say
from contract import bundle
from contract.decide import margins_of
from contract.manifest import CellColours, InputSpec, Unknown
from contract.signature import SHIPPED_ONLY, Trust
from contract.types import Tensor
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_found
from evaluation.datasets.outlines import colours_by_data_set
from evaluation.datasets.sample import Sample, data_sets_of, labels_of
from evaluation.decision import FAR, REACH, choose_decision
from evaluation.folds import group_numbers
from evaluation.metrics import Labels, Numbers, auroc, sigmoid, weighted_f1
from evaluation.overview import few_words, overview, refuse_nobodys
from training.augment import TURNS, quarter_turns
from training.checkpoint import CLASSIFIER, Classifier, write_classifier
from training.heads import Heads
from training.judge import Judge, open_judge
from training.linear import logistic
from training.network import BlastNet, features_by
from training.recipe import Recipe
from training.trunk import digest_of, trunk_of

PENALTY = 3.0
"""Of what is added to the weights, as in training/heads.py; see training/RESULTS.md."""
FEWEST_CELLS, FEWEST_PATIENTS = 20, 2
"""Of each class; fewer say nothing of others."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Gain:
    """What the adaptation does on cells of patients that it was not fitted on.

    Attributes:
        cells: how many were judged.
        patients: whose they are.
        before: figures of the bundle as it is, by name.
        after: the same out of fold.
        warning: why these figures say little of others; "" if the cells are enough.
    """

    cells: int
    patients: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    warning: str = ""

    def lines(self) -> list[str]:
        """For a reader at a terminal."""
        places = 2 if self.warning else 4
        rows = [
            f"{name:12} {self.before[name]:.{places}f} before, {self.after[name]:.{places}f} after"
            for name in self.before
        ]
        warned = [f"watch out: {self.warning}"] if self.warning else []
        head = f"on {self.cells} cells of {self.patients} patients, each by heads fitted on other patients:"
        return [*warned, head, *rows]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Labelled cells of a site, those in whose images a cell is found.

    Attributes:
        samples: N of them, by path.
        features: (turns, N, features) what the heads read, by quarter turn; the first as the cells lie.
        colours: of each data set among them.
    """

    samples: list[Sample]
    features: Tensor
    colours: Mapping[str, CellColours]


def adapt(
    model: Path,
    root: Path,
    layout: str,
    out: Path,
    *,
    um_per_pixel: float | None = None,
    trust: Trust = SHIPPED_ONLY,
    patients: str | None = None,
    quiet: bool = False,
) -> tuple[Path, Gain]:
    """Fit the heads of a bundle further, and write them with its trunk as a checkpoint, to be exported like any.

    Args:
        model: the bundle.
        root: folder of labelled cells, all of which are used.
        layout: key of ``LAYOUTS``.
        out: folder for ``classifier.pt``.
        um_per_pixel: scale of all images, if not each one's own.
        trust: whose signature is good enough.
        patients: ``none`` takes images of which nobody knows whose they are.
        quiet: draw no progress bars, and say nothing of the cells.

    Raises:
        UsageError: the cells or their patients are too few, or the bundle has no heads of this version.
        GateError: on other patients the adapted heads know blasts less well than the bundle does; nothing is written.
    """
    opened = bundle.open_bundle(model, trust)
    network, heads = _network(opened, model, trust)
    spec = opened.manifest.input
    cells = _cells(network, spec, root, layout, um_per_pixel=um_per_pixel, patients=patients, quiet=quiet)
    margins = _out_of_fold(heads, cells.features, cells.samples)
    gain = _gain(cells.samples, margins_of(heads.scores(cells.features[0]), heads.columns), margins)
    if gain.after["auroc"] < gain.before["auroc"]:
        raise GateError(
            f"heads fitted on {root} know blasts of other patients less well (AUROC {gain.after['auroc']:.4f}) than "
            f"{model} as it is ({gain.before['auroc']:.4f}); nothing is written: label more cells, of more patients"
        )
    recipe = Recipe(layout, um_per_pixel, epochs=0, start=digest_of(model))
    judge = open_judge(model, trust)
    classifier = _classifier(opened, network, heads, cells, margins, judge=judge, recipe=recipe, gain=gain)
    made_folder(out)
    write_classifier(out / CLASSIFIER, classifier)
    return out / CLASSIFIER, gain


def _cells(
    network: BlastNet,
    spec: InputSpec,
    root: Path,
    layout: str,
    *,
    um_per_pixel: float | None,
    patients: str | None,
    quiet: bool,
) -> _Cells:
    """Read a site's cells; raises as ``adapt``."""
    given = sorted((s for s in LAYOUTS[layout].find(root) if s.labelled), key=lambda s: s.path)
    refuse_nobodys(given, root, patients=patients)
    if not quiet:
        say(*overview(given, um_per_pixel=um_per_pixel), to=sys.stderr)
    colours = colours_by_data_set(given, um_per_pixel=um_per_pixel, quiet=quiet)
    crops, found = read_found(given, spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)
    samples = [s for s, there in zip(given, found, strict=True) if there]
    _refuse_few(samples, root)
    features = features_by(network, quarter_turns(crops[found]), spec).reshape(TURNS, len(samples), -1)
    return _Cells(samples, features, colours)


def _classifier(
    opened: bundle.Bundle,
    network: BlastNet,
    heads: Heads,
    cells: _Cells,
    margins: Numbers,
    *,
    judge: Judge,
    recipe: Recipe,
    gain: Gain,
) -> Classifier:
    """The bundle's trunk with heads that are fitted on all cells of the site; decided by the margins out of fold."""
    adapted = fitted(heads, np.concatenate(cells.features), cells.samples * TURNS)
    datasets = list(dict.fromkeys([*judge.home, *data_sets_of(cells.samples)]))
    return Classifier(
        adapted.on(network),
        opened.manifest.input,
        adapted.columns,
        choose_decision(labels_of(cells.samples), margins),
        _reaching(opened.manifest.unknown, adapted.scores(cells.features[0])),
        {**judge.colours, **cells.colours},
        asdict(recipe) | {"datasets": datasets, "adapted_from": opened.manifest.id},
        0,
        {f"{name}_before": value for name, value in gain.before.items()} | dict(gain.after),
    )


def _reaching(unknown: Unknown | None, scores: Tensor) -> Unknown | None:
    """What is unknown, where a site's own cells are like the training's now."""
    if unknown is None:
        return None
    far = float(np.quantile(scores[:, -1], 1 - FAR))
    return unknown.model_copy(update={"distance": max(unknown.distance, round(REACH * far, 3))})


def _network(opened: bundle.Bundle, model: Path, trust: Trust) -> tuple[BlastNet, Heads]:
    """The bundle's network in torch, and its heads."""
    graph = onnx.load_from_string(opened.read(bundle.FP32)).graph
    kept = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}
    columns, trunk = opened.manifest.columns, BlastNet()
    weight, wide = kept.get("head.weight"), trunk.shape.features
    pooled = {node.op_type for node in graph.node}
    if weight is None or weight.shape != (len(columns.names), wide) or "ReduceL2" not in pooled:
        raise UsageError(f"{model} has no heads of this version; adapt a bundle that this version exported")
    trunk.load_state_dict(dict(trunk_of(model, trust).weights), strict=False)
    gate = kept.get("gate.weight", np.zeros((0, wide)))
    bias = kept["head.bias"]
    second, second_bias = kept.get("second.weight", weight), kept.get("second.bias", bias)
    heads = Heads(columns, weight, bias, second, second_bias, gate, kept.get("gate.bias", np.zeros(0)))
    return trunk.eval(), heads


def _refuse_few(samples: Sequence[Sample], root: Path) -> None:
    for kind in ("normal", "blast"):
        cells = [s for s in samples if s.kind == kind]
        owners = {s.patient for s in cells}
        if len(cells) < FEWEST_CELLS or len(owners) < FEWEST_PATIENTS:
            raise UsageError(
                f"{root} shows {len(cells)} {kind} cells of {len(owners)} patients; heads are adapted on "
                f"{FEWEST_CELLS} cells of {FEWEST_PATIENTS} patients of each class at least: label more"
            )


def fitted(heads: Heads, features: NDArray[np.floating], samples: Sequence[Sample]) -> Heads:
    """The heads with what these cells add to the margin of the blasts; every kind of blast gets the same."""
    rows, truth = np.asarray(features, np.float64), labels_of(samples)
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    _, place, count = np.unique([f"{s.kind}/{s.patient}" for s in samples], return_inverse=True, return_counts=True)
    share = 1 / np.sqrt(count[place])
    share /= 2 * np.bincount(truth, share)[truth]
    before = margins_of(heads.scores(rows), heads.columns)
    slope, offset = logistic((rows - mean) / spread, truth, share, penalty=PENALTY, given=before)
    weight, bias = np.stack([heads.weight, heads.second]), np.stack([heads.bias, heads.second_bias])
    for k in heads.columns.blasts:  # what both heads of a kind get, the lesser of them gets
        weight[:, k] += slope / spread
        bias[:, k] += offset - (slope / spread) @ mean
    return replace(heads, weight=weight[0], bias=bias[0], second=weight[1], second_bias=bias[1])


def _out_of_fold(heads: Heads, features: NDArray[np.floating], samples: Sequence[Sample]) -> Numbers:
    """(N,) margins of cells by heads that were fitted on other patients'; folds hold both classes where they can."""
    owners, labels = group_numbers(samples), labels_of(samples)
    folds = _dealt(owners, labels)
    margins = np.zeros(len(samples))
    for fold in range(folds.max() + 1):
        use, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        adapted = fitted(heads, np.concatenate(features[:, use]), [samples[int(k)] for k in use] * TURNS)
        margins[held] = margins_of(adapted.scores(features[0, held]), heads.columns)
    return margins


def _dealt(owners: Labels, labels: Labels) -> Labels:
    """(N,) the fold of each cell: the patients of each class, those with most cells first, dealt out in turn."""
    names, place, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    ill = np.bincount(place, labels) * 2 > sizes
    folds = np.zeros(len(names), np.int64)
    few = min(FOLDS, *(max(int((ill == kind).sum()), 2) for kind in (False, True)))
    for kind in (False, True):
        rows = np.flatnonzero(ill == kind)
        order = rows[np.argsort(-sizes[rows], kind="stable")]
        folds[order] = np.arange(len(order)) % few
    return np.asarray(folds[place], np.int64)


def _gain(samples: Sequence[Sample], before: Numbers, after: Numbers) -> Gain:
    labels = labels_of(samples)

    def figures(margins: Numbers) -> dict[str, float]:
        called = (sigmoid(margins) >= 0.5).astype(np.int64)  # noqa: PLR2004
        return {"auroc": auroc(labels, margins), "weighted_f1": weighted_f1(labels, called)}

    owners = len({s.patient for s in samples})
    return Gain(len(samples), owners, figures(before), figures(after), few_words(samples))
