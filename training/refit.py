"""Heads fitted again on a finished trunk: out of fold, to see what they know of people that they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnx
from typing_extensions import Self

from common.errors import UsageError
from contract.decide import margins_of
from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.types import Crops, Tensor
from engines.session import open_session
from evaluation.datasets.crops import read_found
from evaluation.datasets.files import read_image
from evaluation.datasets.outlines import outline_of
from evaluation.datasets.sample import Sample, labels_of
from evaluation.folds import Scorer, fold_figures, fold_rows, group_numbers, out_of_fold
from evaluation.judgement import PREFERRED
from evaluation.metrics import Labels, Numbers, auroc
from evaluation.overview import few_words
from training.augment import TURNS, quarter_turns
from training.heads import fit_heads, trainable
from training.judge import Judge
from training.laboratories import foreign_features
from training.network import BlastNet, features_by
from training.sizes import STEP, Changes, resized

FEATURES = "features"
"""Name of the tensor in a bundle's graphs that its heads read."""
BATCH = 32
EVEN = 0.0
"""Log-odds from which on a cell is called a blast."""
SMALL, LARGE = f"drawn {STEP:.0%} too small".replace("%", " %"), f"drawn {STEP:.0%} too large".replace("%", " %")
"""Trials of what a wrong scale does."""
ONE_AREA, FITTED_SO = "all of one area", "all of one area, heads too"
"""Trials of what is known of cells whose size says nothing: by heads that know sizes, and by heads that never did."""


