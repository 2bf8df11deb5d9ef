"""The whole agent on cells of other laboratories, as they are and as others would have stained and lit them.

Healthy donors (BCCD, Barcelona tiles, `draaslan-blood-cell`): how many whole cells are called blasts. Cells of
DeepAPL's patients, each image a frame of its own: AUROC of the probability in the reports.

    python -m bench.looks [--split test] [--every N] [--bundle BUNDLE] [--look "as it is" ...]

needs MICROSCOPE_DATA, and MICROSCOPE_DEEPAPL for the second. Each look is a site of its own, whose colours the agent
learns as it goes.
"""

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from agent.pipeline import Examiner, examine
from agent.site import NO_SITE
from bench.restain import LOOKS, restain
from bench.results import Figures
from common.arguments import place
from contract.bundle import SHIPPED, Bundle, open_bundle
from contract.signature import SHIPPED_ONLY, Trust
from contract.trust_options import add_trust, trust_from
from contract.types import Frame, Image, Prediction
from engines.choice import Engine, open_engine
from evaluation.datasets import LAYOUTS
from evaluation.datasets.files import images_below, read_image
from evaluation.datasets.sample import Sample, Split, labelled
from evaluation.metrics import auroc

FRAMES = {
    "bccd": ("bccd/JPEGImages", 0.075),
    "pbc": ("txl-pbc-tiles/images", 0.10),
    "draaslan": ("draaslan-blood-cell/images", 0.15),
}
AS_IT_IS = "as it is"
EVERY = 4
"""`make bench` takes one image in so many."""


@dataclass(slots=True)
class Tally:
    """What the agent said of the frames of one site under one look."""

    frames: int = 0
    refused: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    truth: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)

    def add(self, predictions: Iterable[Prediction], *, accepted: bool) -> None:
        """Count a frame and its whole cells."""
        self.frames += 1
        self.refused += not accepted
        self.labels.update(p.label for p in predictions if "edge" not in p.cell.flags)

    def figures(self, name: str) -> Figures:
        """Its figures, by name."""
        found: Figures = {
            f"{name}_frames": self.frames,
            f"{name}_refused": self.refused,
            f"{name}_cells": self.labels.total(),
            f"{name}_blast": self.labels["blast"],
            f"{name}_uncertain": self.labels["uncertain"],
        }
        if self.truth:
            found[f"{name}_auroc"] = round(auroc(np.array(self.truth), np.array(self.probabilities)), 4)
        return found


@dataclass(frozen=True, slots=True)
class Agent:
    """A model and its engine; each site gets an examiner of its own, which has learned nothing yet."""

    bundle: Bundle
    engine: Engine

    def examiner(self) -> Examiner:
        """A new site."""
        return Examiner("bench", "bench", self.bundle, self.engine, colours=NO_SITE.colours(self.bundle.manifest.input))


def measure() -> Figures:
    """The figures of all parts for which there are images, in their quick form."""
    return figures_of("validation", EVERY)


def figures_of(
    split: Split,
    every: int,
    looks: Sequence[str] = (AS_IT_IS, *LOOKS),
    *,
    model: Path = SHIPPED,
    trust: Trust | None = None,
) -> Figures:
    """The figures of a model on all sites under some looks, on one image in ``every``."""
    data, deepapl = (os.environ.get(name) for name in ("MICROSCOPE_DATA", "MICROSCOPE_DEEPAPL"))
    if not data:
        return {"skipped": "MICROSCOPE_DATA names no images"}
    bundle = open_bundle(model, trust or SHIPPED_ONLY)
    found: Figures = {}
    with closing(open_engine(bundle, "onnxruntime")) as engine:
        agent = Agent(bundle, engine)
        for look in looks:
            for site, (folder, um_per_pixel) in FRAMES.items():
                paths = images_below(Path(data) / folder)[::every]
                found |= healthy(agent, paths, um_per_pixel, look, site).figures(f"{site}, {look}")
            if deepapl:
                samples = labelled(LAYOUTS["deepapl"].find(Path(deepapl)), split)[::every]
                found |= patients(agent, samples, look).figures(f"deepapl, {look}")
    return found


def healthy(agent: Agent, paths: Sequence[Path], um_per_pixel: float, look: str, source: str) -> Tally:
    """The frames of a site of healthy donors under a look."""
    examiner, tally = agent.examiner(), Tally()
    for path in paths:
        finding = examine(_frame(path, um_per_pixel, look, source), examiner)
        tally.add(finding.predictions, accepted=finding.quality.accepted)
    return tally


def patients(agent: Agent, samples: Sequence[Sample], look: str) -> Tally:
    """Images of one cell each under a look; of a frame's cells, the one that lies in its middle counts."""
    examiner, tally = agent.examiner(), Tally()
    for sample in samples:
        frame = _frame(sample.path, sample.um_per_pixel, look, "deepapl")
        finding = examine(frame, examiner)
        middle = _middle(finding.predictions, frame.image)
        tally.add([middle] if middle else [], accepted=finding.quality.accepted)
        if middle and middle.probability is not None:
            tally.truth.append(int(sample.kind == "blast"))
            tally.probabilities.append(middle.probability)
    return tally


def _frame(path: Path, um_per_pixel: float, look: str, source: str) -> Frame:
    image = read_image(path)
    image = image if look == AS_IT_IS else restain(image, look, um_per_pixel, source)
    return Frame(path.name, datetime.now(timezone.utc), um_per_pixel, image)


def _middle(predictions: Sequence[Prediction], image: Image) -> Prediction | None:
    height, width = image.shape[:2]

    def off(prediction: Prediction) -> float:
        x, y = prediction.cell.centre
        return math.hypot(x - width / 2, y - height / 2)

    nearest = min(predictions, key=off, default=None)
    return nearest if nearest and off(nearest) < width / 6 else None


def main() -> None:
    """Print the figures, a line for each."""
    parser = argparse.ArgumentParser("bench.looks", description=__doc__)
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of DeepAPL's patients")
    parser.add_argument("--every", type=int, default=1, help="one image in so many")
    parser.add_argument("--bundle", type=place, default=SHIPPED, help="default: the one that ships")
    names = (AS_IT_IS, *LOOKS)
    parser.add_argument("--look", choices=names, action="append", help="default: all; repeat")
    add_trust(parser)
    given = parser.parse_args()
    found = figures_of(given.split, given.every, given.look or names, model=given.bundle, trust=trust_from(given))
    for name, value in found.items():
        sys.stdout.write(f"{name:40} {value}\n")


if __name__ == "__main__":
    main()
