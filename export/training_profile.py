"""What the training images looked like, for the manifest: a site's own frames are held against it."""

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from contract.look import DIGITS, StainMeasurement, measure_stain, stain_profile
from contract.manifest import CellView, Decisions, InputSpec
from contract.reference import Margins, Reference, Scores, StainProfile
from evaluation.datasets.files import read_image
from evaluation.datasets.outlines import colours_by_data_set
from evaluation.datasets.sample import Sample
from evaluation.metrics import Numbers
from export.gate import Held
from export.scored import ENGINES, Scored

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
MIN_SEEN = 0.5
"""Share of the images that must show a nucleus amid red cells."""


def reference_of(
    training: Sequence[Sample], gate: Scored, decisions: Decisions, *, um_per_pixel: float | None, on: str
) -> Reference | None:
    """Measure training images, and how held-out cells score.

    None where the images do not show cells amid red ones, such as cells cut out on black.

    Args:
        training: cells that the model learned from, or others of that kind: the calibration cells.
        gate: the held-out cells with their scores by every engine of ``ENGINES``.
        decisions: whose temperatures calibrate the scores.
        um_per_pixel: scale of all images; None takes each one's own.
        on: the held-out cells in words.
    """
    look = profile_of_samples(training, um_per_pixel)
    if look is None:
        return None
    held = gate.held()
    fp32, int8 = (
        _margins(held, name, decision.temperature)
        for name, decision in zip(ENGINES, (decisions.fp32, decisions.int8), strict=True)
    )
    return Reference(**dict(look), scores=Scores(levels=LEVELS, on=on, fp32=fp32, int8=int8))


def aligned(
    spec: InputSpec, training: Sequence[Sample], data_sets: Sequence[str], *, um_per_pixel: float | None
) -> InputSpec:
    """What the network sees, with the colours of its training's cells, to which other laboratories' are moved.

    As it is where it says so already, where the training had cells of several data sets, and where its images do not
    show cells.

    Args:
        spec: of the checkpoint.
        training: cells of the training split: the calibration cells.
        data_sets: that the network was trained on.
        um_per_pixel: scale of the images, if not each one's own.
    """
    own = [s for s in training if [s.dataset] == list(data_sets)]
    if spec.cell is not None or not own:
        return spec
    colours = colours_by_data_set(own, um_per_pixel=um_per_pixel, quiet=True).get(data_sets[0])
    return spec if colours is None else spec.model_copy(update={"cell": CellView(colours=colours)})


def profile_of_samples(samples: Sequence[Sample], um_per_pixel: float | None = None) -> StainProfile | None:
    """What whole images look like, their surroundings included; None where most show no cell amid red ones.

    Cells that are cut out are left out: they have no surroundings. Of images of several scales the middle one is told.
    """
    whole = [s for s in samples if not s.cut_out]

    def one(sample: Sample) -> StainMeasurement | None:
        return measure_stain(read_image(sample.path), um_per_pixel or sample.um_per_pixel)

    with ThreadPoolExecutor() as pool:
        measurements = [measurement for measurement in pool.map(one, whole) if measurement]
    if not measurements or len(measurements) < MIN_SEEN * len(whole):
        return None
    scale = um_per_pixel or statistics.median(s.um_per_pixel for s in whole)
    return stain_profile(measurements, scale, "calibration cells, of the training split where there is one")


def _margins(held: Held, engine: str, temperature: float) -> Margins:
    margins = held.margins[engine] / temperature
    normal, blast = (None, None) if held.labels is None else (margins[held.labels == k] for k in (0, 1))
    return Margins(
        cells=len(margins),
        every=_quantiles(margins),
        normal=_quantiles_or_none(normal),
        blast=_quantiles_or_none(blast),
    )


def _quantiles_or_none(margins: Numbers | None) -> tuple[float, ...] | None:
    return None if margins is None or not len(margins) else _quantiles(margins)


def _quantiles(margins: Numbers) -> tuple[float, ...]:
    return tuple(np.quantile(margins, LEVELS).round(DIGITS).tolist())
