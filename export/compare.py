"""`compare-engines`: the same cells through every engine that this machine can run, and where they disagree."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from common.arguments import micrometres, place, whole
from common.commands import outcome, process
from common.durable import PRIVATE, write_whole
from common.errors import EngineError, IntegrityError, MissingError, UsageError
from common.terminal import say
from contract.bundle import REPORT, Bundle, open_bundle
from contract.trust_options import add_trust, trust_from
from contract.types import Crops
from engines import score_onnxruntime, score_tensorrt
from engines.scoring import Scored, read_scored
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.files import images_below, short_name
from evaluation.datasets.sample import SPLITS, Sample, labelled, labels_of
from evaluation.metrics import of_sigma
from evaluation.overview import few_words, refuse_nobodys
from export.compare_page import compare_page
from export.differences import Cells, compare, flipped, furthest, words
from training.options import add_patients
from training.recipe import colours_in, scale_of, scale_of_training

USAGE = "compare-engines BUNDLE --data DIR [--engines NAME [NAME ...]] [options]"
DESCRIPTION = """The same cells through every engine that this machine can run, and where they disagree. fp32 is what
the others are held against; int8-reference is the graph of TensorRT's INT8 engine, run in ONNX Runtime as it is
written."""
EPILOG = """Exit codes: 0 done, whatever the engines said; 2 wrong usage, 4 there is nothing to compare, 5 the bundle
can not be trusted."""
REFERENCE = "fp32"
WORKERS: Mapping[str, ModuleType] = {
    **dict.fromkeys(score_onnxruntime.GRAPHS, score_onnxruntime),
    **dict.fromkeys(score_tensorrt.PRECISIONS, score_tensorrt),
}
"""The program that runs each engine, in a process of its own."""


def read_cells(
    data: Path,
    layout: str | None,
    split: str,
    bundle: Bundle,
    *,
    um_per_pixel: float | None = None,
    patients: str | None = None,
) -> Cells:
    """Read the cells; with a layout, the labelled ones of one split.

    Raises:
        UsageError: there are none, or nobody knows whose they are and ``patients`` does not say so.
    """
    samples = _labelled(data, layout, split, patients=patients) if layout else _any(data)
    if not samples:
        raise UsageError(f"{data} holds no cell to compare on (layout {layout}, split {split}); name another folder")
    training = json.loads(bundle.read(REPORT))["training"]
    scale, colours = um_per_pixel or _scale(training["recipe"], layout), colours_in(training)
    crops = read_crops(samples, bundle.manifest.input, um_per_pixel=scale, colours=colours)
    names = [short_name(s.path, data) for s in samples]
    return Cells(names, crops, labels_of(samples) if layout else None, few_words(samples) if layout else "")


def run_engines(given: argparse.Namespace, crops: Crops) -> tuple[dict[str, Scored], dict[str, str]]:
    """Score the crops with each engine that was asked for.

    Returns:
        By engine what it said; and by engine why it is not available here.

    Raises:
        IntegrityError: a file was changed meanwhile.
        EngineError: an engine crashed.
    """
    scored: dict[str, Scored] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        np.save(Path(folder) / "crops.npy", crops)
        for name in given.engines:
            say(f"{name}: {len(crops)} cells", to=sys.stderr)
            out = Path(folder) / f"{name}.npz"
            command = _command(name, given, out)
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
            if done.returncode == 0:
                scored[name] = read_scored(out)
            elif done.returncode == MissingError.exit_code:
                missing[name] = done.stderr.strip()
            else:
                failure = IntegrityError if done.returncode == IntegrityError.exit_code else EngineError
                raise failure(f"the engine {name} failed (exit {done.returncode}): {done.stderr.strip()}")
    return scored, missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)

    def work() -> int:
        say(*_shown(_compared(given)))
        return 0

    return outcome("compare-engines", work)


def _compared(given: argparse.Namespace) -> dict[str, Any]:
    bundle = open_bundle(given.bundle, trust_from(given))
    given.engines = [REFERENCE, *(name for name in given.engines or WORKERS if name != REFERENCE)]
    cells = read_cells(
        given.data, given.layout, given.split, bundle, um_per_pixel=given.um_per_pixel, patients=given.patients
    )
    scored, missing = run_engines(given, cells.crops)
    if len(scored) <= 1:
        raise MissingError(f"nothing to compare {REFERENCE} with: {'; '.join(missing.values()) or 'name more engines'}")
    figures, verdicts = compare(bundle, cells, scored)
    odd = flipped(verdicts)
    report = {
        **_circumstances(given, bundle, cells),
        "reference": REFERENCE,
        "engines": figures,
        "not_available": missing,
        "flipped": [words(k, cells, verdicts) for k in odd],
    }
    page = compare_page(report, cells, verdicts, odd or furthest(verdicts, 8), bundle.manifest)
    out = given.out or Path(f"compare-{bundle.manifest.id}")
    return report | {"written": str(_write(out, report, page))}


def _circumstances(given: argparse.Namespace, bundle: Bundle, cells: Cells) -> dict[str, Any]:
    """What was compared, and where."""
    return {
        "schema_version": 1,
        "model": {"id": bundle.manifest.id, "sha256": bundle.sha256, "signed_by": bundle.signed_by},
        "data": {
            "cells": len(cells.names),
            "labelled": cells.labels is not None,
            "layout": given.layout,
            "split": given.split if given.layout else None,
            "warning": cells.warning,
        },
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "threads": given.threads},
    }


def _write(out: Path, report: Mapping[str, Any], page: str) -> Path:
    """Write the report and its page; the path of the page."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "compare.json", (json.dumps(report, indent=1) + "\n").encode())
        write_whole(out / "compare.html", page.encode(), mode=PRIVATE)
    except OSError as cause:
        raise UsageError(f"the report can not be written to {out} ({cause.strerror}); choose another --out") from cause
    return out / "compare.html"


