"""Reports and summaries as plain lines."""

from collections import Counter
from collections.abc import Sequence

from common.words import counted
from contract.health_messages import Health, PictureHealth
from contract.labels import LABELS, spoken
from contract.messages import FrameReport, SlideSummary
from contract.shares import corrected_words, percent
from dashboard.terminal.tally import Summary

RESEARCH_USE = "For research use only; not for diagnosis."


NO_SLIDE = "no slide is open: cells are not counted"


def line_of(report: FrameReport, before: FrameReport | None) -> str:
    """One report in one line: device, number, picture, findings.

    What is to be done about a fault is said only if the report before has not had it: one lasts for many frames.
    """
    line = f"{report.site}/{report.device} #{report.seq} {report.frame.source}: {findings(report)}"
    told = before is not None and set(report.quality.reasons) <= set(before.quality.reasons)
    if report.quality.detail and not told:
        line += f": {report.quality.detail}"
    if not report.slide_id and (before is None or before.slide_id):
        line += f"; {NO_SLIDE}"
    return line


def findings(report: FrameReport) -> str:
    """What was found in a frame: its cells by label, or that it was not judged."""
    if not report.quality.accepted:
        return f"not judged ({', '.join(report.quality.reasons) or 'no reason given'})"
    kinds: Counter[str] = Counter(cell.label for cell in report.cells)
    listed = ", ".join(f"{kinds[label]} {spoken(label)}" for label in LABELS if kinds[label])
    count = len(report.cells)
    return counted(count, "cell") + (f": {listed}" if listed else "")


def slide_line(slide: SlideSummary) -> str:
    """A slide in one line, each cell counted once."""
    called = f"{slide.normal} normal, {slide.blasts} blast, {slide.uncertain} uncertain"
    found = f"{counted(slide.cells, 'cell')}, each counted once: {called}, {slide.not_judged} not judged"
    frames, words = counted(slide.frames, "frame"), corrected_words(slide)
    corrected = f", {words}" if words else ""
    return f"slide {slide.slide_id} ({slide.state}): {frames}; {found}; blasts {share(slide)}{corrected}"


def health_words(health: Health) -> str:
    """How an agent is, by its last health message."""
    age, warm = health.frame_age_s, health.temperatures_c
    told = [
        "no frame yet" if age is None else f"last frame {age:.0f} s before",
        f"{counted(health.queued, 'report waits', 'reports wait')} in its outbox" if health.queued else "",
        f"broker {health.broker}" if health.broker else "",
        *(f"{counted(count, 'frame')} {cause}" for cause, count in health.dropped.items() if count),
        f"{max(warm.values()):.0f} \u00b0C" if warm else "",
        _pictures(health.pictures) if health.pictures else "",
    ]
    return f"health at {health.at:%H:%M:%S} UTC: {', '.join(filter(None, told))}"


def _pictures(pictures: PictureHealth) -> str:
    """What is kept of cells and frames; what was not is said only where there is such."""
    lost = f", {pictures.dropped} not" if pictures.dropped else ""
    return f"{counted(pictures.kept, 'picture')} kept{lost} ({pictures.mb:.0f} MiB)"


def share(slide: SlideSummary) -> str:
    """The blasts' share with its interval."""
    if slide.blast_fraction is None or slide.blast_interval is None:
        return "-"
    between = " to ".join(percent(end) for end in (slide.blast_interval.low, slide.blast_interval.high))
    return f"{percent(slide.blast_fraction)} ({between})"


def lines_of(summary: Summary, slides: Sequence[SlideSummary] = ()) -> str:
    """The summary in lines, for people; cells by the slides that were told, for these count each of them once."""
    back = f"; {summary['taken_back']} taken back" if summary["taken_back"] else ""
    p50, p99 = milliseconds(summary["latency_p50_ms"]), milliseconds(summary["latency_p99_ms"])
    faults = f"{counted(summary['duplicates'], 'duplicate')}, {counted(summary['gaps'], 'gap')} in the numbers"
    kinds = f"{summary['normal']} normal, {summary['blast']} blast, {summary['uncertain']} uncertain"
    views = f"each counted in every frame that shows it: {kinds}, {summary['not_judged']} not judged{back}"
    told = [slide_line(slide) for slide in slides] or [f"{summary['cells']}, {views}"]
    cells = "\n".join(f"cells      {words}" for words in told)
    return f"""\
received   {counted(summary["received"], "report")}
faults     {faults}, {summary["malformed"]} malformed
frames     {summary["frames"]}, of these {summary["refused"]} not fit to be judged
{cells}
latency    p50 {p50}, p99 {p99}, from capture to receipt
{RESEARCH_USE}"""


def milliseconds(value: float | None) -> str:
    """12.34 as `12 ms`."""
    return "-" if value is None else f"{value:.0f} ms"
