"""Draws docs/pictures/annotated.png: a rendered frame with what the shipped model says of it (`make docs`)."""

import threading
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2

from agent.pipeline import Examiner, examine, report_of
from agent.sources.synthetic import SyntheticSource
from contract.bundle import SHIPPED, open_bundle
from engines.choice import open_engine
from rendering.annotate import annotate

PICTURE = Path(__file__).resolve().parent / "pictures" / "annotated.png"
FRAME = 8
"""The frame that is drawn: one with several kinds of cells."""


def main() -> None:
    """Draw it."""
    bundle = open_bundle(SHIPPED)
    with (
        closing(open_engine(bundle)) as engine,
        SyntheticSource(width=960, height=540).open(threading.Event()) as frames,
    ):
        frame = next(islice(frames, FRAME - 1, None))
        examiner = Examiner("lab", "scope-1", bundle, engine)
        slides, finding = examiner.slides("picture"), examine(frame, examiner)
        slides.start("slide-7")
        sighting = slides.see(frame, finding.quality, finding.predictions)
        report = report_of(frame, finding, sighting, examiner, epoch="picture", seq=1)
    PICTURE.parent.mkdir(exist_ok=True)
    outlines = [prediction.cell.outline for prediction in finding.predictions]
    cv2.imwrite(str(PICTURE), annotate(frame.image, report, outlines))


if __name__ == "__main__":
    main()
