"""How the agent fares, for a monitoring system on the same machine: Prometheus's text, and two pages for probes.

It listens on loopback alone. Each request has a thread and one deadline for all of it, and the oldest of too many is
dropped, so a slow or hostile client holds up nobody, and no stop.
"""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.ops.health import Cause
from common.errors import CheckError, MicroscopeError
from contract.health_messages import Health
from mqttlink.refusals import State

log = logging.getLogger(__name__)
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
DEADLINE_S = 5.0
"""For a request and its answer together, however little of it comes at a time."""
MOST_CLIENTS = 32
"""That are served at once; then the one that came first is dropped."""
_TURN_S = 0.1
_PATIENCE_S = 2.0
"""Longest wait for the metrics that are being made for another client."""

Ask = Callable[[], str]
"""Why something is not well, in words; "" if it is."""
Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Status, content type and body of an answer; raises MicroscopeError if there is none."""


def pages(health: Callable[[], Health], *, version: str, trouble: Ask, hangs: Ask, idles: Ask) -> dict[str, Page]:
    """The pages of an agent.

    Args:
        health: a snapshot; may raise MicroscopeError.
        version: of the agent.
        trouble: why reports do not leave; told, and no reason to be unready.
        hangs: why only a new start can help; asked without any lock that a hung disk could hold.
        idles: why no frames become reports that are safe.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Told(health, version=version))
    making = threading.Lock()

    def metrics() -> tuple[HTTPStatus, str, bytes]:
        if not making.acquire(timeout=_PATIENCE_S):  # only one thread waits for a disk that does not answer
            raise CheckError(
                f"the metrics for another client are not ready after {_PATIENCE_S:g} s; does the outbox's disk answer?"
            )
        try:
            return HTTPStatus.OK, METRICS, generate_latest(registry)
        finally:
            making.release()

    return {
        "/metrics": metrics,
        "/healthz": lambda: _verdict(hangs()),
        "/readyz": lambda: _verdict(hangs() or idles(), f"broker: {trouble() or 'online'}"),
    }


def _verdict(ill: str, *beside: str) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK
    return status, TEXT, "".join(f"{line}\n" for line in (ill or "ok", *beside)).encode()


class _Told(Collector):
    """The health message in Prometheus's words, made when it is asked for; see docs/monitoring.md."""

    def __init__(self, health: Callable[[], Health], *, version: str) -> None:
        self._health, self._version = health, version

    def collect(self) -> Iterator[Metric]:
        """What Prometheus's registry asks for."""
        now = self._health()
        yield _counter("frames", "Frames reported since the agent started.", now.frames)
        yield _counter("frames_refused", "Of these, frames not fit to be judged.", now.refused)
        yield _counter("cells", "White cells reported since the agent started.", now.cells)
        dropped = CounterMetricFamily(
            "microscope_dropped", "Frames never examined or reports lost, by cause.", labels=["cause"]
        )
        known = dict.fromkeys(get_args(Cause), 0)  # an alert on an increase sees none without the 0 before it
        for cause, count in {**known, **now.dropped}.items():
            dropped.add_metric([cause], count)
        yield dropped
        yield _gauge("frame_age_seconds", "Time since the last frame was examined.", now.frame_age_s)
        yield _gauge("outbox_reports", "Reports that wait in the outbox.", now.queued)
        yield _gauge("outbox_oldest_seconds", "Time since the oldest report that waits was captured.", now.oldest_s)
        yield _gauge("consumer_silence_seconds", "Time without a word of consumers that owe us one.", now.silence_s)
        yield _gauge(
            "broker_connected", "1 while reports can leave, 0 while something hinders them.", now.broker == "online"
        )
        states = {state: float(state == now.broker) for state in get_args(State)}
        yield _by("broker_state", "1 for the state in which the connection to the broker is.", "state", states)
        yield _gauge("alarms", "Things that a person should see to; the health message says which.", len(now.alarms))
        if now.pictures:
            yield _counter("pictures", "Pictures of cells and frames kept since the agent started.", now.pictures.kept)
            yield _counter("pictures_dropped", "Pictures for which there was no time or room.", now.pictures.dropped)
            yield _gauge("pictures_bytes", "Size of the kept pictures.", now.pictures.mb * 2**20)
        if now.audit:
            yield _counter("audit_lines", "Number of the audit log's last line.", now.audit.lines)
        yield _by("temperature_celsius", "Temperature by thermal zone.", "zone", now.temperatures_c)
        yield _by("power_watts", "Power by rail or meter.", "rail", now.power_w)
        about = {"version": self._version, "engine": now.engine}
        yield InfoMetricFamily("microscope_agent", "Version of the agent and engine in use.", about)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"microscope_{name}", text, value)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """Without a value there is no sample, for 0 would be one."""
    return GaugeMetricFamily(f"microscope_{name}", text, None if value is None else float(value))


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"microscope_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


@contextmanager
def served(port: int, on: Mapping[str, Page]) -> Iterator[str]:
    """Serve pages on loopback in the block.

    Args:
        port: TCP port.
        on: the pages by path.

    Yields:
        Why nothing is served though it should be, in words: monitoring is not worth the agent's life.
    """
    try:
        server = _Server(("127.0.0.1", port), partial(_Handler, on))
    except OSError as cause:
        alarm = f"`metrics.port` {port} can not be listened at ({cause.strerror}); choose another"
        log.warning("%s", alarm)
        yield alarm
        return
    thread = threading.Thread(target=server.serve_forever, args=(_TURN_S,), name="metrics", daemon=True)
    thread.start()
    try:
        yield ""
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(socketserver.ThreadingTCPServer):
    """http.server's own would ask the name service for our name first."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *given: Any) -> None:
        self._clients: dict[socket.socket, float] = {}
        """By connection: when its time is over; the oldest first."""
        self._lock = threading.Lock()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client on a thread of its own."""
        with self._lock:
            if len(self._clients) >= MOST_CLIENTS:
                self._drop(next(iter(self._clients)))
            self._clients[request] = time.monotonic() + DEADLINE_S
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Drop the clients whose time is over; the server's loop calls this at every turn."""
        now = time.monotonic()
        with self._lock:
            for client in [client for client, until in self._clients.items() if until < now]:
                self._drop(client)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has its answer, or had its time."""
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Listen no more, and drop who is still here."""
        super().server_close()
        with self._lock:
            for client in list(self._clients):
                self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        """End a connection; its thread notices, and closes it."""
        del self._clients[client]
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """The client has gone, or talks nonsense."""
        log.debug("a request for metrics came to nothing")


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "microscope-agent", ""

    def __init__(self, on: Mapping[str, Page], *given: Any) -> None:
        self._pages = on
        super().__init__(*given)

    def do_GET(self) -> None:
        """Answer with the page."""
        page = self._pages.get(self.path.partition("?")[0])
        try:
            status, kind, body = page() if page else self._unknown()
        except MicroscopeError as cause:
            status, kind, body = _verdict(str(cause))
        self.send_response(status)
        for name, value in self._headers(kind, body):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say it only to who looks for it."""
        log.debug(format, *args)

    def _unknown(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.NOT_FOUND, TEXT, f"there are {', '.join(self._pages)}\n".encode()

    @staticmethod
    def _headers(kind: str, body: bytes) -> Iterable[tuple[str, str]]:
        return ("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")
