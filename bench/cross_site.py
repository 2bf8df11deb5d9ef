"""A classifier that sees cells with their surroundings, on other laboratories, with and without colour normalisation.

Healthy donors (BCCD, Barcelona tiles): how many cells are called blasts. C-NMC cells, which lie on black: AUROC. Cells
of DeepAPL, as they are and as other laboratories would have stained and lit them: AUROC, accuracy, flipped decisions.

    python -m bench.cross_site [--split test]

needs MICROSCOPE_DATA and MICROSCOPE_DEEPAPL.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from agent.vision.quality import assess
from agent.vision.segmentation import find_cells
from bench.results import Figures
from bench.shifts import shifts
from calibration.strata import stratified
from contract.bundle import INT8_CPU, SHIPPED, open_bundle
from contract.colour import Method, normaliser
from contract.decide import blast_probability, label_of
from contract.look import StainMeasurement, measure_stain, stain_profile
from contract.manifest import Manifest
from contract.pixels import cut, stack
from contract.reference import StainProfile
from contract.shares import wilson
from contract.types import Crops, Image
from evaluation.datasets import LAYOUTS
from evaluation.datasets.crops import read_crops
from evaluation.datasets.deepapl import UM_PER_PIXEL
from evaluation.datasets.files import images_below, read_image
from evaluation.datasets.sample import Sample, Split, labelled, labels_of
from evaluation.metrics import Labels, Numbers, auroc, summary
from export.training_profile import profile_of_samples
from training.evaluate import scores_of

WITH_SURROUNDINGS = SHIPPED.parent / "blast-2"
"""It sees what lies around a cell; one that sees cells alone in the training's colours is measured by bench.looks."""
METHODS: tuple[Method, ...] = ("off", "reinhard", "macenko")
FRAMES = {"bccd": ("bccd/JPEGImages", 0.075), "pbc": ("txl-pbc-tiles/images", 0.10)}
CNMC_CELLS = 400
"""So many of C-NMC's test cells, spread over classes and people."""
TRAINING_CELLS = 512
EVERY = 4
"""`make bench` shifts one DeepAPL cell in so many; a site's look is measured on as few, too."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model and what its training looked like."""

    manifest: Manifest
    reference: StainProfile

    def probabilities(self, crops: Crops) -> Numbers:
        """Calibrated probability of a blast of each crop, in INT8."""
        scores = scores_of(WITH_SURROUNDINGS / INT8_CPU, crops, self.manifest.input)
        return blast_probability(scores, self.manifest, "int8")

    def normalised(self, method: Method, crops: Crops, site: StainProfile) -> Crops:
        """Crops as the network would see them with a site's colour set to ``method``."""
        made = normaliser(method, site, self.reference)
        return crops if made is None else made.apply(crops)


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one site, with its look."""

    crops: Crops
    look: StainProfile


@dataclass(frozen=True, slots=True)
class Row:
    """Labelled cells under one shift, with one method."""

    shift: str
    method: Method
    figures: dict[str, float]


def measure() -> Figures:
    """The figures of all parts for which there are images, in their quick form."""
    data, deepapl = (os.environ.get(name) for name in ("MICROSCOPE_DATA", "MICROSCOPE_DEEPAPL"))
    if not data or not (model := open_model(deepapl)):
        return {"skipped": "MICROSCOPE_DATA names no images, or MICROSCOPE_DEEPAPL none to be the reference"}
    figures = {**healthy(model, Path(data)), **cut_out(model, Path(data))}
    if deepapl:
        samples = labelled(LAYOUTS["deepapl"].find(Path(deepapl)), "validation")[::EVERY]
        figures |= over_shifts(home(model, samples))
    return figures


def open_model(deepapl: str | None) -> Model | None:
    """The model; its reference, if it bears none, from DeepAPL's training cells."""
    manifest = open_bundle(WITH_SURROUNDINGS).manifest
    look: StainProfile | None = manifest.reference
    if look is None and deepapl:
        cells = labelled(LAYOUTS["deepapl"].find(Path(deepapl)), "training")
        places = stratified([f"{s.kind} {s.patient}" for s in cells], TRAINING_CELLS, 0)
        look = profile_of_samples([cells[k] for k in places])
    return Model(manifest, look) if look else None


def healthy(model: Model, data: Path) -> Figures:
    """Among the whole white cells of healthy donors: called blast, and uncertain, with Wilson's intervals."""
    figures: Figures = {}
    for site, (folder, um_per_pixel) in FRAMES.items():
        cells = cells_of(model, data / folder, um_per_pixel)
        for method in METHODS:
            started = time.perf_counter()
            crops = model.normalised(method, cells.crops, cells.look)
            if method != "off":
                figures[f"{site}_{method}_ms_per_cell"] = round((time.perf_counter() - started) * 1e3 / len(crops), 4)
            probabilities = model.probabilities(crops)
            labels = [label_of(p, model.manifest.decisions.int8) for p in probabilities.tolist()]
            for label in ("blast", "uncertain"):
                count = sum(found == label for found in labels)
                interval = wilson(count, len(labels))
                figures |= {f"{site}_cells": len(labels), f"{site}_{method}_{label}": count}
                if interval:
                    figures[f"{site}_{method}_{label}_interval"] = f"{interval.low:.4f} to {interval.high:.4f}"
    return figures


