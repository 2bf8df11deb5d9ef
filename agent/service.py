"""The service: builds every adapter from the settings, hands them to the pipeline, and takes them down in order."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

from agent.loaded_model import LoadedModel
from agent.ops.audit import AuditLog
from agent.ops.audit_events import SlideNotes, on_record
from agent.ops.board import SYS
from agent.ops.health import Counters, Pulse
from agent.ops.heartbeat import Heartbeat
from agent.ops.notify import Notifier, WatchedSink
from agent.pictures.answers import PictureAnswers
from agent.pictures.keeper import PictureKeeper, PictureTap
from agent.pictures.store import PictureStore
from agent.pipeline import Examiner, run
from agent.settings import Settings
from agent.site import Site, open_site
from agent.trust import format_signer
from agent.turns import Turns
from agent.wire.discovery import birth_topic, discovery, discovery_topic
from agent.wire.handlers import CommandHandlers, Shown, attend
from agent.wire.outbox import Outbox
from agent.wire.picture_post import LOOK_EVERY_S, PicturePost
from agent.wire.publisher import Publisher, Renewed
from agent.wire.salvage import damaged
from agent.wire.snapshot import SnapshotTap
from common.arguments import make_state_dir
from common.errors import BrokerError, OutboxError
from common.signals import Signals
from common.words import counted
from contract.health_messages import Health
from contract.topics import TOPICS, Topics
from mqttlink.retained import Manner

log = logging.getLogger(__name__)
VERSION = version("microscope-agent")
OUTBOX_FILE, PICTURES_FILE = "outbox.sqlite", "pictures.sqlite"


def serve(
    settings: Settings,
    stop: threading.Event,
    *,
    shown: Shown = (),
    signals: Signals | None = None,
    renewed: Renewed | None = None,
    at_end: Callable[[], None] = lambda: None,
) -> Health:
    """Run the agent until its source ends or ``stop`` is set.

    What waits in the outbox leaves, and health is told, before the source is opened and whether it can be or not.

    Args:
        settings: of this machine.
        stop: ends it.
        shown: the settings as `config show` shows them, for who asks for them over MQTT.
        signals: of the process. SIGHUP makes another connection to the broker; where something hangs, the agent still
            says its last words.
        renewed: reads the broker's settings again, as before each connection.
        at_end: is called when the source has ended by itself and every picture is kept; commands are answered until
            it returns.

    Returns:
        What was done, as the last health message says it.

    Raises:
        BrokerError: the source ended, and the broker has not taken every report; they stay in the outbox. Or the
            publisher's thread ended before it was told to, by a fault in this program.
        MicroscopeError: an adapter can not be built; the text says which and why.
    """
    site, shown = open_site(settings.site_file), tuple(shown)
    with ExitStack() as house:
        audit = house.enter_context(AuditLog(settings.state_dir))
        house.enter_context(on_record(audit, shown, version=VERSION))
        if signals:
            signals.last_words = partial(_last_words, audit)
        agent = _built(house, settings, site, audit, stop=stop, renewed=renewed)
        _work(house, agent, site, shown=shown, stop=stop, signals=signals, at_end=at_end)
        agent.systemd.stopping()
        left = agent.publisher.drain(stop=stop)
        done = agent.last()
    _account_for(left, settings, trouble=agent.publisher.trouble, stopped=stop.is_set())
    return done


def _last_words(audit: AuditLog, publisher: Publisher | None = None) -> None:
    """What an agent says that was told to stop and hangs."""
    if publisher:
        publisher.close()
    audit.note("stop", {"because": "told to, and something hung"})


@dataclass(frozen=True, slots=True)
class _Agent:
    """Model, outbox, publisher and source of a running agent, and its health. Its pulse begins when this is made."""

    settings: Settings
    audit: AuditLog
    model: LoadedModel
    outbox: Outbox
    publisher: Publisher
    turns: Turns
    pictures: PictureKeeper | None
    counters: Counters = field(default_factory=Counters)
    pulse: Pulse = field(default_factory=Pulse)
    systemd: Notifier = field(default_factory=Notifier)
    alarms: list[str] = field(default_factory=list)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show them to a monitoring system where the settings ask for it; that this can not be is an alarm."""
        if not self.settings.metrics.port:
            yield
            return
        from agent.ops import prometheus  # noqa: PLC0415 - few ask for it, and its libraries take a twentieth of a start

        pages = prometheus.pages(
            self.health,
            version=VERSION,
            trouble=lambda: self.publisher.trouble,
            hangs=lambda: self.pulse.hangs() if self.publisher.alive else "the publisher's thread is gone",
            idles=self.pulse.idles,
        )
        with prometheus.served(self.settings.metrics.port, pages) as alarm:
            self.alarms.extend(filter(None, [alarm]))
            yield

    def health(self) -> Health:
        """What is so now."""
        silent = self.publisher.alarms(silent_after_s=self.settings.outbox.silence_s)
        return self.counters.health(
            queued=self.outbox.count(),
            engine=self.model.examiner.engine.name,
            outbox=self.outbox,
            broker=self.publisher,
            pulse=self.pulse,
            audit=self.audit,
            pictures=self.pictures,
            sys=SYS,
            alarms=[*self.alarms, *filter(None, [self.turns.trouble]), *silent],
        )

    def beat(self, stop: threading.Event) -> None:
        """Tell the broker and systemd; without its publisher the agent ends."""
        self.audit.catch_up()
        now = self.health()
        self.publisher.health(now)
        ills = "; ".join([self.publisher.trouble or "online", *now.alarms])
        self.systemd.status(
            f"{counted(now.frames, 'frame')}, {counted(now.cells, 'cell')}, {_waiting(now.queued)}; {ills}"
        )
        if not self.publisher.alive:
            stop.set()

    def last(self) -> Health:
        """Tell the broker for the last time; BrokerError if the publisher is gone."""
        done = self.health()
        if not self.publisher.alive:
            raise BrokerError(
                "the publisher's thread is gone by a fault in this program, which stands above; start the agent again: "
                f"{_waiting(done.queued)} in {self.settings.state_dir / OUTBOX_FILE}"
            )
        self.publisher.health(done)
        return done


