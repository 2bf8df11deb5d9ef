"""`microscope-dashboard`: subscribes to every agent of a broker and shows what arrives, in the terminal."""

import argparse
import json
import os
import queue
import re
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from contract.arguments import place
from contract.commands import how_to_install, outcome, process
from contract.durable import write_whole
from contract.errors import BrokerError, MissingError, UsageError
from contract.messages import FrameReport, SlideSummary
from contract.terminal import say
from dashboard.tally import Kind, Summary, Tally
from dashboard.words import line_of, lines_of, slide_line

_PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}
_TOPIC_WORD = re.compile(r"[^/+#\s$][^/+#\s]{0,63}")
_CONNECT_S = 10.0
_LAST_WORDS_S = 2.0
_QUIET_S = 0.2


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message, and when it came."""

    topic: str
    payload: bytes
    retained: bool
    at: datetime


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
    if not _TOPIC_WORD.fullmatch(text):
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
    add("--prefix", type=_word, default="microscopy", help="first word of the topics (%(default)s)")
    add("--mqtt-version", choices=sorted(_PROTOCOLS), default="5", help="(%(default)s)")
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
    arrivals: queue.Queue[Arrival] = queue.Queue()
    tally = Tally()
    with _subscription(options, arrivals) as topics, _screen(options) as screen:
        if options.ready_file:
            _touch(options.ready_file)
        screen.note(f"subscribed to {topics}")
        end = _End(options)
        while not (stop() or end.reached(tally)):
            with suppress(queue.Empty):
                _take(arrivals.get(timeout=0.05), tally, end=end, screen=screen)
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


@contextmanager
def _subscription(options: argparse.Namespace, arrivals: queue.Queue[Arrival]) -> Iterator[str]:
    """Be subscribed, and stay so over lost connections; yields the topics.

    Raises:
        BrokerError: there is no broker, or it refuses us.
    """
    topics = f"{options.prefix}/v1/{options.site}/{options.device}/#"
    answers: queue.Queue[str] = queue.Queue()
    client = _client(options, topics, arrivals, answers)
    where = f"{options.host}:{options.port}"
    try:
        client.connect(options.host, options.port, keepalive=30)
    except (OSError, ValueError) as cause:
        raise BrokerError(
            f"the broker at {where} can not be reached ({cause}); correct --host and --port, or start it"
        ) from cause
    client.loop_start()
    try:
        refusal = answers.get(timeout=_CONNECT_S)
        if refusal:
            raise BrokerError(f"the broker at {where} refused us: {refusal}; see --username and --mqtt-version")
        yield topics
    except queue.Empty as cause:
        raise BrokerError(f"{where} does not answer; is it an MQTT broker, and is --ca right for it?") from cause
    finally:
        client.disconnect()
        client.loop_stop()


def _client(
    options: argparse.Namespace, topics: str, arrivals: queue.Queue[Arrival], answers: queue.Queue[str]
) -> paho.Client:
    """A client that subscribes whenever it is connected; the callbacks only put things into queues."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=_PROTOCOLS[options.mqtt_version])
    client.suppress_exceptions = True
    client.reconnect_delay_set(1, 10)
    if options.username:
        client.username_pw_set(options.username, os.environ.get("MICROSCOPE_MQTT__PASSWORD"))
    if options.ca:
        client.tls_set_context(_tls(options.ca))

    def on_connect(_client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            answers.put(f"{reason} ({reason.value})")
        elif client.subscribe(topics, qos=1)[0] != MQTTErrorCode.MQTT_ERR_SUCCESS:
            answers.put("the connection broke")

    def on_subscribe(_client: paho.Client, _data: Any, _ticket: int, reasons: Any, _properties: Any) -> None:
        answers.put("".join(f"{reason} ({reason.value}) for {topics}" for reason in reasons if reason.is_failure))

    def on_message(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        arrivals.put(Arrival(message.topic, bytes(message.payload), message.retain, datetime.now(timezone.utc)))

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    return client


def _tls(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as cause:
        raise MissingError(f"--ca: {authority} can not be read ({cause}); it must be PEM") from cause


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
