"""READ FIRST: a frame comes in, a report goes out.

Frame -> Quality -> Cell -> crop -> batch -> scores -> Prediction -> Sighting -> FrameReport -> sink
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from agent.colours import SiteColours
from agent.slides.slide import Sighting, SlideControl
from agent.vision.inspection import Inspection, inspect
from agent.vision.limits import DEFAULT_LIMITS, QualityLimits
from agent.vision.quality import watched
from agent.vision.watch import ScaleWatch
from common.errors import OutboxFull
from contract.bundle import Bundle
from contract.colour import Normaliser
from contract.decide import decide
from contract.known_error import ModelError
from contract.manifest import Decision
from contract.messages import (
    BoxReport,
    CellReport,
    FrameInfo,
    FrameReport,
    ModelInfo,
    Position,
    Quality,
    SlideSummary,
    Timing,
)
from contract.pixels import cut, stack, to_batch
from contract.types import Cells, Crops, Frame, Prediction
from engines.choice import Engine

log = logging.getLogger(__name__)
RETRY_FULL_S = 0.5


class Sink(Protocol):
    """Where reports go: the outbox of ``run``, the file of ``replay``."""

    @property
    def epoch(self) -> str:
        """Identity of the sink; with ``seq`` it names a report forever."""
        ...

    def next_seq(self) -> int:
        """The number that the next report must bear."""
        ...

    def put(self, report: FrameReport) -> None:
        """Take a report; when this returns it is safe. Raises OutboxFull if there is no room for it now."""
        ...


class FrameCounter(Protocol):
    """Where a run is counted: the health of the agent."""

    def add(self, report: FrameReport) -> None:
        """Count a report that is safe."""
        ...

    def drop(self, cause: Literal["skipped", "outbox_full"], count: int = 1) -> None:
        """Count frames never examined, or reports lost."""
        ...


@dataclass(frozen=True, slots=True)
class Examiner:
    """Who examines: the names in every report, and the model with its engine."""

    site: str
    device: str
    bundle: Bundle
    engine: Engine
    colour: Normaliser | None = None
    """Makes the site's cells look like the training's, where the site asks for it."""
    limits: QualityLimits = DEFAULT_LIMITS
    """What a frame must keep to be judged."""
    watch: ScaleWatch | None = None
    """What the latest frames say of the scale; without one it is believed."""
    colours: SiteColours | None = None
    """The running colours of the site's cells, where the model moves them to the training's."""

    def slides(self, run: str, publish: Callable[[SlideSummary], None] = lambda _: None) -> SlideControl:
        """The slides of a run of this name, judged by this model."""
        return SlideControl(run, model=self.model, decision=self.decision, error=self.known_error, publish=publish)

    @property
    def decision(self) -> Decision:
        """The thresholds that belong to the engine's numbers."""
        return self.bundle.manifest.decisions.of(self.engine.precision)

    @property
    def known_error(self) -> ModelError | None:
        """The error that the model is known to make in the engine's numbers; None where it was not measured."""
        known = self.bundle.manifest.known_error
        return known.of(self.engine.precision) if known else None

    @property
    def model(self) -> ModelInfo:
        """Who judges, in the words of the messages."""
        manifest = self.bundle.manifest
        return ModelInfo(
            id=manifest.id,
            sha256=self.bundle.sha256,
            engine=self.engine.name,
            gate=manifest.gate.state,
            colour=self.colour.method if self.colour else "cells" if self.colours else "off",
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in a frame, before it becomes a message."""

    quality: Quality
    predictions: tuple[Prediction, ...] = ()
    timing_ms: Timing = Timing()  # noqa: RUF009 - frozen


def run(
    frames: Iterable[Frame],
    examiner: Examiner,
    sink: Sink,
    *,
    slides: SlideControl,
    counters: FrameCounter,
    stop: threading.Event,
    live: bool,
) -> None:
    """Examine every frame, count its cells and hand its report to the sink, until the frames end or ``stop`` is set.

    When the sink is full, a live source loses the frame, which is counted; any other source waits.
    """
    gate = _Gate(sink)
    for frame in frames:
        counters.drop("skipped", frame.skipped)
        finding = examine(frame, examiner)
        sighting = slides.see(frame, finding.quality, finding.predictions)
        report = report_of(frame, finding, sighting, examiner, epoch=sink.epoch, seq=sink.next_seq())
        while not gate.put(report):
            if live or stop.wait(RETRY_FULL_S):
                counters.drop("outbox_full")
                break
        else:
            counters.add(report)
        if stop.is_set():
            return


def numbered(frames: Iterable[Frame], run: str) -> Iterator[Frame]:
    """Label the frames of a run in the order in which they come: ``{run}-{number:08d}``, numbers from 1."""
    for number, frame in enumerate(frames, start=1):
        yield replace(frame, id=f"{run}-{number:08d}")


def examine(frame: Frame, examiner: Examiner, seen: Inspection | None = None) -> Finding:
    """Judge one frame and every white cell in it; ``seen`` is what it shows by itself, where that is known already."""
    if frame.fault:
        return Finding(Quality(accepted=False, reasons=[frame.fault], detail=frame.detail))
    manifest, colours, image, um = examiner.bundle.manifest, examiner.colours, frame.image, frame.um_per_pixel
    seen = seen or inspect(image, um, examiner.limits, manifest.reference)
    started = time.perf_counter()
    quality = watched(seen.quality, examiner.watch, image, um, examiner.limits) if examiner.watch else seen.quality
    asked = time.perf_counter()
    quality_ms = seen.quality_ms + (asked - started) * 1e3
    if not quality.accepted:
        return Finding(quality, timing_ms=_timing(frame, quality_ms))
    if colours:
        colours.learn(image, seen.cells)
    scores = examiner.engine.scores(to_batch(crops_of(frame, seen.cells, examiner), manifest.input))
    doubts = colours.doubts if colours else ()
    predictions = tuple(decide(seen.cells, scores, manifest, examiner.engine.precision, doubts=doubts))
    classify_ms = (time.perf_counter() - asked) * 1e3
    return Finding(quality, predictions, _timing(frame, quality_ms, seen.segment_ms, classify_ms))


def crops_of(frame: Frame, cells: Cells, examiner: Examiner) -> Crops:
    """What the network sees of each cell, (N, size, size, 3) uint8."""
    spec = examiner.bundle.manifest.input
    colours = examiner.colours.now if examiner.colours else None
    crops = stack(
        (
            cut(frame.image, cell.centre, frame.um_per_pixel, spec, outline=cell.outline, colours=colours)
            for cell in cells
        ),
        spec,
    )
    return examiner.colour.apply(crops) if examiner.colour else crops


def report_of(
    frame: Frame, finding: Finding, sighting: Sighting, examiner: Examiner, *, epoch: str, seq: int
) -> FrameReport:
    """Put what was found in a frame, and seen of its slide, into the words of the message."""
    height, width = frame.image.shape[:2]
    names = sighting.object_ids or ("",) * len(finding.predictions)
    return FrameReport(
        device=examiner.device,
        site=examiner.site,
        epoch=epoch,
        seq=seq,
        slide_id=sighting.slide_id,
        frame=FrameInfo(
            id=frame.id,
            source=frame.source,
            captured_at=frame.captured_at,
            timed_by=frame.timed_by,
            width=width,
            height=height,
            um_per_pixel=frame.um_per_pixel,
        ),
        quality=finding.quality,
        cells=[
            _cell_report(f"{frame.id}-{k}", prediction, name)
            for k, (prediction, name) in enumerate(zip(finding.predictions, names, strict=True), start=1)
        ],
        model=examiner.model,
        timing_ms=finding.timing_ms.model_copy(
            update={
                "place": round(sighting.spent_ms, 3),
                "total": round(finding.timing_ms.total + sighting.spent_ms, 3),
            }
        ),
        position_um=_position(sighting),
        joined=sighting.joined,
        withdraws=sighting.withdraws,
    )


def _position(sighting: Sighting) -> Position | None:
    place = sighting.place
    if place is None:
        return None
    return Position(part=place.part, x=round(place.x, 3), y=round(place.y, 3), confidence=round(place.confidence, 4))


def _cell_report(cell_id: str, prediction: Prediction, object_id: str) -> CellReport:
    box = prediction.cell.box
    return CellReport(
        cell_id=cell_id,
        box=BoxReport(x=box.x, y=box.y, width=box.width, height=box.height),
        area_um2=round(prediction.cell.area_um2, 2),
        label=prediction.label,
        probability=None if prediction.probability is None else round(prediction.probability, 6),
        classes={name: round(share, 6) for name, share in prediction.classes.items()} or None,
        flags=[*prediction.cell.flags, *prediction.doubts],
        object_id=object_id,
    )


def _timing(frame: Frame, quality_ms: float, segment_ms: float = 0.0, classify_ms: float = 0.0) -> Timing:
    return Timing(
        read=round(frame.read_ms, 3),
        quality=round(quality_ms, 3),
        segment=round(segment_ms, 3),
        classify=round(classify_ms, 3),
        total=round(frame.read_ms + quality_ms + segment_ms + classify_ms, 3),
    )


class _Gate:
    """The way into the sink; it says once that the sink is full, and once that it takes again."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._full = False

    def put(self, report: FrameReport) -> bool:
        """Hand over a report; False if there is no room for it."""
        try:
            self._sink.put(report)
        except OutboxFull as cause:
            if not self._full:
                log.error("%s", cause)  # noqa: TRY400 - the text says all
            self._full = True
            return False
        if self._full:
            log.info("there is room for reports again")
        self._full = False
        return True
