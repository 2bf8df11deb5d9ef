"""`microscope-dashboard`: subscribes to every agent of a broker and shows what arrives, in the terminal."""

import argparse
import json
import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Protocol

from pydantic import SecretStr, ValidationError

from contract.arguments import place
from contract.commands import how_to_install, outcome, process
from contract.connection import BrokerSettings, TlsSettings
from contract.durable import write_whole
from contract.errors import MissingError, UsageError
from contract.messages import FrameReport, SlideSummary
from contract.terminal import say
from contract.topics import is_topic_word
from dashboard.link import Arrival, Link
from dashboard.tally import Kind, Summary, Tally
from dashboard.words import line_of, lines_of, slide_line

_CONNECT_S = 10.0
_LAST_WORDS_S = 2.0
_QUIET_S = 0.2


class Screen(Protocol):
    """Where people look."""

    def note(self, line: str) -> None:
        """Say that something happened."""
        ...

    def draw(self, tally: Tally) -> None:
        """Show how things stand; called many times a second."""
        ...


class _Lines:
    """A line for everything that happens."""

    def note(self, line: str) -> None:
        say(line)

    def draw(self, tally: Tally) -> None:
        """Nothing: the lines have said it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code of contract/errors.py."""
    options = _parser().parse_args(arguments)
    return outcome("microscope-dashboard", lambda: _show(options, _stop_on_signals()))


def _show(options: argparse.Namespace, stop: Callable[[], bool]) -> int:
    summary = _watch(options, stop).summary()
    say(*lines_of(summary).split("\n"))
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


def _word(text: str) -> str:
    if not is_topic_word(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no word of a topic: no /, +, #, space, nor $ at its beginning")
    return text


def _word_or_any(text: str) -> str:
    return text if text == "+" else _word(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="microscope-dashboard",
        description="Show what microscope agents publish. The password is read from MICROSCOPE_MQTT__PASSWORD.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the broker (%(default)s)")
    add("--port", type=int, default=1883, help="its port (%(default)s)")
    add("--username", help="name to log in with")
    add("--ca", type=place, metavar="FILE", help="use TLS; the authority that signed the broker's certificate")
    add("--cert", type=place, metavar="FILE", help="certificate of this client, for mutual TLS")
    add("--key", type=place, metavar="FILE", help="its private key, without a passphrase")
    add("--prefix", type=_word, default="microscopy", help="first word of the topics (%(default)s)")
    add("--mqtt-version", choices=["3.1.1", "5"], default="5", help="(%(default)s)")
    add("--site", type=_word_or_any, default="+", help="only this laboratory")
    add("--device", type=_word_or_any, default="+", help="only this agent")
    add("--seconds", type=float, metavar="N", help="end after so many seconds")
    add("--frames", type=int, metavar="N", help="end after so many reports")
    add("--until-stopped", action="store_true", help="end when an agent says that it has stopped")
    add("--plain", action="store_true", help="a line for each frame in place of the table")
    add("--summary", type=place, metavar="FILE", help="write the counts at the end, as JSON")
    add("--ready-file", type=place, metavar="FILE", help="make this file once the broker has subscribed us")
    return parser


def _watch(options: argparse.Namespace, stop: Callable[[], bool]) -> Tally:
    tally, topics = Tally(), f"{options.prefix}/v1/{options.site}/{options.device}/#"
    with Link(_broker(options), topics) as link, _screen(options) as screen:
        link.wait_subscribed(_CONNECT_S)
        if options.ready_file:
            _touch(options.ready_file)
        screen.note(f"subscribed to {topics}")
        end, trouble = _End(options), ""
        while not (stop() or end.reached(tally)):
            with suppress(queue.Empty):
                _take(link.arrivals.get(timeout=0.05), tally, end=end, screen=screen)
            if link.trouble != trouble:
                trouble = link.trouble
                screen.note(trouble or f"subscribed to {topics} again")
            tally.link = link.words()
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


def _broker(options: argparse.Namespace) -> BrokerSettings:
    tls = None
    if options.ca or options.cert or options.key:
        tls = TlsSettings(ca=options.ca, cert=options.cert, key=options.key)
    password = os.environ.get("MICROSCOPE_MQTT__PASSWORD")
    try:
        return BrokerSettings(
            host=options.host,
            port=options.port,
            username=options.username,
            password=SecretStr(password) if password else None,
            tls=tls,
            version=options.mqtt_version,
        )
    except ValidationError as cause:
        faults = cause.errors(include_input=False, include_url=False)
        raise UsageError("; ".join(f"--{fault['loc'][0]}: {fault['msg']}" for fault in faults)) from cause


def _screen(options: argparse.Namespace) -> AbstractContextManager[Screen]:
    if options.plain or not sys.stdout.isatty():
        return nullcontext(_Lines())
    try:
        from dashboard.table import LiveTable  # noqa: PLC0415 - rich is optional: --plain does without
    except ImportError as cause:
        raise MissingError(f"{cause.name} is not installed; {how_to_install('dashboard')}, or use --plain") from cause
    return LiveTable()


def _stop_on_signals() -> Callable[[], bool]:
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(asked)


if __name__ == "__main__":
    sys.exit(process("microscope-dashboard", main))
