"""Everything at once on one machine: a broker, the agent, a subscriber in the terminal and the page, each a process."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote, urlsplit

import dashboard
import dashboard.terminal
from agent.config import load_alone
from agent.pictures.store import PictureStore
from agent.service import PICTURES_FILE, serve
from agent.settings import Settings
from agent.tools.kept import kept_montage
from agent.tools.leftovers import Leftovers, leftovers
from common.errors import BrokerError, CheckError, MissingError
from common.signals import Signals
from devbroker.broker import Broker, open_broker

READY_S = 20.0
END_S = 30.0
PICTURES_S = 20.0
"""Longest wait for the pictures to be on the page."""
PICTURES_MB = 256
"""MiB of pictures that the agent keeps, and the page once more: a demonstration that goes on fills no disk."""


def demo(
    source: Mapping[str, str], signals: Signals, *, keep: bool = False, montage: Path | None = None
) -> Iterator[str]:
    """Run the agent on a source against a broker of its own; a subscriber shows what arrives there.

    Args:
        source: settings below ``source``, by name.
        signals: end it early; what it has started and written is gone even if something hangs.
        keep: leave the page open when the source has ended, until a signal comes.
        montage: where the gallery of the found cells is left; None: nowhere.

    Yields:
        Lines for the user: the broker and the page's address at once, what came of it at the end.

    Raises:
        UsageError, SourceError: the source can not be opened; the service would wait for it.
        CheckError: the subscriber has not received every report.
    """
    stop = signals.begin()
    with load_alone({f"source.{name}": value for name, value in source.items()}).source.open(stop):
        pass
    with leftovers(signals) as left, open_broker(within=left.folder) as broker:
        left.broker = broker.pid
        yield f"broker: {broker.name}, MQTT {broker.version}, at {broker.host}:{broker.port}"
        with _page(broker, left, stop) as address:
            yield f"page: {address or 'none; the reason stands above'}"
            settings, told = load_alone(_settings(source, broker, left.folder)), list[str]()
            with _subscriber(broker, left, stop) as summary:
                published = serve(settings, stop, at_end=lambda: told.extend(_pictures(settings, address, stop))).frames
            received = json.loads(summary.read_text())["received"]
            yield from told
            if montage and stop.is_set():
                yield "montage: none is made, for the demonstration was told to end"
            elif montage:
                yield f"montage: {kept_montage(settings.state_dir / PICTURES_FILE, settings.pictures, montage, stop)}"
            if keep and address and not stop.is_set():
                yield f"the page stays open at {address}; Ctrl-C ends it"
                stop.wait()
    line = f"published {published} = received {received}"
    if published != received:
        raise CheckError(line.replace("=", ", but") + ": the subscriber has not seen every report")
    yield line


def _settings(source: Mapping[str, str], broker: Broker, folder: Path) -> dict[str, str]:
    return {
        "site": "demo",
        "device": "demo",
        "state_dir": str(folder),
        "mqtt.host": broker.host,
        "mqtt.port": str(broker.port),
        "mqtt.version": broker.version,
        "pictures.keep": "true",
        "pictures.max_mb": str(PICTURES_MB),
        **{f"source.{name}": value for name, value in source.items()},
    }


def _pictures(settings: Settings, address: str, stop: threading.Event) -> Iterator[str]:
    """Wait until the page has every picture that the agent has kept, as far as a bound; tells how many it has."""
    if not address:
        return
    ours = settings.pictures
    with closing(PictureStore(settings.state_dir / PICTURES_FILE, max_mb=ours.max_mb, days=ours.days)) as store:
        named = [*(("cells", name) for name in store.names("cell")), *(("frames", n) for n in store.names("frame"))]
    wanted = [f"/pictures/demo/{kind}/{quote(name, safe='')}" for kind, name in named]
    deadline, found = time.monotonic() + PICTURES_S, 0
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=PICTURES_S)) as page:
        for path in wanted:
            if stop.is_set():
                break
            while not (there := _is_there(page, path)) and time.monotonic() < deadline and not stop.wait(0.1):
                pass
            found += there
    yield f"pictures: {found} of {len(wanted)} are on the page"


def _is_there(page: HTTPConnection, path: str) -> bool:
    try:
        page.request("GET", path)
        answer = page.getresponse()
        answer.read()
    except (OSError, HTTPException):  # a server closes a connection that nobody uses
        page.close()
        return False
    return answer.status == HTTPStatus.OK


@contextmanager
def _subscriber(broker: Broker, left: Leftovers, stop: threading.Event) -> Iterator[Path]:
    """Run `microscope-watch` beside us until the agent says that it has stopped; yields where its counts will be.

    It is a process of its own, and hears of us through the broker alone.
    """
    ready, summary = left.folder / "ready", left.folder / "summary.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", dashboard.terminal.__name__, "--until-stopped"),
            *("--host", broker.host, "--port", str(broker.port), "--mqtt-version", broker.version),
            *("--ready-file", str(ready), "--summary", str(summary)),
        ],
        start_new_session=True,  # Ctrl-C is for the agent, whose last word ends the subscriber
    )
    left.programs.append(process)
    try:
        _await(ready, process, stop)
        yield summary
        _await_end(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(END_S)


@contextmanager
def _page(broker: Broker, left: Leftovers, stop: threading.Event) -> Iterator[str]:
    """Run `microscope-dashboard`, the collector as well, beside us; yields its address, "" where there is none."""
    ready = left.folder / "page"
    settings = {
        "mqtt.host": broker.host,
        "mqtt.port": broker.port,
        "mqtt.version": broker.version,
        "collect": "true",
        "database": f"sqlite:///{left.folder / 'collector.sqlite'}",
        "pictures.max_mb": PICTURES_MB,
        "state_dir": left.folder,
        "web.sign_in": "false",
        "web.port": 0,
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", dashboard.__name__, "--log", "ERROR", "--ready-file", str(ready)),
            *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
        ],
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")},
    )
    left.programs.append(process)
    try:
        with suppress(MissingError, BrokerError):  # without it the demonstration goes on, and its own words stand above
            _await(ready, process, stop)
        yield ready.read_text() if ready.exists() else ""
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        finally:
            process.kill()
            process.wait()


def _await_end(process: "subprocess.Popen[bytes]") -> None:
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired as cause:
        raise CheckError(
            f"the agent has stopped, and {END_S:.0f} s later the subscriber has not heard of it; "
            "what it did hear stands above"
        ) from cause
    if code:
        raise CheckError(f"the subscriber ended with exit code {code}; its reason stands above")


def _await(ready: Path, process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """Until a program says that it is ready, or ``stop`` is set."""
    deadline = time.monotonic() + READY_S
    while not (ready.exists() or stop.is_set()):
        if process.poll() is not None:
            raise MissingError(f"the subscriber ended with exit code {process.returncode}; its reason stands above")
        if time.monotonic() > deadline:
            raise BrokerError(f"the subscriber was not ready within {READY_S:.0f} s")
        time.sleep(0.02)
