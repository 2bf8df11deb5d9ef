"""Cells through every graph of a draft: what the gate and the report look at."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.strata import stratified
from contract import bundle
from contract.decide import margins_of
from contract.manifest import TWO, CellColours, Columns, InputSpec
from contract.types import Crops, Tensor
from evaluation.datasets.crops import read_found
from evaluation.datasets.sample import Sample, labels_of
from evaluation.judgement import PREFERRED
from export.gate import Held
from training.evaluate import scores_of

REFERENCE = "int8-reference"
"""The S8 graph run as written, which is how TensorRT computes it: slow here, so on some cells only."""
REFERENCE_CELLS = 512
ENGINES = {"fp32": bundle.FP32, PREFERRED: bundle.INT8_CPU}


@dataclass(frozen=True, slots=True)
class Scored:
    """Cells with their crops and, by engine, their scores; row k of each belongs to sample k."""

    samples: list[Sample]
    crops: Crops
    scores: Mapping[str, Tensor]
    ms_per_cell: Mapping[str, float] = field(default_factory=dict)
    columns: Columns = TWO
    missed: Sequence[Sample] = ()
    """In whose images no cell was found, so that they have no row."""

    def of(self, dataset: str) -> "Scored":
        """The cells of one data set."""
        use = np.flatnonzero([s.dataset == dataset for s in self.samples])
        scores = {name: rows[use] for name, rows in self.scores.items()}
        missed = [s for s in self.missed if s.dataset == dataset]
        own = [self.samples[k] for k in use]
        return Scored(own, self.crops[use], scores, self.ms_per_cell, self.columns, missed)

    def judged(self) -> NDArray[np.int64]:
        """Which of them the gate judges: the labelled ones if there are any, otherwise all."""
        known = np.flatnonzero([s.labelled for s in self.samples])
        return known if len(known) else np.arange(len(self.samples))

    def held(self) -> Held:
        """The judged cells as the gate sees them."""
        use = self.judged()
        chosen = [self.samples[k] for k in use]
        labels = labels_of(chosen) if any(s.labelled for s in chosen) else None
        return Held({name: margins_of(rows[use], self.columns) for name, rows in self.scores.items()}, labels)


def score(
    samples: Sequence[Sample],
    um_per_pixel: float | None,
    spec: InputSpec,
    files: Mapping[str, Path],
    *,
    columns: Columns = TWO,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool,
) -> Scored:
    """Read cells and run them through FP32 and the INT8 CPU graph; images without a cell are left out."""
    crops, found = read_found(samples, spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)
    missed = [s for s, there in zip(samples, found, strict=True) if not there]
    samples, crops = [s for s, there in zip(samples, found, strict=True) if there], crops[found]
    scores, ms_per_cell = {}, {}
    for name, file in ENGINES.items():
        started = time.perf_counter()
        scores[name] = scores_of(files[file], crops, spec)
        ms_per_cell[name] = (time.perf_counter() - started) * 1e3 / max(len(crops), 1)
    return Scored(list(samples), crops, scores, ms_per_cell, columns, missed)


def with_reference(scored: Scored, spec: InputSpec, files: Mapping[str, Path]) -> Scored:
    """Some of the cells that the gate looks at, run through the S8 graph too."""
    judged = scored.judged()
    strata = [f"{scored.samples[k].kind} {scored.samples[k].patient}" for k in judged]
    some = judged[stratified(strata, REFERENCE_CELLS, 0)]
    crops = scored.crops[some]
    scores = {name: rows[some] for name, rows in scored.scores.items()}
    scores[REFERENCE] = scores_of(files[bundle.INT8], crops, spec, as_written=True)
    return Scored([scored.samples[k] for k in some], crops, scores, columns=scored.columns)
