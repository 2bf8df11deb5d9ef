"""What came of a replay: counts, and the same in words."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import terminal
from common.words import counted
from contract.labels import LABELS, spoken
from contract.messages import FrameReport, SlideSummary
from contract.shares import corrected_words, percent
from contract.sightings import Sightings

LIKELY_SCALE = 0.87, 1.15
"""Red cells' apparent size over their true one: what lies beyond may be a person's, and is rather a wrong scale."""


@dataclass(slots=True)
class Summary:
    """What came of it: counts, and milliseconds by step.

    ``planned`` is how many frames there are, where that is known; ``stopped`` is true if the rest was left.
    ``slides`` holds the last word on each slide by its count, and ``refused_at_once`` its frames that were refused when
    they were seen. ``left_out`` says what of the source was not looked at; ``folders`` is how many were counted as one.
    ``scale`` is the red cells' apparent size over their true one, 0 while unknown, at ``um_per_pixel``.
    """

    planned: int | None = None
    stopped: bool = False
    frames: int = 0
    refused_at_once: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    sightings: Sightings = field(default_factory=Sightings)
    spent_ms: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slides: dict[str, SlideSummary] = field(default_factory=dict)
    left_out: str = ""
    folders: int = 1
    scale: float = 0.0
    um_per_pixel: float = 0.0
    written: tuple[Path, ...] = ()

    def add(self, report: FrameReport) -> None:
        """Count one report."""
        self.frames += 1
        self.refused_at_once[report.slide_id] += not report.quality.accepted
        if report.frame.width:
            self.sizes[f"{report.frame.width}x{report.frame.height}"] += 1
        self.refused.update(report.quality.reasons)
        self.sightings.add(report)
        if report.quality.scale:
            self.scale, self.um_per_pixel = report.quality.scale, report.frame.um_per_pixel
        self.spent_ms.update(report.timing_ms.model_dump())

    def count(self, slide: SlideSummary) -> None:
        """Take the latest word on a slide."""
        self.slides[slide.count_id] = slide

    @property
    def slide(self) -> SlideSummary | None:
        """The only slide, or the last."""
        return next(reversed(self.slides.values()), None)

    def __str__(self) -> str:
        refused = ", ".join(f"{n} {reason}" for reason, n in self.refused.most_common()) or "none"
        seen = self.sightings.kinds
        kinds = ", ".join(f"{seen[label]} {spoken(label)}" for label in LABELS)
        back = f"; {self.sightings.taken_back} taken back" if self.sightings.taken_back else ""
        rate = self.frames / self.seconds if self.seconds else 0.0
        done = counted(self.frames, "frame")
        of = f"{self.frames} of {counted(self.planned, 'frame')}" if self.planned else done
        stopped = f"stopped after {of}; the rest was not examined\n" if self.stopped else ""
        return (
            f"{stopped}{done} in {self.seconds:.1f} s ({rate:.1f} a second), refused: {refused}\n"
            f"{counted(seen.total(), 'white cell')} in all frames: {kinds}{back}"
            f"{''.join(_format_slide(slide, self.refused_at_once[slide.slide_id]) for slide in self.slides.values())}"
            f"{''.join(f'{chr(10)}{doubt}' for doubt in self._doubts())}\n"
            f"written: {', '.join(terminal.printable(str(path)) for path in self.written)}"
        )

    def _doubts(self) -> Iterator[str]:
        """What a person should think about before believing the numbers."""
        if self.left_out:
            yield terminal.printable(self.left_out)
        if self.folders > 1:
            yield (
                f"the frames of {self.folders} folders were counted as one slide; if each holds a slide or a patient "
                "of its own, use --slide-per-folder"
            )
        if len(self.sizes) > 1:
            sizes = ", ".join(f"{count} of {size}" for size, count in self.sizes.most_common(4))
            yield f"the frames differ in size ({sizes}); is the scale right for all of them?"
        low, high = LIKELY_SCALE
        if self.scale and not low <= self.scale <= high:
            size = f"red cells look {self.scale:.2f} times their size"
            yield f"{size}: is {self.um_per_pixel:g} um per pixel right? see `microscope-agent calibrate scale`"


def _format_slide(slide: SlideSummary, refused_at_once: int) -> str:
    """The slide in words, each cell counted once; and how many frames it refuses after all."""
    share, interval = slide.blast_fraction, slide.blast_interval
    of = "; none was judged"
    if share is not None and interval:
        judged = f"of the {slide.normal + slide.blasts} called normal or blast"
        low, high = percent(interval.low), percent(interval.high)
        of = f"; blasts {percent(share)} {judged} ({100 * interval.level:.0f} % interval {low} to {high})"
    if words := corrected_words(slide):
        of += f", {words}"
    jumps = counted(slide.jumps, "jump")
    late = slide.refused - refused_at_once
    back = f"; judged before the wrong scale showed, and not counted: {counted(late, 'frame')}" if late else ""
    return (
        f"\nslide {terminal.printable(slide.slide_id)}, each cell counted once: {counted(slide.cells, 'cell')}: "
        f"{slide.normal} normal, {slide.blasts} blast, {slide.uncertain} uncertain, {slide.not_judged} not "
        f"judged{of}; {jumps}{back}"
    )
