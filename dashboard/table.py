"""The live table; the only file that imports rich."""

import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from contract.messages import SlideSummary
from contract.terminal import printable
from contract.words import counted
from dashboard.tally import KINDS, Tally, percentile
from dashboard.words import NO_SLIDE, RESEARCH_USE, findings, milliseconds

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
        """Draw anew, but not more often than an eye can follow: a table costs more than a message."""
        self._tally = tally
        if time.monotonic() - self._drawn_at >= _DRAW_EVERY_S:
            self._live.update(picture(tally), refresh=True)
            self._drawn_at = time.monotonic()


def picture(tally: Tally) -> Group:
    """Everything on one screen: the devices, their slides, their last frames, what is wrong, its intended use."""
    link = [Text(tally.link, style="dim")] if tally.link else []
    return Group(
        *link, _devices(tally), _slides(tally), _frames(tally), *_warnings(tally), Text(RESEARCH_USE, style="dim")
    )


def _table(title: str) -> Table:
    """Without lines between the columns: all of them fit into 80 characters."""
    return Table(title=title, title_justify="left", expand=True, box=None, pad_edge=False, padding=(0, 1, 0, 0))


def _devices(tally: Tally) -> Table:
    table = _table("microscope agents, a cell counted in every frame that shows it")
    table.add_column("agent", no_wrap=True)
    table.add_column("state")
    for heading in ("frames", "refused", "normal", "blast", "uncertain", "cut", "p50", "p99", "missing"):
        table.add_column(heading, justify="right")
    for name, device in sorted(tally.devices.items()):
        table.add_row(
            Text(printable(name)),
            Text(device.state, style=_STYLES.get(device.state, "")),
            *map(str, (device.frames, device.refused, *(device.sightings.kinds[name] for name in KINDS))),
            milliseconds(percentile(device.latencies_ms, 50)),
            milliseconds(percentile(device.latencies_ms, 99)),
            str(device.gaps),
        )
    return table


def _slides(tally: Tally) -> Table:
    table = _table("slides, each cell counted once")
    for heading in ("agent", "slide", "state"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for heading in ("cells", "normal", "blast", "uncertain", "cut", "jumps", "blasts (95 %)"):
        table.add_column(heading, justify="right")
    for name, device in sorted(tally.devices.items()):
        if slide := device.slide:
            counts = slide.cells, slide.normal, slide.blasts, slide.uncertain, slide.edge_only, slide.jumps
            table.add_row(
                Text(printable(name)), Text(printable(slide.slide_id)), slide.state, *map(str, counts), _share(slide)
            )
    return table


def _share(slide: SlideSummary) -> str:
    """The blasts' share and its interval, in few characters."""
    if slide.blast_fraction is None or slide.blast_interval is None:
        return "-"
    return f"{slide.blast_fraction:.0%} ({slide.blast_interval.low:.0%} to {slide.blast_interval.high:.0%})"


def _frames(tally: Tally) -> Table:
    table = _table("last frames")
    for heading in ("agent", "no.", "picture", "found"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for name, device in sorted(tally.devices.items()):
        for report in device.latest:
            blasts = any(cell.label == "blast" for cell in report.cells)
            table.add_row(
                Text(printable(name)),
                str(report.seq),
                Text(printable(report.frame.source)),
                Text(findings(report), style="bold magenta" if blasts else ""),
            )
    return table


def _warnings(tally: Tally) -> Iterator[Text]:
    """What is wrong with an agent's last frame and what to do about it, in full; no column is as wide."""
    for name, device in sorted(tally.devices.items()):
        if device.health:
            for alarm in device.health.alarms:
                yield Text(f"{name} alarm: {alarm}", style="bold red")
            if device.health.queued:
                yield Text(
                    f"{name} {counted(device.health.queued, 'report waits', 'reports wait')} in its outbox", style="dim"
                )
        if device.latest and not device.latest[-1].slide_id:
            yield Text(printable(f"{name} {NO_SLIDE}"), style="yellow")
        if device.latest and (why := device.latest[-1].quality.detail):
            yield Text(printable(f"{name} {why}"), style="yellow")
