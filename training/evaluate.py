"""`evaluate-classifier`: how good a checkpoint or a bundle is on one split, with intervals over patients."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.arguments import made_folder
from common.commands import outcome, process
from common.durable import write_whole
from common.errors import UsageError
from common.terminal import say
from contract import bundle
from contract.decide import doubts_of, margins_of
from contract.manifest import InputSpec
from contract.pixels import to_batch
from contract.signature import SHIPPED_ONLY, Trust
from contract.trust_options import trust_from
from contract.types import Crops, Tensor
from engines.session import open_session
from evaluation.datasets import LAYOUTS, about_of
from evaluation.datasets.crops import read_found
from evaluation.datasets.outlines import colours_by_data_set
from evaluation.datasets.sample import Sample, Split, data_sets_of, labels_of, shuffled
from evaluation.folds import group_numbers
from evaluation.judgement import PREFERRED, counts, judgement
from evaluation.overview import BY_IMAGE, overview, refuse_nobodys
from evaluation.readable import shown_resamples, table
from evaluation.resampling import resampled
from training.judge import Judge, open_judge
from training.network import BlastNet, scores_by
from training.options import evaluate_parser
from training.recipe import scale_of
from training.refit import fold_report, shown_folds

BATCH = 32


def evaluate(
    model: Path,
    data: Path,
    layout: str,
    split: Split,
    *,
    um_per_pixel: float | None = None,
    trust: Trust = SHIPPED_ONLY,
    patients: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on one split.

    Args:
        model: a checkpoint of train-classifier or a bundle.
        data: folder of images.
        layout: key of ``LAYOUTS``.
        split: which cells. A checkpoint that was trained on a random split gets the images that were left out of its
            training by chance: its figures are the leaky ones.
        um_per_pixel: scale of all images, if not the one that the training was told or each image's own.
        trust: whose signature is good enough for a bundle.
        patients: ``none`` takes images of which nobody knows whose they are.
        quiet: draw no progress bar, and say nothing of the cells.

    Returns:
        The report, ready for JSON.

    Raises:
        UsageError: the model or the data are not what they should be.
    """
    judge = open_judge(model, trust)
    samples = _samples(judge, data, layout, patients=patients)
    chosen = _of_split(samples, split, data)
    scale = um_per_pixel or scale_of(layout, judge.recipe)
    if not quiet:
        say(*overview(samples, um_per_pixel=scale), to=sys.stderr)
    cells, missed, scores = _scored(judge, chosen, um_per_pixel=scale, quiet=quiet)
    return {
        "schema_version": 1,
        "model": dict(judge.origin),
        "data": {"layout": layout, "split": split, **_facts(cells, judge)},
        **judgement(cells, scores, judge.decisions, columns=judge.columns, unknown=judge.unknown, missed=missed),
        "leaky": _leaky(model, layout, split),
    }


def _samples(judge: Judge, data: Path, layout: str, *, patients: str | None) -> list[Sample]:
    """All samples, by the split that the model was trained with; UsageError as in ``evaluate``."""
    samples = LAYOUTS[layout].find(data)
    refuse_nobodys(samples, data, patients=patients)
    return shuffled(samples, judge.recipe["seed"]) if judge.leaks else samples


def _of_split(samples: Sequence[Sample], split: Split, data: Path) -> list[Sample]:
    """The samples of one split; UsageError if it does not hold both classes."""
    chosen = [s for s in samples if s.split == split]
    if not {"normal", "blast"} <= {s.kind for s in chosen}:
        raise UsageError(f"the {split} split of {data} does not hold both classes; choose another split")
    return chosen


def _facts(cells: Sequence[Sample], judge: Judge) -> dict[str, Any]:
    """How many cells were judged, by what they were split, and on whose terms they are used."""
    by_image = {"split_by": BY_IMAGE} if judge.leaks else {}
    return {**counts(cells), **by_image, "terms": about_of(data_sets_of(cells)).terms}