def _built(
    house: ExitStack, settings: Settings, site: Site, audit: AuditLog, *, stop: threading.Event, renewed: Renewed | None
) -> _Agent:
    """Build the adapters. ``house`` takes them down; the publisher is entered with the work."""
    model = house.enter_context(LoadedModel(settings, site, note=audit.note))
    outbox = house.enter_context(_outbox(settings, audit))
    model.remember()
    publisher = _publisher(settings, outbox, renewed)
    turns = Turns(settings.source, secrets.token_hex(4), stop)
    return _Agent(settings, audit, model, outbox, publisher, turns, _pictures(settings, model, audit))


def _work(
    house: ExitStack,
    agent: _Agent,
    site: Site,
    *,
    shown: Shown,
    stop: threading.Event,
    signals: Signals | None,
    at_end: Callable[[], None],
) -> None:
    """Take commands, tell of the agent's health and examine frames, until the source ends or ``stop`` is set."""
    settings, model, publisher, turns = agent.settings, agent.model, agent.publisher, agent.turns
    heartbeat = Heartbeat(partial(agent.beat, stop))
    turns.on_trouble = agent.pulse.on_silence = heartbeat.hasten
    house.enter_context(agent.shown())
    slides = model.examiner.slides(turns.run, SlideNotes(agent.audit.note, publisher.slide))
    if settings.slide.id:
        slides.start(settings.slide.id)
    _say_what_runs(settings, model.examiner)
    tap = SnapshotTap(WatchedSink(agent.outbox, agent.systemd, fit=lambda: publisher.alive, pulse=agent.pulse))
    keeper = agent.pictures
    given = PictureAnswers(keeper, largest=lambda: publisher.largest)
    handlers = CommandHandlers(settings, shown, model=model, turns=turns, slides=slides, tap=tap, pictures=given)
    with attend(publisher, _topics(settings), handlers, agent.audit):
        house.enter_context(publisher)  # now that commands have somebody to go to
        if signals:
            signals.last_words = partial(_last_words, agent.audit, publisher)
            signals.on_hangup = publisher.reconnect
        with heartbeat, keeper.running(stop) if keeper else nullcontext(), _pictures_posted(agent, tap), turns:
            sink = PictureTap(tap, keeper) if keeper else tap
            for frames in turns:
                live = settings.source.live
                seen = tap.through(site.level(frames))
                if isinstance(sink, PictureTap):
                    seen = sink.through(seen)
                run(seen, model.examiner, sink, slides=slides, counters=agent.counters, stop=stop, live=live)
        slides.stop()
        if not stop.is_set():
            at_end()


