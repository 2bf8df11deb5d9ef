"""Runs the page's server until it is told to end, with the collector beside it where that is asked for."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import uvicorn

from collector.database import make_place
from collector.pictures import PictureFetcher
from collector.receive import Collector
from collector.settings import CollectorSettings
from collector.store import Store
from common.errors import MicroscopeError, StoreError, UsageError
from common.signals import Signals
from dashboard.app import application
from dashboard.certificate import Certificate
from dashboard.live.watcher import Watcher
from dashboard.security import users
from dashboard.security.patience import Impatient
from dashboard.settings import DashboardSettings
from dashboard.web import Web
from mqttlink.settings import BrokerSettings

log = logging.getLogger(__name__)
GRACE_S = 1
"""Seconds that an end waits for open pages."""


def serve(
    settings: DashboardSettings,
    signals: Signals,
    *,
    ready: Callable[[str], None],
    renewed: Callable[[], BrokerSettings] | None = None,
) -> None:
    """Serve until the process is told to end.

    Args:
        settings: of this server.
        signals: of the process.
        ready: is told the page's address once it can be opened.
        renewed: reads the broker's settings again, as before each connection.

    Raises:
        UsageError: a setting can not be used, the port is taken, or nobody could sign in.
        MicroscopeError: this is the collector too, and its database can not be used, and waiting does not help.
    """
    web = Web(settings, Watcher(settings, renewed=renewed), renewed=renewed)
    if settings.web.sign_in and not web.users.everybody():
        raise UsageError(
            f"nobody may sign in: {settings.state_dir / users.FILE} names no user; `microscope-dashboard user add "
            "NAME` (of the service: `sudo microscope-users add NAME`) adds one, or set web.sign_in = false on a "
            "computer that only one person uses"
        )
    web.reviews.open()
    listening = _socket(settings)
    server = server_of(web)
    signals.on_hangup = web.watcher.reconnect
    stop = signals.begin()
    with _collecting(web, signals, renewed) if settings.collect else nullcontext(), _ends(server, web, stop):
        listening.listen()
        ready(address_of(settings, listening))
        server.run([listening])


def server_of(web: Web) -> uvicorn.Server:
    """What speaks HTTP with browsers; it is run on a socket. UsageError where its certificate can not be used."""
    tls = web.settings.web.tls
    return _Server(_configured(web), Certificate(tls) if tls else None)


def _configured(web: Web) -> uvicorn.Config:
    tls = web.settings.web.tls
    return uvicorn.Config(
        application(web),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        http=Impatient,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=str(tls.cert) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=1000,
    )


class _Server(uvicorn.Server):
    """One that leaves the signals of the process to us, and shows the certificate that now stands on disk."""

    def __init__(self, config: uvicorn.Config, certificate: Certificate | None) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; the certificate is watched from now on."""
        if self._certificate and self.config.ssl:
            self._certificate.shown_through(self.config.ssl)
            self._watching = asyncio.create_task(self._certificate.watch())
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        if self._watching:
            self._watching.cancel()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def address_of(settings: DashboardSettings, listening: socket.socket) -> str:
    """What a browser on this computer is told to open."""
    scheme = "https" if settings.web.tls else "http"
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    return f"{scheme}://{host}:{listening.getsockname()[1]}/"


def _socket(settings: DashboardSettings) -> socket.socket:
    where = settings.web.host, settings.web.port
    try:
        family, kind, *_, address = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as cause:
        raise UsageError(
            f"the page can not be served at {where[0]} port {where[1]} ({cause.strerror or cause}); set web.host and "
            "web.port to what is this computer's and free"
        ) from cause
    return made


@contextmanager
def _ends(server: uvicorn.Server, web: Web, stop: threading.Event) -> Iterator[None]:
    """End the server when the process is told to end."""
    over = threading.Event()

    def wait() -> None:
        while not (stop.wait(0.1) or over.is_set()):
            pass
        web.watcher.let_pages_go()
        server.should_exit = True

    thread = threading.Thread(target=wait, name="end of the server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _collecting(web: Web, signals: Signals, renewed: Callable[[], BrokerSettings] | None) -> Iterator[None]:
    """Be the collector in the block, on a thread of its own; where that can not go on, the page ends and says why."""
    ours = _of_collector(web.settings)
    over, faults = threading.Event(), list[MicroscopeError]()
    with Store(ours.database, quarantine_rows=ours.quarantine_rows) as store:
        make_place(store.file)
        with suppress(StoreError):  # a server that is away is waited for
            store.open()
        collector, fetcher = Collector(ours, store, renewed=renewed), PictureFetcher(ours, renewed=renewed)
        signals.on_hangup = partial(_reconnect, web.watcher, collector, fetcher)

        def collect() -> None:
            try:
                collector.run(over.is_set)
            except MicroscopeError as cause:
                faults.append(cause)
                signals.stop.set()

        thread = threading.Thread(target=collect, name="collector", daemon=True)
        thread.start()
        try:
            with fetcher.running() if ours.pictures.fetch else nullcontext():
                yield
        finally:
            over.set()
            collector.reconnect()
            thread.join()
        if faults:
            raise faults[0]


def _of_collector(settings: DashboardSettings) -> CollectorSettings:
    return CollectorSettings(
        name=settings.name,
        mqtt=settings.mqtt,
        site=settings.site,
        device=settings.device,
        database=settings.database,
        pictures=settings.pictures,
    )


def _reconnect(*links: Watcher | Collector | PictureFetcher) -> None:
    for link in links:
        link.reconnect()