def _labelled(data: Path, layout: str, split: str, *, patients: str | None) -> list[Sample]:
    chosen, samples = next(s for s in SPLITS if s == split), LAYOUTS[layout].find(data)
    refuse_nobodys(samples, data, patients=patients)
    return labelled(samples, chosen)


def _any(data: Path) -> list[Sample]:
    return [Sample(p, p.as_posix(), "", "rare", "test") for p in images_below(data)]


def _scale(recipe: Mapping[str, Any], layout: str | None) -> float | None:
    """Of the images: what the training took, if it was on that layout or none is named; else each image's own."""
    return scale_of_training(recipe) if layout is None else scale_of(layout, recipe)


def _command(name: str, given: argparse.Namespace, out: Path) -> list[str]:
    command = [sys.executable, "-m", WORKERS[name].__name__, str(given.bundle), "--engine", name, "--out", str(out)]
    command += ["--crops", str(out.with_name("crops.npy"))]
    for key in given.trust:
        command += ["--trust", key]
    if given.allow_unsigned:
        command.append("--allow-unsigned")
    if WORKERS[name] is score_onnxruntime:
        command += ["--threads", str(given.threads)]
    elif given.state_dir:
        command += ["--state-dir", str(given.state_dir)]
    return command


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _shown(report: Mapping[str, Any]) -> list[str]:
    warning = report["data"]["warning"]
    lines = [f"watch out: {warning}"] if warning else []
    lines.append(f"{report['model']['id']}, {report['data']['cells']} cells, against {report['reference']}")
    lines.append(f"{'engine':16}{'flips':>8}{'RMSE/sigma':>12}{'ms alone':>10}{'ms of 16':>10}")
    lines += [
        f"{name:16}{f['flips']:8d}{of_sigma(f):>12}{f['ms_alone']:10.2f}{f['ms_together']:10.2f}"
        for name, f in report["engines"].items()
    ]
    lines += [f"{name:16}not available: {reason}" for name, reason in report["not_available"].items()]
    return [*lines, f"report: {report['written']}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("compare-engines", usage=USAGE, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("bundle", type=place, help="folder of the model")
    cells = parser.add_argument_group("cells")
    cells.add_argument(
        "--data",
        type=place,
        required=True,
        metavar="DIR",
        help="folder of cell images, of any depth; or the file of a mixture",
    )
    cells.add_argument("--layout", choices=sorted(LAYOUTS), help="the folder is labelled: accuracy is reported too")
    cells.add_argument("--split", choices=SPLITS, default="test", help="of a labelled folder; default: test")
    cells.add_argument(
        "--um-per-pixel",
        type=micrometres,
        metavar="X",
        help="scale of all images; default: the training's or each one's own",
    )
    add_patients(cells)
    engines = parser.add_argument_group("engines")
    engines.add_argument(
        "--engines",
        nargs="+",
        choices=WORKERS,
        metavar="NAME",
        help=f"of {', '.join(WORKERS)}; default: all that this machine has, and why it has not the others",
    )
    engines.add_argument("--threads", type=whole(), default=1, metavar="N", help="of ONNX Runtime; default: 1")
    engines.add_argument(
        "--state-dir",
        type=place,
        metavar="DIR",
        help="the agent's state folder, where TensorRT's engines lie; default: the user's",
    )
    parser.add_argument_group("report").add_argument(
        "--out", type=place, metavar="DIR", help="for compare.html and compare.json; default: compare-MODEL, here"
    )
    add_trust(parser.add_argument_group("whose bundle"))
    return parser


if __name__ == "__main__":
    raise SystemExit(process("compare-engines", main))
