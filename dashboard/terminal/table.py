"""The live table; the only file that imports rich."""

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from common.terminal import printable
from common.words import counted
from contract.labels import LABELS, spoken
from contract.messages import SlideSummary
from contract.shares import corrected_words
from dashboard.terminal.phrases import NO_SLIDE, RESEARCH_USE, findings, health_words
from dashboard.terminal.tally import Tally

_STYLES = {"online": "green", "stopped": "yellow", "offline": "bold red"}
_DRAW_EVERY_S = 0.1


class LiveTable:
    """The table, redrawn in place while it is entered; its last state stays on the terminal."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._live = Live(picture(self._tally), auto_refresh=False)
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(picture(self._tally), refresh=True)
        self._live.stop()

    def note(self, line: str) -> None:
        """Nothing: the table shows it."""

    def draw(self, tally: Tally) -> None:
        """Draw again, but not more often than an eye can follow: a table costs more than a message."""
        self._tally = tally
        if time.monotonic() - self._drawn_at >= _DRAW_EVERY_S:
            self._live.update(picture(tally), refresh=True)
            self._drawn_at = time.monotonic()


def picture(tally: Tally, now: datetime | None = None) -> Group:
    """Everything on one screen: the broker, the agents, their last frames, what is wrong, its intended use."""
    link = [Text(printable(tally.link), style="dim" if tally.connected else "bold red")] if tally.link else []
    agents = _agents(tally, now or datetime.now(timezone.utc))
    return Group(*link, agents, *_corrected(tally), *_frames(tally), *_warnings(tally), Text(RESEARCH_USE, style="dim"))


def _agents(tally: Tally, now: datetime) -> Table:
    """One row for each agent, with the only count: each cell of its slide once. All columns fit into 80 characters."""
    table = Table(
        title="microscope agents, and their slides: each cell counted once",
        title_justify="left",
        expand=True,
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("agent", "slide"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for heading in ("frames", *map(spoken, LABELS), "blasts (95 %)"):
        table.add_column(heading.replace("not ", "not\n"), justify="right", no_wrap=True)
    for name, device in sorted(tally.devices.items()):
        state = Text(f"{device.state}, {_ago(device.heard_at, now)}", style=_STYLES.get(device.state, ""))
        agent = Text("\n").join([Text(printable(name)), state])
        table.add_row(agent, *(_counts(device.slide) if device.slide else ()))
    return table


def _counts(slide: SlideSummary) -> tuple[str | Text, ...]:
    """A slide in the columns of the table."""
    return (
        Text(f"{printable(slide.slide_id)}\n{slide.state}"),
        f"{slide.frames}\n{slide.refused} refused",
        *map(str, (slide.normal, slide.blasts, slide.uncertain, slide.not_judged)),
        _share(slide),
    )


def _ago(moment: datetime | None, now: datetime) -> str:
    """How long it is since an agent was heard, in few characters."""
    if moment is None:
        return "not heard"
    seconds = max(0, round((now - moment).total_seconds()))
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _share(slide: SlideSummary) -> str:
    """The blasts' share and its interval, in few characters."""
    if slide.blast_fraction is None or slide.blast_interval is None:
        return "-"
    return f"{slide.blast_fraction:.0%} ({100 * slide.blast_interval.low:.0f} to {slide.blast_interval.high:.0%})"


def _corrected(tally: Tally) -> Iterator[Text]:
    """The share of each slide whose model has a known error, corrected for that; the column has no room for it."""
    for name, device in sorted(tally.devices.items()):
        if device.slide and (words := corrected_words(device.slide)):
            yield Text(printable(f"{name} {device.slide.slide_id}: blasts {words}"))


def _frames(tally: Tally) -> Iterator[Text]:
    """The last frames, a line each."""
    for name, device in sorted(tally.devices.items()):
        for report in device.latest:
            blasts = any(cell.label == "blast" for cell in report.cells)
            line = Text(printable(f"{name} #{report.seq} {report.frame.source}: "), no_wrap=True, overflow="ellipsis")
            yield line.append(findings(report), style="bold magenta" if blasts else "")


def _warnings(tally: Tally) -> Iterator[Text]:
    """How the agents are, what is wrong with their last frames and what to do, in full; no column is as wide."""
    for name, device in sorted(tally.devices.items()):
        told = [(health_words(device.health), "dim")] if device.health else []
        told += [(f"alarm: {alarm}", "bold red") for alarm in (device.health.alarms if device.health else ())]
        if device.gaps:
            told.append(
                (f"{counted(device.gaps, 'report is', 'reports are')} missing between those that came", "yellow")
            )
        if device.latest and not device.latest[-1].slide_id:
            told.append((NO_SLIDE, "yellow"))
        if device.latest and (why := device.latest[-1].quality.detail):
            told.append((why, "yellow"))
        yield from (Text(printable(f"{name} {words}"), style=style) for words, style in told)