def resamples_of(
    judge: Judge, samples: Sequence[Sample], *, um_per_pixel: float | None = None, quiet: bool = False
) -> dict[str, Any]:
    """How thresholds that are chosen on half of the people hold for the others: see ``evaluation.resampling``.

    Args:
        judge: whose scores; those of its INT8 graph for CPUs where it is a bundle.
        samples: of all splits; those of validation and test are used, on which no weight was fitted.
        um_per_pixel: scale of all images, if not each one's own.
        quiet: draw no progress bar.
    """
    unseen = [s for s in samples if s.split != "training" and s.labelled]
    cells, _, scores = _scored(judge, unseen, um_per_pixel=um_per_pixel, quiet=quiet)
    rows = scores.get(PREFERRED, next(iter(scores.values())))
    like = np.array([not why for why in doubts_of(rows, judge.columns, judge.unknown)], np.bool_)
    known = [s for s, known in zip(cells, like, strict=True) if known]
    margins, names = margins_of(rows[like], judge.columns), [s.dataset for s in known]
    return {
        **counts(known),
        "unlike_training": int((~like).sum()),
        "data_sets": resampled(labels_of(known), margins, group_numbers(known), names),
    }


def _scored(
    judge: Judge, samples: Sequence[Sample], *, um_per_pixel: float | None, quiet: bool
) -> tuple[list[Sample], list[Sample], dict[str, Tensor]]:
    """The samples in which a cell is found, by path; those in which none is; scores of the first by engine."""
    chosen = sorted(samples, key=lambda s: s.path)
    foreign = [s for s in chosen if judge.spec.cell is not None and s.dataset not in judge.home]
    colours = {**judge.colours, **colours_by_data_set(foreign, um_per_pixel=um_per_pixel, quiet=quiet)}
    crops, found = read_found(chosen, judge.spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)
    cells, missed = ([s for s, there in zip(chosen, found, strict=True) if there == asked] for asked in (True, False))
    return cells, missed, {name: scores_of(engine, crops[found], judge.spec) for name, engine in judge.engines.items()}


def _leaky(model: Path, layout: str, split: Split) -> dict[str, Any]:
    """The figures that a bundle keeps of the same recipe trained on a random split; empty where it keeps none."""
    if not model.is_dir():
        return {}
    kept = json.loads((model / bundle.REPORT).read_text()).get("leaky", [])
    same = (r for r in kept if r["data"]["layout"] == layout and r["data"]["split"] == split)
    return next((next(iter(report["engines"].values())) for report in same), {})


def scores_of(engine: Path | BlastNet, crops: Crops, spec: InputSpec, *, as_written: bool = False) -> Tensor:
    """Scores of crops by a graph in ONNX Runtime on CPU, or by a network in torch; (N, columns) float32.

    ``as_written`` is for graphs, as in ``open_session``.
    """
    if isinstance(engine, BlastNet):
        return scores_by(engine, crops, spec)
    session = open_session(engine, as_written=as_written)
    batches = (to_batch(crops[k : k + BATCH], spec) for k in range(0, len(crops), BATCH))
    rows = [session.run(None, {spec.name: batch})[0] for batch in batches]
    return np.concatenate(rows) if rows else np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = evaluate_parser().parse_args(arguments)

    def work() -> int:
        scale, trust = given.um_per_pixel, trust_from(given)
        if given.split is None:
            judge = open_judge(given.model, trust)
            samples = LAYOUTS[given.layout].find(given.data)
            refuse_nobodys(samples, given.data, patients=given.patients)
            say(*overview(samples, um_per_pixel=scale), to=sys.stderr)
            make, shown = (fold_report, shown_folds) if given.folds else (resamples_of, shown_resamples)
            report = {"schema_version": 1, "model": dict(judge.origin), **make(judge, samples, um_per_pixel=scale)}
            text = shown(report)
        else:
            report = evaluate(
                given.model,
                given.data,
                given.layout,
                given.split,
                um_per_pixel=scale,
                trust=trust,
                patients=given.patients,
            )
            text = table(report)
        _write(given.out, report)
        say(*text.split("\n"))
        return 0

    return outcome("evaluate-classifier", work)


def _write(out: Path, report: Mapping[str, Any]) -> None:
    made_folder(out.parent)
    try:
        write_whole(out, (json.dumps(report, indent=1) + "\n").encode())
    except OSError as cause:
        raise UsageError(f"the report can not be written to {out} ({cause.strerror}); choose another --out") from cause


if __name__ == "__main__":
    raise SystemExit(process("evaluate-classifier", main))
