"""The same cell seen twice counts once: the running counts of a slide, and which slide lies under the objective.

Every cell gets a place on the slide. A cell that a later frame shows where one is known is that one: the scores of
its views are put together, and it keeps its name in every report.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from statistics import median

from agent.slides.cellmap import CellMap, CellObservation, TrackedCell
from agent.slides.checkpoints import Checkpoint, CheckpointRing, Confidences
from agent.slides.stage import Joint, Place, Stage
from agent.slides.statistics import corrected
from contract.decide import label_of
from contract.known_error import ModelError
from contract.labels import Label
from contract.manifest import Decision
from contract.messages import Join, ModelInfo, Quality, Registration, SlideSummary
from contract.shares import wilson
from contract.types import Frame, Prediction
from contract.views import logit, probability_of

MIN_WITNESSES, MAX_CORRECTION_UM = 2, 2.0
"""Cells known before that a frame must show so that they may correct its place, and by how much at most."""
PUBLISH_EVERY_S = 5.0
"""Seconds between two summaries while a slide is open."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a slide says of a frame: its place, and which of the slide's cells the frame's cells are, in order.

    An empty ``slide_id`` says that no slide was open. ``withdraws`` names the first of the cells that are taken
    back; it is said with every refused frame until one is accepted, as a report may be lost to a full outbox.
    ``joined`` says that the frame has shown two parts of the slide to be one.
    """

    slide_id: str = ""
    place: Place | None = None
    object_ids: tuple[str, ...] = ()
    withdraws: str = ""
    joined: Join | None = None
    spent_ms: float = 0.0


class Slide:
    """The running state of one slide, from its start to its end.

    Args:
        slide_id: pseudonym of the slide.
        count_id: name of this count, never used again; it begins the name of every cell.
        model: who judges.
        decision: thresholds for the cells' combined probabilities.
        error: that the model is known to make with this decision; None: not known.
    """

    def __init__(
        self, slide_id: str, count_id: str, *, model: ModelInfo, decision: Decision, error: ModelError | None = None
    ) -> None:
        self.slide_id, self.count_id = slide_id, count_id
        self._model, self._decision, self._error = model, decision, error
        self._stage, self._cells, self._checkpoints = Stage(), CellMap(), CheckpointRing()
        self._started_at = _now()
        self._ended_at: datetime | None = None
        self._frames = self._refused = 0
        self._reasons: Counter[str] = Counter()
        self._standings = Counter[Label]()
        self._confidences = Confidences()
        self._withdrawn = ""

    def see(self, frame: Frame, quality: Quality, predictions: Sequence[Prediction]) -> Sighting:
        """Count a frame; one that was refused changes nothing but the number of those, unless its scale is wrong."""
        if not quality.accepted:
            if "wrong_scale" in quality.reasons:
                self._withdraw()
            self._frames += 1
            self._refused += 1
            self._reasons.update(quality.reasons)
            return Sighting(self.slide_id, withdraws=self._withdrawn)
        self._checkpoints.add(self._checkpoint(), scale_known=quality.scale > 0)
        self._withdrawn = ""
        self._frames += 1
        place = self._stage.place(frame.image, frame.um_per_pixel)
        joint = self._stage.join(place, frame.um_per_pixel)
        place = joint.place if joint else place
        joined = self._join(joint) if joint else None
        observations = [CellObservation.of(p, frame.um_per_pixel, place) for p in predictions]
        found = self._cells.find(place.part, observations)
        dx, dy = _error(found, observations)
        place = self._stage.correct(place, dx, dy)
        known = [self._note(place.part, g.moved(dx, dy), found.get(k)) for k, g in enumerate(observations)]
        self._drop_fragments(known)
        if place.confidence:
            self._confidences = self._confidences.with_(place.confidence)
        return Sighting(self.slide_id, place, tuple(self._name(cell.number) for cell in known), joined=joined)

    def close(self) -> None:
        """The slide is done."""
        self._ended_at = self._ended_at or _now()

    def summary(self) -> SlideSummary:
        """Everything that is known of the slide so far."""
        normal, blasts = self._standings["normal"], self._standings["blast"]
        true = corrected(blasts, normal + blasts, self._error)
        return SlideSummary(
            slide_id=self.slide_id,
            count_id=self.count_id,
            state="closed" if self._ended_at else "open",
            started_at=self._started_at,
            ended_at=self._ended_at,
            at=_now(),
            frames=self._frames,
            refused=self._refused,
            refused_by=dict(self._reasons),
            cells=self._standings.total(),
            normal=normal,
            blasts=blasts,
            uncertain=self._standings["uncertain"],
            not_judged=self._standings["not_judged"],
            blast_fraction=round(blasts / (normal + blasts), 6) if normal + blasts else None,
            blast_interval=wilson(blasts, normal + blasts),
            corrected_fraction=true.fraction if true else None,
            corrected_interval=true.interval if true else None,
            enough_cells=("yes" if true.enough else "no") if true else None,
            jumps=max(0, len(self._stage.parts) - 1),
            registration=_registration(self._confidences),
            model=self._model,
        )

    def _name(self, number: int) -> str:
        return f"{self.count_id}-c{number}"

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self._frames - self._refused, self._cells.count, self._stage.named, self._confidences)

    def _withdraw(self) -> None:
        """Refuse the frames in doubt after all, and take their cells back."""
        checkpoint = self._checkpoints.take()
        if checkpoint is None:
            return
        frames = self._frames - self._refused - checkpoint.frames
        self._refused += frames
        self._reasons["wrong_scale"] += frames
        for cell in self._cells.since(checkpoint.cells):
            self._forget(cell)
        self._stage.forget_since(checkpoint.parts)
        self._confidences = checkpoint.confidences
        self._withdrawn = self._name(checkpoint.cells + 1)

    def _join(self, joint: Joint) -> Join:
        """Put the cells of two parts together; one that both knew keeps its name in the part that stays."""
        pairs = self._cells.join(joint.part, joint.place.part, joint.dx, joint.dy)
        for known, gone in pairs:
            self._standings[gone.standing] -= 1
            if known.views:
                self._call(known)
        same = {self._name(gone.number): self._name(known.number) for known, gone in pairs}
        return Join(part=joint.part, x=round(joint.dx, 3), y=round(joint.dy, 3), same=same)

    def _forget(self, cell: TrackedCell) -> None:
        self._cells.forget(cell)
        self._standings[cell.standing] -= 1

    def _note(self, part: int, observation: CellObservation, known: TrackedCell | None) -> TrackedCell:
        """Add a view to the cell that it shows, which may be a new one."""
        if known is None:
            known = self._cells.add(part, observation)
            self._standings[known.standing] += 1
        if observation.whole:
            self._judge(known, observation)
        return known

    def _judge(self, known: TrackedCell, observation: CellObservation) -> None:
        """Add a whole view."""
        known.views += 1
        if observation.judged:
            known.judged += 1
            known.logits += logit(observation.probability)
        self._cells.place(known, observation)
        self._call(known)

    def _call(self, known: TrackedCell) -> None:
        """Call a cell normal or blast by the mean of the logits of its whole views; uncertain if most were in doubt."""
        self._standings[known.standing] -= 1
        sure = 2 * known.judged > known.views
        mean = probability_of(known.logits / known.judged) if sure else 0.0
        known.standing = label_of(mean, self._decision) if sure else "uncertain"
        self._standings[known.standing] += 1

    def _drop_fragments(self, seen: Sequence[TrackedCell]) -> None:
        """Forget cut views that lie in cells now seen whole; those of this very frame are cells beside them."""
        numbers = {cell.number for cell in seen}
        for cell in seen:
            for fragment in self._cells.fragments(cell) if cell.views else ():
                if fragment.number not in numbers:
                    self._forget(fragment)


class SlideControl:
    """Which slide lies under the objective: any thread may start and stop one; a frame in hand is finished first.

    Args:
        run: name of this run of the agent, never used again.
        model: who judges.
        decision: thresholds for the cells' combined probabilities.
        error: that the model is known to make with this decision; None: not known.
        publish: takes a summary when a slide starts, when it ends, and every few seconds while frames come. It must
            not wait, and must not call back.
    """

    def __init__(
        self,
        run: str,
        *,
        model: ModelInfo,
        decision: Decision,
        error: ModelError | None = None,
        publish: Callable[[SlideSummary], None] = lambda _: None,
    ) -> None:
        self._run, self._publish = run, publish
        self._model, self._decision, self._error = model, decision, error
        self._lock = threading.Lock()
        self._slide: Slide | None = None
        self._count, self._published_at = 0, 0.0

    def start(self, slide_id: str) -> None:
        """Count what follows for a slide; the one before ends. Nothing happens if that slide is open already."""
        with self._lock:
            if self._slide and self._slide.slide_id == slide_id:
                return
            self._end()
            self._begin(slide_id)

    def judge_by(self, model: ModelInfo, decision: Decision, error: ModelError | None = None) -> None:
        """Another model judges from now on; an open slide is closed, and counted again: no count mixes two models."""
        with self._lock:
            last = self._end()
            self._model, self._decision, self._error = model, decision, error
            if last:
                self._begin(last.slide_id)

    def stop(self) -> SlideSummary | None:
        """End the slide; its last summary, or None if none was open.

        Frames that follow belong to no slide: their reports have an empty ``slide_id``, and nothing is counted.
        """
        with self._lock:
            return self._end()

    def see(self, frame: Frame, quality: Quality, predictions: Sequence[Prediction]) -> Sighting:
        """Count a frame for the slide that is open."""
        started = time.perf_counter()
        with self._lock:
            if not self._slide:
                return Sighting()
            seen = self._slide.see(frame, quality, predictions)
            if time.monotonic() - self._published_at >= PUBLISH_EVERY_S:
                self._say(self._slide.summary())
        return replace(seen, spent_ms=(time.perf_counter() - started) * 1e3)

    def summary(self) -> SlideSummary | None:
        """The open slide as it stands; None if there is none."""
        with self._lock:
            return self._slide.summary() if self._slide else None

    def _begin(self, slide_id: str) -> None:
        self._count += 1
        count_id = f"{self._run}-s{self._count}"
        self._slide = Slide(slide_id, count_id, model=self._model, decision=self._decision, error=self._error)
        self._say(self._slide.summary())

    def _end(self) -> SlideSummary | None:
        slide, self._slide = self._slide, None
        if slide is None:
            return None
        slide.close()
        last = slide.summary()
        self._say(last)
        return last

    def _say(self, summary: SlideSummary) -> None:
        self._published_at = time.monotonic()
        self._publish(summary)


def _registration(confidences: Confidences) -> Registration:
    count, total, least = confidences.count, confidences.total, confidences.least
    return Registration(frames=count, mean=round(total / count, 4), least=round(least, 4)) if count else Registration()


def _error(found: dict[int, TrackedCell], observations: Sequence[CellObservation]) -> tuple[float, float]:
    """How far (um) a frame's place is off, by the whole cells that were known before."""
    pairs = [(known, observations[k]) for k, known in found.items() if known.views and observations[k].whole]
    if len(pairs) < MIN_WITNESSES:
        return 0.0, 0.0
    dx, dy = median(k.x - g.x for k, g in pairs), median(k.y - g.y for k, g in pairs)
    return (dx, dy) if math.hypot(dx, dy) <= MAX_CORRECTION_UM else (0.0, 0.0)


def _now() -> datetime:
    return datetime.now(timezone.utc)
