"""The service: builds every adapter from the settings, hands them to the pipeline, and takes them down in order."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version

from agent.courier import Courier
from agent.engines import open_engine
from agent.health import Counters
from agent.memory import refuse_rollback, remember
from agent.notify import Notifier, WatchedSink
from agent.outbox import Outbox
from agent.pipeline import Station, run
from agent.settings import Settings
from agent.site import open_site
from agent.trust import open_trusted, said_of
from agent.watch import ScaleWatch
from contract.errors import BrokerError, OutboxError
from contract.messages import Health, Topics

log = logging.getLogger(__name__)
OUTBOX_FILE = "outbox.sqlite"
HEARTBEAT_S = 4.0
"""Less than the 5 s within which an alarm must be told."""


def serve(settings: Settings, stop: threading.Event) -> Health:
    """Run the agent until its source ends or ``stop`` is set.

    Returns:
        What was done, as the last health message says it.

    Raises:
        BrokerError: the source ended, and the broker has not taken every report; they stay in the outbox. Or the
            courier's thread ended before it was told to, by a fault in this program.
        MicroscopeError: an adapter can not be built; the text says which and why.
    """
    bundle = open_trusted(settings)
    model, number = bundle.manifest.model, bundle.manifest.version
    refuse_rollback(model, number, settings.state_dir, allow=settings.trust.allow_rollback)
    site = open_site(settings.site_file)
    counters, systemd = Counters(), Notifier()
    with ExitStack() as house:
        engine = house.enter_context(
            closing(open_engine(bundle, settings.engine, state_dir=settings.state_dir, rebuild=settings.engine_rebuild))
        )
        outbox = house.enter_context(_outbox(settings))
        remember(model, number, settings.state_dir)
        topics = Topics(prefix=settings.mqtt.prefix, site=settings.site, device=settings.device)
        courier = house.enter_context(
            Courier(
                settings.mqtt,
                topics,
                outbox,
                forget_on=settings.outbox.forget_on,
                version=version("microscope-agent"),
            )
        )
        name = secrets.token_hex(4)
        frames = site.level(house.enter_context(settings.source.open(name, stop)))

        def health() -> Health:
            return counters.health(queued=outbox.count(), engine=engine.name, outbox=outbox)

        station = Station(
            settings.site,
            settings.device,
            bundle,
            engine,
            colour=site.normaliser(bundle.manifest.reference),
            limits=site.file.limits,
            watch=ScaleWatch(),
        )
        slides = station.slides(name, courier.slide)
        if settings.slide.id:
            slides.start(settings.slide.id)
        log.log(
            logging.INFO if bundle.signed_by else logging.WARNING,
            "model %s (%s), engine %s, source %s",
            bundle.manifest.id,
            said_of(bundle),
            engine.name,
            settings.source.kind,
        )

        def beat() -> None:
            now = health()
            courier.health(now)
            systemd.status(
                f"{now.frames} frames, {now.cells} cells, {now.queued} reports wait; {courier.trouble or 'online'}"
            )
            if not courier.alive:
                stop.set()

        with _heartbeat(beat):
            sink = WatchedSink(outbox, systemd, fit=lambda: courier.alive)
            run(frames, station, sink, slides=slides, counters=counters, stop=stop, live=settings.source.live)
            slides.stop()
        systemd.stopping()
        left = courier.drain(settings.mqtt.drain_s)
        done = health()
        if not courier.alive:
            raise BrokerError(
                "the courier's thread is gone by a fault in this program, which stands above; start the agent again: "
                f"{done.queued} reports wait in {settings.state_dir / OUTBOX_FILE}"
            )
        courier.health(done)
    _account_for(left, settings, trouble=courier.trouble, stopped=stop.is_set())
    return done


def _outbox(settings: Settings) -> Outbox:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutboxError(
            f"the folder for the outbox, {settings.state_dir}, can not be made ({cause.strerror}); set `state_dir`"
        ) from cause
    return Outbox(settings.state_dir / OUTBOX_FILE, max_mb=settings.outbox.max_mb)


def _account_for(left: int, settings: Settings, *, trouble: str, stopped: bool) -> None:
    if not left:
        return
    text = (
        f"{left} reports wait in {settings.state_dir / OUTBOX_FILE} and will be sent at the next start: "
        f"{trouble or 'nobody has acknowledged them'}"
    )
    if not stopped:
        raise BrokerError(text)
    log.warning("%s", text)


@contextmanager
def _heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Call ``beat`` at once and every ``HEARTBEAT_S`` seconds until the block ends."""
    ended = threading.Event()

    def work() -> None:
        while True:
            try:
                beat()
            except OutboxError as cause:
                log.warning("no health message this time: %s", cause)
            if ended.wait(HEARTBEAT_S):
                return

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
