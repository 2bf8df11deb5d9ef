"""Fetches pictures of stored cells and frames from the agents that keep them, on a thread and a connection of its own.

Reports never wait for it: what hinders it is said once, and tried again. What is fetched, and what an agent does not
have, stands in the table `picture`, so that a new start goes on where this one ended.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from collector.asking import AWAY_S, DEAF_S, AgentPictures
from collector.picture_store import NotMadeYet, PictureTable
from collector.settings import CollectorSettings
from common.errors import MicroscopeError, StoreError
from contract.messages import LARGEST_MESSAGE
from contract.topics import Topics
from mqttlink.client import TooLarge
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.probe import NOBODY, REPLIES
from mqttlink.refusals import Trouble, why_not_taken
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings

log = logging.getLogger(__name__)
ANSWER_S = 15.0
"""Longest wait for an answer; the broker throws a request away that no agent has taken by then."""
AT_ONCE = 4
"""Agents that are asked at the same time: each answer has up to 1 MiB."""
_LOOK_EVERY_S, _TIDY_EVERY_S, _AGAIN_S = 1.0, 600.0, 5.0
_BESIDE_BYTES = 128 * 1024
_LET_GO_S = 0.5
_HANGUP = Trouble.of("broken", "another connection is made, with what then stands on disk, as SIGHUP asks")
_NOT_FETCHED = "no pictures are fetched"
_OLD = f"{_NOT_FETCHED}: with mqtt.version = 3.1.1 no agent can answer; set it to 5, or pictures.fetch to false"


class PictureFetcher:
    """Fetches until it is told to stop; a broker, an agent or a database that is away is waited for.

    Args:
        settings: of the collector.
        renewed: reads the broker's settings again before each connection.

    Raises:
        UsageError: a setting can not be used.
        MissingError: the database's driver is not installed.
    """

    def __init__(self, settings: CollectorSettings, *, renewed: Callable[[], BrokerSettings] | None = None) -> None:
        self._settings = settings
        ours = settings.pictures
        self._table = PictureTable(settings.database, max_mb=ours.max_mb, days=ours.days)
        name = f"microscope-collect.{settings.name}.pictures"
        self._reply_to = f"{REPLIES}/{name}/{secrets.token_hex(8)}"
        self._connection = Connection(
            settings.mqtt,
            name,
            on_connect=self._on_connect,
            on_message=self._on_message,
            largest=LARGEST_MESSAGE + _BESIDE_BYTES,
            renewed=renewed,
        )
        self._agents: dict[str, AgentPictures] = {}
        self._waiting: dict[bytes, tuple[AgentPictures, float]] = {}
        """By correlation: who was asked, and until when an answer is waited for."""
        self._newest = 0
        self._look_at = self._tidy_at = self._try_at = 0.0
        self._ready = self._leaves = False
        self._said: dict[str, str] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Fetch in the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._connection.wake()
            self._thread.join(_LET_GO_S)

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._leaves = True
        self._connection.wake()

    def _work(self) -> None:
        try:
            if self._settings.mqtt.version != "5":
                self._complain("broker", _OLD)
                self._ends.wait()
            while not self._ends.is_set():
                self._meet()
                self._ends.wait(self._connection.backoff.wait_s())
        finally:
            self._table.close()
            self._connection.close()

    def _meet(self) -> None:
        """One connection, from its beginning to its end."""
        with self._connection.attempt():
            while self._connection.is_open and not self._ends.is_set():
                self._turn()
            self._connection.disconnect()
        self._give_up()
        if not self._ends.is_set():
            self._complain("broker", f"{_NOT_FETCHED}: {self._connection.fault}")

    def _turn(self) -> None:
        if self._leaves:
            self._leaves = False
            self._connection.disconnect(_HANGUP)
            return
        try:
            self._connection.listen(within_s=self._due_in())
            now = time.monotonic()
            self._expire(now)
            if self._ready and now >= self._try_at:
                self._look(now)
                self._ask()
        except NotMadeYet:
            self._try_at = time.monotonic() + _LOOK_EVERY_S
        except MicroscopeError as cause:
            self._try_at = time.monotonic() + _AGAIN_S
            self._complain("database", str(cause))

    def _due_in(self) -> float:
        """Seconds until an agent may be asked that may not be now."""
        return min(filter(None, (agent.due_in() for agent in self._agents.values())), default=_LOOK_EVERY_S)

    def _look(self, now: float) -> None:
        """See which agents there are, and whether there are new reports; delete what is too old."""
        if now >= self._tidy_at:
            self._table.tidy()
            self._tidy_at = now + _TIDY_EVERY_S
        if now < self._look_at:
            return
        self._newest = self._table.newest()
        for device, site in self._table.devices().items():
            if self._settings.site in {"+", site} and self._settings.device in {"+", device}:
                self._agents.setdefault(device, AgentPictures(device, site, self._table)).site = site
        self._look_at = now + _LOOK_EVERY_S
        self._said.pop("database", None)

    def _ask(self) -> None:
        """Ask the agents that may be asked, those that waited longest first."""
        for device, agent in list(self._agents.items()):
            if len(self._waiting) >= AT_ONCE or not self._connection.room:
                return
            if agent.is_due() and (request := agent.request(self._newest)):
                self._agents[device] = self._agents.pop(device)  # it stands last now
                self._send(agent, request.model_dump_json().encode())

    def _send(self, agent: AgentPictures, body: bytes) -> None:
        topics = Topics(prefix=self._settings.mqtt.prefix, site=agent.site, device=agent.device)
        topic, correlation = f"{topics.root}/command/picture/get", secrets.token_bytes(16)
        self._waiting[correlation] = agent, time.monotonic() + ANSWER_S
        answered = partial(self._on_taken, topic, correlation)
        try:
            self._connection.publish(
                topic,
                body,
                expiry_s=int(ANSWER_S),
                correlation=correlation,
                reply_to=self._reply_to,
                answered=answered,
            )
        except TooLarge as cause:
            del self._waiting[correlation]
            agent.rest(DEAF_S)
            self._complain(agent.device, f"the broker does not take a request for pictures ({cause})")

    def _expire(self, now: float) -> None:
        for correlation, (agent, until) in list(self._waiting.items()):
            if now >= until:
                del self._waiting[correlation]
                agent.rest(AWAY_S)

    def _give_up(self) -> None:
        """The connection has ended: what was asked on it is asked again."""
        self._ready = False
        for agent, _ in self._waiting.values():
            agent.rest(0)
        self._waiting.clear()

    def _complain(self, matter: str, text: str) -> None:
        """Say it once for as long as it is the same."""
        log.log(logging.DEBUG if text == self._said.get(matter) else logging.WARNING, "%s", text)
        self._said[matter] = text

    # What the connection tells us; it calls from within ``listen``.

    def _on_connect(self) -> None:
        self._connection.subscribe([self._reply_to], answered=self._on_subscribed)

    def _on_subscribed(self, _ticket: Ticket, answer: Answer) -> None:
        if answer.is_failure:
            why = why_not_taken(answer, self._settings.mqtt, self._reply_to, then=_NOT_FETCHED)
            self._connection.disconnect(why)
            return
        self._ready = True
        self._connection.backoff.made()
        self._said.pop("broker", None)

    def _on_taken(self, topic: str, correlation: bytes, _ticket: Ticket, answer: Answer) -> None:
        """The broker has passed a request on, or not."""
        if correlation not in self._waiting or not (answer.is_failure or str(answer) == NOBODY):
            return
        agent, _ = self._waiting.pop(correlation)
        if answer.is_failure:
            agent.rest(DEAF_S)
            why = why_not_taken(answer, self._settings.mqtt, topic, then=f"{_NOT_FETCHED} from there")
            self._complain(agent.device, str(why))
        else:
            agent.rest(AWAY_S)

    def _on_message(self, message: Incoming) -> None:
        agent, _ = self._waiting.pop(message.correlation, (None, 0.0))
        if agent is None:
            return
        try:
            agent.take(message.payload)
        except StoreError:
            agent.rest(_AGAIN_S)
            raise
        if agent.complaint:
            self._complain(agent.device, agent.complaint)
        else:
            self._said.pop(agent.device, None)