def _pictures(settings: Settings, model: LoadedModel, audit: AuditLog) -> PictureKeeper | None:
    ours = settings.pictures
    if not ours.keep:
        return None
    store = PictureStore(settings.state_dir / PICTURES_FILE, max_mb=ours.max_mb, days=ours.days, note=audit.note)
    return PictureKeeper(store, lambda: model.examiner.bundle.manifest.input.field_um)


def _pictures_posted(agent: _Agent, tap: SnapshotTap) -> AbstractContextManager[object]:
    """Show Home Assistant the latest frame in the block, where it is told of the agent and pictures are kept."""
    if not (agent.settings.mqtt.discovery and agent.pictures):
        return nullcontext()
    how = TOPICS["picture"]
    manner = Manner(retained=how.retained, expiry_s=how.expiry_s, media_type=how.media_type)
    post = PicturePost(tap, agent.publisher.speaker(_topics(agent.settings).picture, manner))
    return Heartbeat(post.post, every_s=LOOK_EVERY_S, name="picture post")


def _topics(settings: Settings) -> Topics:
    return Topics(prefix=settings.mqtt.prefix, site=settings.site, device=settings.device)


def _publisher(settings: Settings, outbox: Outbox, renewed: Renewed | None) -> Publisher:
    topics, forget_on = _topics(settings), settings.outbox.forget_on
    publisher = Publisher(settings.mqtt, topics, outbox, forget_on=forget_on, version=VERSION, renewed=renewed)
    if settings.mqtt.discovery:
        _tell_home_assistant(publisher, topics, settings)
    return publisher


def _say_what_runs(settings: Settings, examiner: Examiner) -> None:
    log.log(
        logging.INFO if examiner.bundle.signed_by else logging.WARNING,
        "model %s (%s), engine %s, source %s",
        examiner.bundle.manifest.id,
        format_signer(examiner.bundle),
        examiner.engine.name,
        settings.source.kind,
    )


def _tell_home_assistant(publisher: Publisher, topics: Topics, settings: Settings) -> None:
    """Now, on every connect, and when it has started again."""
    prefix, keeps = settings.mqtt.discovery, settings.pictures.keep
    message = discovery(topics, VERSION, commands=settings.mqtt.commands, pictures=keeps)
    say = publisher.speaker(discovery_topic(prefix, topics))
    say(message)
    publisher.route(birth_topic(prefix), lambda birth: say(message) if birth.payload == b"online" else None)


def _outbox(settings: Settings, audit: AuditLog) -> Outbox:
    path = settings.state_dir / OUTBOX_FILE
    try:
        make_state_dir(settings.state_dir)
    except OSError as cause:
        raise OutboxError(
            f"the folder for the outbox, {settings.state_dir}, can not be made ({cause.strerror}); set `state_dir`"
        ) from cause
    before = damaged(path)
    outbox = Outbox(path, max_mb=settings.outbox.max_mb)
    if rescued := [file.name for file in damaged(path) if file not in before]:
        audit.note("outbox_rescued", {"reports": outbox.count(), "kept_aside": rescued})
    return outbox


def _waiting(reports: int) -> str:
    return counted(reports, "report waits", "reports wait")


def _account_for(left: int, settings: Settings, *, trouble: str, stopped: bool) -> None:
    if not left:
        return
    text = (
        f"{_waiting(left)} in {settings.state_dir / OUTBOX_FILE} and will be sent at the next start: "
        f"{trouble or 'nobody has acknowledged them'}"
    )
    if not stopped:
        raise BrokerError(text)
    log.warning("%s", text)