def fold_report(
    judge: Judge, samples: Sequence[Sample], *, um_per_pixel: float | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Figures of heads that are fitted once for each fold, on the cells of the other folds.

    Cells without a fold that are in a training split help to fit each of them, as they did in the model. The trunk
    stays as it is: the figures are honest where it has not learnt from the cells with folds.

    Args:
        judge: whose trunk, and in which numbers.
        samples: cells with folds, and others; all that the model's heads were fitted on.
        um_per_pixel: scale of all images, if not each one's own.
        quiet: draw no progress bar.

    Raises:
        UsageError: no cell has a fold, or the model has no features to fit on.
    """
    folded = sorted((s for s in samples if s.fold is not None and s.labelled), key=lambda s: s.path)
    folds = fold_rows(folded)
    others = [s for s in trainable(samples) if s.fold is None and s.split == "training"]
    trials = _Trials.of(judge, folded, others, um_per_pixel=um_per_pixel, quiet=quiet)
    scores, labels = out_of_fold(folds, trials.fit), labels_of(folded)  # log-odds: a mean of them loses none at 0 or 1
    return {
        "cells": len(folded),
        "groups": len({s.patient for s in folded}),
        "warning": few_words(folded),
        "figures": fold_figures(labels, scores, group_numbers(folded), threshold=EVEN, beside=trials.areas),
        "called": float((scores >= EVEN).mean()),
        "sizes": {
            name: {"auroc": auroc(labels, found), "called": float((found >= EVEN).mean())}
            for name, found in trials.margins.items()
        },
    }


@dataclass(frozen=True, slots=True)
class _Trials:
    """Heads that are fitted on some of the cells with folds, and what they say of the others in each size.

    Attributes:
        folded: (N,) the cells with folds.
        cells: these, and then those without folds.
        features: (TURNS, len(cells), F).
        others: which of the cells without folds show a cell.
        elsewhere: (E, F) of cells as other laboratories would show them.
        places: (E,) which cell each of these is.
        sized: (N, F) by the name of each size.
        areas: (N,) square micrometres.
        margins: (N,) out of fold, by the name of each size; filled as the folds are scored.
    """

    folded: Sequence[Sample]
    cells: Sequence[Sample]
    features: Tensor
    others: Labels
    elsewhere: Tensor
    places: Labels
    sized: Mapping[str, Tensor]
    areas: Numbers
    margins: Mapping[str, Numbers]

    @classmethod
    def of(
        cls,
        judge: Judge,
        folded: Sequence[Sample],
        others: Sequence[Sample],
        *,
        um_per_pixel: float | None,
        quiet: bool,
    ) -> Self:
        """Read the cells and measure their features; UsageError if one with a fold shows no cell."""
        cells = [*folded, *others]
        crops, found = read_found(cells, judge.spec, um_per_pixel=um_per_pixel, colours=judge.colours, quiet=quiet)
        if not found[: len(folded)].all():
            raise UsageError("in some images with folds no cell is found; figures on the others would flatter")
        features = features_of(judge, quarter_turns(crops), judge.spec).reshape(TURNS, len(cells), -1)
        parts, places = foreign_features(
            lambda views: features_of(judge, views, judge.spec),
            cells,
            judge.spec,
            um_per_pixel=um_per_pixel,
            quiet=quiet,
        )
        areas = np.array([_area(s, um_per_pixel) for s in folded])
        sized = {
            name: _sized(judge, folded, factors, um_per_pixel=um_per_pixel, quiet=quiet)
            for name, factors in _sizes(areas).items()
        }
        margins = {name: np.zeros(len(folded)) for name in (*sized, FITTED_SO)}
        there = np.flatnonzero(found[len(folded) :]) + len(folded)
        elsewhere = np.concatenate([features[0, :0], *parts])
        return cls(folded, cells, features, there, elsewhere, places, sized, areas, margins)

    def fit(self, rows: Labels) -> Scorer:
        """Fit heads on these cells with folds, and all others; scores of the rest."""
        use = np.concatenate([rows, self.others])
        there = np.isin(self.places, use)
        owners = [self.cells[k] for k in [*use] * TURNS]
        heads = fit_heads(
            np.concatenate([*self.features[:, use], self.elsewhere[there]]),
            [*owners, *(self.cells[k] for k in self.places[there])],
            Changes((self.sized[LARGE][rows] - self.sized[SMALL][rows]) / 2, [self.folded[k] for k in rows]),
        )
        alike = [np.concatenate([self.sized[ONE_AREA][rows], turned[self.others]]) for turned in self.features]
        sizeless = fit_heads(np.concatenate(alike), owners)

        def score(held: Labels) -> Numbers:
            for name, drawn in self.sized.items():
                self.margins[name][held] = margins_of(heads.scores(drawn[held]), heads.columns)
            self.margins[FITTED_SO][held] = margins_of(sizeless.scores(self.sized[ONE_AREA][held]), sizeless.columns)
            return margins_of(heads.scores(self.features[0, held]), heads.columns)

        return score


def features_of(judge: Judge, crops: Crops, spec: InputSpec) -> Tensor:
    """What the heads of a model read, (N, features): of its INT8 graph for CPUs where it is a bundle."""
    engine = judge.engines.get(PREFERRED, next(iter(judge.engines.values())))
    if isinstance(engine, BlastNet):
        return features_by(engine, crops, spec)
    model = onnx.load(engine)
    if FEATURES not in {name for node in model.graph.node for name in node.output}:
        raise UsageError(f"{engine} has no tensor {FEATURES}; heads can be fitted on bundles of this version alone")
    model.graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString())
    batches = (to_batch(crops[k : k + BATCH], spec) for k in range(0, len(crops), BATCH))
    return np.concatenate([session.run([FEATURES], {spec.name: batch})[0] for batch in batches])


def shown_folds(report: Mapping[str, Any]) -> str:
    """The report for a reader at a terminal."""
    few = bool(report["warning"])
    lines = [f"watch out: {report['warning']}"] if few else []
    lines.append(f"out of fold: {report['cells']} cells of {report['groups']} groups, nobody in two folds")
    for name, found in report["figures"].items():
        rounded, whole = f"{found['value']:.2f}", f"{found['value']:.4f} ({found['low']:.3f} to {found['high']:.3f})"
        lines.append(f"{name:28} {rounded if few else whole}")
    lines.append(f"called blast at even odds: {100 * report['called']:.1f} %")
    places = 2 if few else 4
    for name, found in report["sizes"].items():
        lines.append(f"{name:28} AUROC {found['auroc']:.{places}f}, called blast {100 * found['called']:.1f} %")
    return "\n".join(lines)


def _sizes(areas: Numbers) -> Mapping[str, Numbers]:
    """By how much each cell is drawn larger, (N,), in each of the trials of what size does."""
    same = np.ones(len(areas))
    return {
        SMALL: (1 - STEP) * same,
        LARGE: (1 + STEP) * same,
        ONE_AREA: np.sqrt(np.median(areas) / np.maximum(areas, 1.0)),
    }


def _sized(
    judge: Judge, samples: Sequence[Sample], factors: Numbers, *, um_per_pixel: float | None, quiet: bool
) -> Tensor:
    """Features of cells that are drawn larger by a factor each."""
    drawn = resized(samples, factors, um_per_pixel)
    return features_of(judge, read_found(drawn, judge.spec, colours=judge.colours, quiet=quiet)[0], judge.spec)


def _area(sample: Sample, um_per_pixel: float | None) -> float:
    """Area within the outline in square micrometres: what size alone can tell."""
    scale = um_per_pixel or sample.um_per_pixel
    outline = outline_of(read_image(sample.path), sample, scale)
    return 0.0 if outline is None else float(cv2.contourArea(outline)) * scale**2
