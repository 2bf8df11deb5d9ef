"""A site's colour normalisation reaches the network, and the reports say so."""

import shlex
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.options import parser
from agent.pipeline import Examiner, crops_of, examine
from agent.sources.synthetic import SyntheticSource
from agent.tools.survey import SiteJob, advice
from agent.vision.segmentation import find_cells
from contract.bundle import SHIPPED, open_bundle
from contract.colour import Method, Normaliser, normaliser
from contract.look import measure_stain, stain_profile
from contract.manifest import Precision
from contract.pixels import to_batch
from contract.reference import Margins, Reference, Scores
from contract.types import Frame, Tensor


class Recorder:
    """Keeps every batch; scores every cell 0 in all columns of the shipped model."""

    name = "recorder"
    precision: Precision = "fp32"

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def scores(self, batch: Tensor) -> Tensor:
        self.batches.append(batch)
        return np.zeros((len(batch), open_bundle(SHIPPED).manifest.columns.width), np.float32)

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(scope="module")
def frame() -> Frame:
    with SyntheticSource(frames=1, seed=3).open(threading.Event()) as frames:
        return next(iter(frames))


@pytest.fixture(scope="module")
def macenko(frame: Frame) -> Normaliser:
    measurement = measure_stain(frame.image, frame.um_per_pixel)
    assert measurement is not None
    look = stain_profile([measurement], frame.um_per_pixel, "a drawn frame")
    weaker = look.stains.model_copy(update={"strength": (0.2, 0.5)})
    made = normaliser("macenko", look, look.model_copy(update={"stains": weaker}))
    assert made is not None
    return made


def test_the_network_sees_normalised_crops_and_the_report_names_the_method(frame: Frame, macenko: Normaliser) -> None:
    bundle = open_bundle(SHIPPED)
    plain, normalising = (Examiner("lab", "scope-1", bundle, Recorder(), colour) for colour in (None, macenko))
    for examiner in (plain, normalising):
        assert examine(frame, examiner).predictions
    cells = find_cells(frame.image, frame.um_per_pixel)
    raw = crops_of(frame, cells, plain)
    assert isinstance(plain.engine, Recorder)
    assert isinstance(normalising.engine, Recorder)
    assert np.array_equal(plain.engine.batches[0], to_batch(raw, bundle.manifest.input))
    assert np.array_equal(normalising.engine.batches[0], to_batch(macenko.apply(raw), bundle.manifest.input))
    assert not np.array_equal(macenko.apply(raw), raw)
    assert (plain.model.colour, normalising.model.colour) == ("off", "macenko")


def test_a_frame_is_never_written_into(frame: Frame, macenko: Normaliser) -> None:
    before = frame.image.copy()
    examine(frame, Examiner("lab", "scope-1", open_bundle(SHIPPED), Recorder(), macenko))
    assert np.array_equal(frame.image, before)


def test_calibrate_site_advises_a_method_only_where_another_is_better(frame: Frame) -> None:
    measurement = measure_stain(frame.image, frame.um_per_pixel)
    assert measurement is not None
    look = stain_profile([measurement], frame.um_per_pixel, "a drawn frame")
    margins = Margins(cells=1, every=(0.0,))
    reference = Reference(**dict(look), scores=Scores(levels=(0.5,), on="nothing", fp32=margins, int8=margins))
    pale = look.model_copy(update={"stains": look.stains.model_copy(update={"strength": (0.1, 0.1)})})
    off, macenko = a_job("off"), a_job("macenko")
    assert not [*advice(off, look, reference), *advice(macenko, pale, reference)]
    assert "--colour macenko" in next(advice(off, pale, reference))
    assert "--colour off" in next(advice(a_job("reinhard"), look, reference))
    assert not [*advice(off, pale, None), *advice(off, None, reference)]
    *_, again = advice(off, pale, reference)
    assert again == (
        "microscope-agent calibrate site 'my slides' --out site.json --frames 50 --flat flat.png --um-per-pixel 0.1 "
        "--colour macenko"
    )
    typed = parser().parse_args(shlex.split(again)[1:])
    assert (typed.command, typed.source, typed.colour) == ("calibrate site", macenko.source, macenko.colour)


def a_job(colour: Method) -> SiteJob:
    return SiteJob("my slides", Path("site.json"), SHIPPED, 50, um_per_pixel=0.1, flat=Path("flat.png"), colour=colour)
