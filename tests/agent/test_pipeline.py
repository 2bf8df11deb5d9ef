"""The loop from frame to report, with small true parts."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from agent.ops.health import Counters
from agent.pipeline import Examiner, examine, numbered, run
from agent.sources.synthetic import SyntheticSource
from common.errors import OutboxFull
from contract.bundle import SHIPPED, open_bundle
from contract.known_error import KnownError, ModelError, PatientRate
from contract.manifest import Columns, Decision, Decisions, Precision
from contract.messages import FrameReport
from contract.types import Frame, FrameMeta, Tensor
from engines.choice import open_engine

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


class DarknessEngine:
    """Scores a crop by how dark it is: a true engine of a few lines."""

    name = "darkness"
    precision: Precision = "fp32"

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def scores(self, batch: Tensor) -> Tensor:
        """Bright speaks for normal, dark for a blast of any kind; every cell is one to be judged."""
        bright = batch.mean(axis=(1, 2, 3))
        scores = np.zeros((len(batch), self.columns.width), np.float32)
        scores[:, self.columns.normal] = bright
        scores[:, self.columns.blasts] = -bright[:, None]
        if self.columns.other is not None:
            scores[:, self.columns.other] = -9
        return scores

    def close(self) -> None:
        """Hold nothing."""


class ListSink:
    """Keeps reports in memory, so many and no more."""

    epoch = "test"

    def __init__(self, room: int = 1000) -> None:
        self.reports: list[FrameReport] = []
        self.room = room

    def next_seq(self) -> int:
        """One more than it holds."""
        return len(self.reports) + 1

    def put(self, report: FrameReport) -> None:
        """Take it, or say that it is full."""
        if len(self.reports) >= self.room:
            raise OutboxFull("full")
        self.reports.append(report)


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    bundle = open_bundle(SHIPPED)
    return Examiner("lab", "scope-1", bundle, DarknessEngine(bundle.manifest.columns))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    with SyntheticSource(frames=4).open(threading.Event()) as source:
        return list(numbered(source, "r"))


def go(frames: list[Frame], examiner: Examiner, sink: ListSink, *, live: bool = False) -> Counters:
    counters = Counters()
    slides = examiner.slides("r")
    slides.start("slide-7")
    run(frames, examiner, sink, slides=slides, counters=counters, stop=threading.Event(), live=live)
    return counters


def test_every_frame_becomes_one_report_in_order(frames: list[Frame], examiner: Examiner) -> None:
    sink = ListSink()
    health = go(frames, examiner, sink).health(queued=0, engine="darkness")
    assert [report.frame.id for report in sink.reports] == [frame.id for frame in frames]
    assert [report.seq for report in sink.reports] == [1, 2, 3, 4]
    assert health.frames == 4
    assert health.cells == sum(len(report.cells) for report in sink.reports) > 0


def test_frames_are_numbered_in_order_whatever_their_source_calls_them(frames: list[Frame]) -> None:
    unnumbered = [replace(frame, id="") for frame in frames]
    assert [frame.id for frame in numbered(unnumbered, "run")] == [f"run-{number:08d}" for number in range(1, 5)]


def test_what_a_camera_says_of_a_frame_stays_with_it(frames: list[Frame]) -> None:
    meta = FrameMeta(exposure_us=800, gain_db=6, camera_s=12.5)
    [frame] = numbered([replace(frames[0], meta=meta)], "run")
    assert frame.meta == meta


def test_a_report_names_who_examined_what(frames: list[Frame], examiner: Examiner) -> None:
    sink = ListSink()
    go(frames[:1], examiner, sink)
    report = sink.reports[0]
    assert (report.site, report.device, report.slide_id) == ("lab", "scope-1", "slide-7")
    assert (report.model.id, report.model.engine) == (examiner.bundle.manifest.id, "darkness")
    assert report.model.sha256 == examiner.bundle.sha256


def test_a_frame_with_a_fault_is_reported_with_its_reason_and_no_cells(examiner: Examiner) -> None:
    sink = ListSink()
    broken = Frame("a.jpg", NOW, 0.1, fault="unreadable", detail="a.jpg: no image")
    health = go([broken], examiner, sink).health(queued=0, engine="")
    report = sink.reports[0]
    assert not report.quality.accepted
    assert report.quality.reasons == ["unreadable"]
    assert report.quality.detail == "a.jpg: no image"
    assert report.cells == []
    assert health.refused == 1


def test_a_frame_that_is_not_fit_is_not_judged(examiner: Examiner) -> None:
    grey = Frame("a.png", NOW, 0.1, image=np.full((480, 640, 3), 200, np.uint8))
    finding = examine(grey, examiner)
    assert finding.quality.reasons
    assert finding.predictions == ()


def test_examining_does_not_write_into_the_frame(frames: list[Frame], examiner: Examiner) -> None:
    before = frames[0].image.copy()
    examine(frames[0], examiner)
    np.testing.assert_array_equal(frames[0].image, before)


def test_a_full_sink_costs_a_live_source_its_frame_and_the_loss_is_counted(
    frames: list[Frame], examiner: Examiner
) -> None:
    sink = ListSink(room=1)
    health = go(frames, examiner, sink, live=True).health(queued=1, engine="")
    assert health.frames == 1
    assert health.dropped == {"outbox_full": 3}


def test_a_source_that_can_wait_waits_for_a_full_sink(frames: list[Frame], examiner: Examiner) -> None:
    sink = ListSink(room=1)
    room_soon = threading.Timer(0.3, lambda: setattr(sink, "room", 100))
    room_soon.start()
    health = go(frames, examiner, sink).health(queued=0, engine="")
    assert health.frames == 4
    assert health.dropped == {}


def test_a_full_sink_is_logged_once_and_so_is_its_end(
    frames: list[Frame], examiner: Examiner, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ListSink(room=0)

    def make_room_for_the_third() -> Iterator[Frame]:
        for number, frame in enumerate(frames):
            sink.room = 100 if number == 2 else sink.room
            yield frame

    with caplog.at_level("INFO", logger="agent.pipeline"):
        slides, stop = examiner.slides("r"), threading.Event()
        run(make_room_for_the_third(), examiner, sink, slides=slides, counters=Counters(), stop=stop, live=True)
    assert [record.message for record in caplog.records] == ["full", "there is room for reports again"]


def test_frames_that_a_live_source_skipped_are_counted(frames: list[Frame], examiner: Examiner) -> None:
    late = Frame("camera", NOW, 0.1, image=frames[0].image, skipped=7)
    assert go([late], examiner, ListSink()).health(queued=0, engine="").dropped == {"skipped": 7}


def test_the_shipped_engine_scores_what_the_pipeline_cuts(frames: list[Frame]) -> None:
    bundle = open_bundle(SHIPPED)
    engine = open_engine(bundle)
    finding = examine(frames[0], Examiner("lab", "scope-1", bundle, engine))
    assert finding.quality.accepted
    assert all(p.probability is None or 0 <= p.probability <= 1 for p in finding.predictions)
    assert any(p.probability is not None for p in finding.predictions)
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_slide_is_corrected_for_the_error_of_the_engines_numbers(
    precision: Precision, examiner: Examiner, frames: list[Frame]
) -> None:
    fp32, int8 = (
        ModelError(sensitivity=rate, specificity=rate)
        for rate in (PatientRate(mean=mean, std=0.2, patients=9) for mean in (0.9, 0.8))
    )
    known = KnownError(on="drawn cells", fp32=fp32, int8=int8)
    engine = DarknessEngine(examiner.bundle.manifest.columns)
    engine.precision = precision
    sharp = Decision(temperature=1, threshold=0.5, uncertain_from=0.5, uncertain_to=0.5)
    changes = {"known_error": known, "decisions": Decisions(fp32=sharp, int8=sharp)}
    manifest = examiner.bundle.manifest.model_copy(update=changes)
    knowing = replace(examiner, bundle=replace(examiner.bundle, manifest=manifest), engine=engine)
    assert knowing.known_error == (fp32 if precision == "fp32" else int8)
    slides = knowing.slides("r")
    slides.start("slide-7")
    sink, counters = ListSink(), Counters()
    run(frames, knowing, sink, slides=slides, counters=counters, stop=threading.Event(), live=False)
    last = slides.stop()
    assert last is not None
    assert last.enough_cells is not None