def cells_of(model: Model, folder: Path, um_per_pixel: float) -> Cells:
    """The cells that the agent finds and judges in a folder of frames; those that the border cuts are left out."""
    crops: list[Image] = []
    measurements: list[StainMeasurement] = []
    for path in images_below(folder):
        image = read_image(path)
        if not assess(image, um_per_pixel).accepted:
            continue
        measurement = measure_stain(image, um_per_pixel)
        measurements.extend([measurement] if measurement else [])
        whole = (cell for cell in find_cells(image, um_per_pixel) if "edge" not in cell.flags)
        crops.extend(cut(image, cell.centre, um_per_pixel, model.manifest.input) for cell in whole)
    return Cells(stack(crops, model.manifest.input), stain_profile(measurements, um_per_pixel, folder.name))


def cut_out(model: Model, data: Path) -> Figures:
    """C-NMC's cells on black: no background and no red cells, so that there is nothing to normalise by."""
    cells = labelled(LAYOUTS["cnmc"].find(data / "cnmc2019"), "test")
    samples = [cells[k] for k in stratified([f"{s.kind} {s.patient}" for s in cells], CNMC_CELLS, 0)]
    images = [read_image(s.path) for s in samples]
    crops = read_crops(samples, model.manifest.input, quiet=True)
    return {
        "cnmc_cells": len(samples),
        "cnmc_off_auroc": round(auroc(labels_of(samples), model.probabilities(crops)), 4),
        "cnmc_with_a_look": sum(
            measure_stain(i, s.um_per_pixel) is not None for i, s in zip(images, samples, strict=True)
        ),
    }


def home(model: Model, samples: Sequence[Sample]) -> Iterator[Row]:
    """Labelled cells of DeepAPL as they are and shifted; a site's look is measured on some of the shifted images."""
    images = [read_image(sample.path) for sample in samples]
    plain = model.probabilities(stack((middle_of(i, UM_PER_PIXEL, model) for i in images), model.manifest.input))
    for name, shift in shifts(model.reference).items():
        shifted = [shift(image) for image in images]
        crops = stack((middle_of(image, UM_PER_PIXEL, model) for image in shifted), model.manifest.input)
        look = look_at(shifted[::EVERY], UM_PER_PIXEL, name)
        for method in METHODS:
            probabilities = model.probabilities(model.normalised(method, crops, look))
            yield Row(name, method, judged(model, samples, probabilities, plain))


def over_shifts(rows: Iterable[Row]) -> Figures:
    """Of each method the mean and the worst over all shifts."""
    figures: Figures = {}
    every = list(rows)
    for method in METHODS:
        mine = [row.figures for row in every if row.method == method]
        for name, worst in (("auroc", np.min), ("accuracy", np.min), ("flips", np.max)):
            values = [float(found[name]) for found in mine]
            figures[f"deepapl_shifted_{method}_{name}_mean"] = round(float(np.mean(values)), 4)
            figures[f"deepapl_shifted_{method}_{name}_worst"] = round(float(worst(values)), 4)
    return figures


def by_patient(model: Model, samples: Sequence[Sample]) -> Iterator[Row]:
    """The unshifted cells once more, with a look for each patient, as if each slide were a site."""
    images = [read_image(sample.path) for sample in samples]
    crops = stack((middle_of(i, UM_PER_PIXEL, model) for i in images), model.manifest.input)
    plain = model.probabilities(crops)
    patients = np.array([s.patient for s in samples])
    for method in METHODS:
        done = crops.copy()
        for patient in np.unique(patients):
            mine = np.flatnonzero(patients == patient)
            done[mine] = model.normalised(
                method, crops[mine], look_at((images[k] for k in mine), UM_PER_PIXEL, str(patient))
            )
        yield Row("a look per patient", method, judged(model, samples, model.probabilities(done), plain))


def judged(model: Model, samples: Sequence[Sample], probabilities: Numbers, plain: Numbers) -> dict[str, float]:
    """The figures of labelled cells; flips are against the same cells unshifted and not normalised."""
    threshold = model.manifest.decisions.int8.threshold
    patients: Labels = np.unique([s.patient for s in samples], return_inverse=True)[1]
    every = summary(labels_of(samples), probabilities, patients, threshold=threshold)
    names = ("auroc", "accuracy", "patient_accuracy_mean", "patient_accuracy_worst")
    flips = int(((probabilities >= threshold) != (plain >= threshold)).sum())
    return {**{name: round(every[name], 4) for name in names}, "flips": flips}


def look_at(images: Iterable[Image], um_per_pixel: float, on: str) -> StainProfile:
    """What some images look like."""
    return stain_profile([s for s in (measure_stain(i, um_per_pixel) for i in images) if s], um_per_pixel, on)


def middle_of(image: Image, um_per_pixel: float, model: Model) -> Image:
    """The field around the middle of an image of one cell."""
    return cut(image, (image.shape[1] / 2, image.shape[0] / 2), um_per_pixel, model.manifest.input)


def main() -> int:
    """Print every figure, of all cells of a split."""
    parser = argparse.ArgumentParser(prog="python -m bench.cross_site", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of DeepAPL")
    split: Split = parser.parse_args().split
    data, deepapl = os.environ["MICROSCOPE_DATA"], os.environ["MICROSCOPE_DEEPAPL"]
    model = open_model(deepapl)
    if model is None:
        return 1
    for name, value in {**healthy(model, Path(data)), **cut_out(model, Path(data))}.items():
        print(f"{name:40} {value}")
    samples = labelled(LAYOUTS["deepapl"].find(Path(deepapl)), split)
    for row in chain(home(model, samples), by_patient(model, samples)):
        figures = " ".join(f"{key} {value}" for key, value in row.figures.items())
        print(f"{row.shift:20} {row.method:9} {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
