"""`microscope-watch`: subscribes to every agent of a broker and shows what arrives, in the terminal."""

from common.signals import Manner, Signals, heed, heeded, leave
from common.terminal import open_streams, say

if __name__ == "__main__":  # before anything slow is imported
    open_streams()
    heed()

import argparse
import json
import queue
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

from common.commands import how_to_install, outcome, process
from common.durable import write_whole
from common.errors import MissingError, UsageError
from contract.messages import FrameReport, SlideSummary
from dashboard.link import Arrival, Link
from dashboard.terminal.options import parser, settings_given
from dashboard.terminal.phrases import line_of, lines_of, slide_line
from dashboard.terminal.settings import load
from dashboard.terminal.tally import Kind, Summary, Tally

_CONNECT_S = 10.0
_LAST_WORDS_S = 2.0
_QUIET_S = 0.2
_SILENCE_S = 30.0
"""After so long without a line another one says how it stands with the broker."""


class Screen(Protocol):
    """Where people look."""

    def note(self, line: str) -> None:
        """Say that something happened."""
        ...

    def draw(self, tally: Tally) -> None:
        """Show how things stand; called many times a second."""
        ...


class _Lines:
    """A line for every event, and one with the state of the connection after 30 s of silence."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def note(self, line: str) -> None:
        say(line)
        self._said_at = time.monotonic()

    def draw(self, tally: Tally) -> None:
        """The lines have said it all; in silence, say how it stands with the broker."""
        if time.monotonic() - self._said_at >= _SILENCE_S:
            self.note(tally.link)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code of common/errors.py."""
    with heeded() as signals:
        options = parser().parse_args(arguments)
        signals.decide(Manner())
        return leave(outcome("microscope-watch", lambda: _show(options, signals)))


def _show(options: argparse.Namespace, signals: Signals) -> int:
    tally = _watch(options, signals)
    summary = tally.summary()
    say(*lines_of(summary, tally.slides()).split("\n"))
    if options.summary:
        _write(options.summary, summary)
    return 0


def _write(path: Path, summary: Summary) -> None:
    try:
        write_whole(path, (json.dumps(summary, indent=2) + "\n").encode())
    except OSError as cause:
        raise UsageError(f"--summary: {path} can not be written ({cause.strerror}); name another") from cause


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError as cause:
        raise UsageError(f"--ready-file: {path} can not be made ({cause.strerror}); name another") from cause


def _watch(options: argparse.Namespace, signals: Signals) -> Tally:
    stop = signals.begin()
    settings = load(options.config, settings_given(options))
    tally, topics = Tally(), f"{settings.mqtt.prefix}/v1/{settings.site}/{settings.device}/#"
    link = Link(settings.mqtt, topics, renewed=lambda: load(options.config, settings_given(options)).mqtt)
    with link, _screen(options) as screen:
        link.wait_subscribed(_CONNECT_S, stop=stop)
        if stop.is_set():
            return tally
        if options.ready_file:
            _touch(options.ready_file)
        screen.note(f"subscribed to {topics}")
        end, trouble = _End(options), ""
        while not (stop.is_set() or end.reached(tally)):
            with suppress(queue.Empty):
                _take(link.arrivals.get(timeout=0.05), tally, end=end, screen=screen)
            if link.trouble != trouble:
                trouble = link.trouble
                screen.note(trouble or f"subscribed to {topics} again")
            tally.link, tally.connected = link.words(), not trouble
            screen.draw(tally)
    return tally


def _take(arrival: Arrival, tally: Tally, *, end: "_End", screen: Screen) -> None:
    kind = tally.take(arrival.topic, arrival.payload, received_at=arrival.at, retained=arrival.retained)
    end.note(kind)
    if kind == "new":
        report = FrameReport.model_validate_json(arrival.payload)
        screen.note(line_of(report, tally.before(report)))
    elif kind == "slide":
        agent = "/".join(arrival.topic.split("/")[-3:-1])
        screen.note(f"{agent} {slide_line(SlideSummary.model_validate_json(arrival.payload))}")
    elif kind == "health":
        for line in tally.fresh_alarms(arrival.topic):
            screen.note(line)
    elif kind in {"status", "stopped"}:
        screen.note(f"{arrival.topic}: {arrival.payload.decode(errors='replace')}")


class _End:
    """When to stop watching."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._frames: int | None = options.frames
        self._heeds_stop: bool = options.until_stopped
        self._deadline = time.monotonic() + (float("inf") if options.seconds is None else options.seconds)
        self._last = time.monotonic()
        self._stopped = False

    def note(self, kind: Kind) -> None:
        """Remember what came last; after `stopped`, reports on their way still have a moment."""
        self._last = time.monotonic()
        if kind == "stopped" and self._heeds_stop and not self._stopped:
            self._stopped = True
            self._deadline = min(self._deadline, self._last + _LAST_WORDS_S)

    def reached(self, tally: Tally) -> bool:
        """Whether enough has been seen."""
        now = time.monotonic()
        complete = self._stopped and now >= self._last + _QUIET_S and tally.gaps == 0
        return complete or now >= self._deadline or (self._frames is not None and tally.received >= self._frames)


def _screen(options: argparse.Namespace) -> AbstractContextManager[Screen]:
    if options.plain or not sys.stdout.isatty():
        return nullcontext(_Lines())
    try:
        from dashboard.terminal.table import LiveTable  # noqa: PLC0415 - rich is optional: --plain does without
    except ImportError as cause:
        raise MissingError(f"{cause.name} is not installed; {how_to_install('dashboard')}, or use --plain") from cause
    return LiveTable()


if __name__ == "__main__":
    sys.exit(process("microscope-watch", main))
