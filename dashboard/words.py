"""Reports and summaries as plain lines."""

from collections import Counter

from contract.messages import FrameReport, SlideSummary
from contract.words import counted
from dashboard.tally import KINDS, Summary

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
    kinds: Counter[str] = Counter(cell.kind for cell in report.cells)
    listed = ", ".join(f"{kinds[name]} {name}" for name in KINDS if kinds[name])
    count = len(report.cells)
    return counted(count, "cell") + (f": {listed}" if listed else "")


def slide_line(slide: SlideSummary) -> str:
    """A slide in one line, each cell counted once."""
    return (
        f"slide {slide.slide_id} ({slide.state}): {counted(slide.frames, 'frame')}, "
        f"{counted(slide.cells, 'cell')}: {slide.normal} normal, "
        f"{slide.blasts} blast, {slide.uncertain} uncertain, {slide.edge_only} seen only in part; blasts {share(slide)}"
    )


def share(slide: SlideSummary) -> str:
    """The blasts' share with its interval."""
    if slide.blast_interval is None:
        return "-"
    between = " to ".join(percent(end) for end in (slide.blast_interval.low, slide.blast_interval.high))
    return f"{percent(slide.blast_fraction)} ({between})"


def lines_of(summary: Summary) -> str:
    """The summary in lines, for people."""
    back = f"; {summary['taken_back']} taken back" if summary["taken_back"] else ""
    p50, p99 = milliseconds(summary["latency_p50_ms"]), milliseconds(summary["latency_p99_ms"])
    faults = f"{counted(summary['duplicates'], 'duplicate')}, {counted(summary['gaps'], 'gap')} in the numbers"
    return f"""\
received   {counted(summary["received"], "report")}
faults     {faults}, {summary["malformed"]} malformed
frames     {summary["frames"]}, of these {summary["refused"]} not fit to be judged
cells      {summary["cells"]}, each counted in every frame that shows it: {summary["normal"]} normal, \
{summary["blast"]} blast, {summary["uncertain"]} uncertain, {summary["cut"]} cut and not judged{back}
latency    p50 {p50}, p99 {p99}, from capture to receipt
{RESEARCH_USE}"""


def percent(share: float | None) -> str:
    """0.125 as `12.5 %`."""
    return "-" if share is None else f"{100 * share:.1f} %"


def milliseconds(value: float | None) -> str:
    """12.34 as `12 ms`."""
    return "-" if value is None else f"{value:.0f} ms"
