"""Listens to the broker, hands what comes to the store, and acknowledges what the store has made safe.

One thread does everything, so nothing is shared: read ``run`` first. A message is acknowledged twice, and both
only after the commit that holds it: to the broker (PUBACK, which ends its own keeping), and to the agent
(cumulative, topic `ack`, which ends the agent's).
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone

from collector.arrivals import Arrival, StreamName
from collector.numbers import shown
from collector.settings import CollectorSettings
from collector.store import Outcome, Reply, Store
from common.errors import StoreError
from contract.messages import LARGEST_MESSAGE, Ack
from contract.topics import Topics
from mqttlink.client import TooLarge
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.refusals import Trouble, where, why_not_taken
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings

log = logging.getLogger(__name__)

TOPICS = "frame", "health", "slide", "status"
_BACK_OFF_S = 0.5, 8.0
_STABLE_S = 10.0
"""A connection that ends sooner did not end the trouble."""
_SILENCE_S = 5.0
"""What the agents have had retained comes at once; after so long, whoever hears nothing must be told."""
_NEVER = float("inf")
_ACK_EVERY_S = 0.1
_GAP_SAID_EVERY_S = 10.0
_FAREWELL_S = 2.0
_HANGUP = Trouble.of("broken", "another connection is made, with what then stands on disk, as SIGHUP asks")
_NOT_TOLD = "reports are stored, but the agents are not told, and send them again"
_BESIDE_BYTES = 128 * 1024
"""What stands beside a message's payload in its packet, at most: a topic has up to 64 KiB, as have properties."""
_STORED_AT_ONCE, _MOST_HELD = 8 * 2**20, 64 * 2**20
"""Bytes of messages in one transaction, and in all that wait for the database: the broker keeps the rest."""


class Collector:
    """The consumer: ``run`` it until it is told to stop; a broker or a database that is away is waited for.

    Args:
        settings: of this collector.
        store: where reports are stored.
        renewed: reads the broker's settings again before each connection, for what we log in with is renewed on disk.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self, settings: CollectorSettings, store: Store, *, renewed: Callable[[], BrokerSettings] | None = None
    ) -> None:
        self._settings, self._store = settings, store
        self._connection = Connection(
            settings.mqtt,
            f"microscope-collect.{settings.name}",
            on_connect=self._on_connect,
            on_message=self._on_message,
            largest=LARGEST_MESSAGE + _BESIDE_BYTES,
            session_s=int(settings.session_days * 86400),
            at_once=settings.window,
            manual_ack=True,
            renewed=renewed,
        )
        self._held: list[tuple[Arrival, int]] = []
        """What came and is not stored yet, with the packet id under which the broker waits for our word, or 0."""
        self._held_bytes = 0
        self._replies: dict[tuple[str, str], Reply] = {}
        self._reply_at = self._try_at = self._gap_said_at = 0.0
        self._contact, self._hear_by = self._connection.backoff, _NEVER
        self._failures = 0
        self._ready = self._leaves = False
        self._gaps: dict[StreamName, str] = {}
        self._said: dict[str, str] = {}
        """The last complaint of each matter."""
        self.totals = Outcome()
        """What became of everything so far; ``replies`` stays empty."""

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._leaves = True
        self._connection.wake()

    @property
    def ready(self) -> bool:
        """Whether the broker has confirmed the subscription."""
        return self._ready

    def run(self, stop: Callable[[], bool]) -> None:
        """Collect until ``stop()`` is true; what came by then is stored, or stays with the broker.

        Raises:
            UsageError, IntegrityError: the database can not be used, and waiting does not help.
        """
        try:
            while not stop():
                self._store_held()
                if not self._held:
                    self._meet(stop)
                self._rest(stop)
            self._store_held()
            self._farewell()
        finally:
            self._connection.close()

    def _meet(self, stop: Callable[[], bool]) -> None:
        """One connection, from its beginning to its end."""
        self._hear_by = _NEVER
        with self._connection.attempt():
            while self._connection.is_open and not stop():
                self._turn()
        if stop():
            return
        if self._contact.age_s >= _STABLE_S:
            self._said.clear()
        self._ready = False
        self._held = [(arrival, 0) for arrival, _ in self._held]  # the packet ids ended with the connection
        self._replies.clear()
        fault = self._connection.fault
        self._complain("broker", f"{fault} (a collector: the setting name)" if fault.state == "taken_over" else fault)

    def _turn(self) -> None:
        if self._leaves:
            self._leaves = False
            self._connection.disconnect(_HANGUP)
            return
        if not self._listen() or len(self._held) >= self._settings.batch or self._held_bytes >= _STORED_AT_ONCE:
            self._store_held()
            self._reply()
        if time.monotonic() >= self._hear_by:
            self._hear_by = _NEVER
            self._complain("silence", self._why_silent())

    def _listen(self) -> bool:
        """Read and write; False if nothing came."""
        came = self._connection.listen(wait=not self._has_work())
        if len(self._held) > 2 * self._settings.window or self._held_bytes > _MOST_HELD:
            self._connection.disconnect()  # it does not heed our window, or sends long messages: let it hold the rest
        return came

    def _has_work(self) -> bool:
        now = time.monotonic()
        stores = bool(self._held) or not self._store.is_open
        replies = bool(self._replies and self._connection.room)
        return (stores and now >= self._try_at) or (replies and now >= self._reply_at)

    def _store_held(self) -> None:
        """Store what is held, and tell the broker; if the database is away, hold it and try later."""
        while (self._held or not self._store.is_open) and time.monotonic() >= self._try_at:
            batch = self._next_batch()
            try:
                self._open_store()
                outcome = self._store.store([arrival for arrival, _ in batch]) if batch else Outcome()
            except StoreError as cause:
                self._failures += 1
                self._try_at = time.monotonic() + min(_BACK_OFF_S[1], _BACK_OFF_S[0] * 2.0 ** min(self._failures, 8))
                self._complain("database", str(cause))
                return
            del self._held[: len(batch)]
            self._held_bytes -= sum(len(arrival.payload) for arrival, _ in batch)
            self._failures = 0
            self._said.pop("database", None)
            self._account_for(outcome)
            for _, packet_id in batch:
                if packet_id:
                    self._connection.acknowledge(packet_id)

    def _next_batch(self) -> list[tuple[Arrival, int]]:
        """The messages of the next transaction: so many, and so long together."""
        size = count = 0
        for arrival, _ in self._held[: self._settings.batch]:
            size += len(arrival.payload)
            if count and size > _STORED_AT_ONCE:
                break
            count += 1
        return self._held[:count]

    def _open_store(self) -> None:
        """Once the database is here, or here again, agents may have waited for a word."""
        if self._store.is_open:
            return
        self._store.open()
        log.info("storing into %s", self._store.where)
        if self._ready:
            self._greet()

    def _account_for(self, outcome: Outcome) -> None:
        self.totals.new += outcome.new
        self.totals.again += outcome.again
        self.totals.quarantined += outcome.quarantined
        if self._settings.acknowledge:
            self._replies |= {(reply.topic, reply.ack.epoch): reply for reply in outcome.replies}
        if outcome.quarantined:
            log.warning("%d messages could not be stored; they stand in the table quarantine", outcome.quarantined)
        if time.monotonic() >= self._gap_said_at:
            self._gap_said_at = time.monotonic() + _GAP_SAID_EVERY_S
            self._say_gaps()

    def _say_gaps(self) -> None:
        """Say which numbers are missing, where that has changed; an outbox that is gone leaves its gaps forever."""
        found = {name: shown(stream.numbers.holes()) for name, stream in self._store.streams.items()}
        for name, holes in found.items():
            if holes and holes != self._gaps.get(name):
                upto = self._store.streams[name].numbers.upto
                log.warning("%s, epoch %s: %s are missing; acknowledged up to %d until they come", *name, holes, upto)
        self._gaps = found

    def _greet(self) -> None:
        """Tell every agent that we know how far it is stored; what was sent while nobody listened is missing."""
        if not self._settings.acknowledge or not self._store.is_open:
            return
        for (device, epoch), stream in self._store.streams.items():
            topic = Topics(prefix=self._settings.mqtt.prefix, site=stream.site, device=device).ack
            self._replies[topic, epoch] = Reply(topic, Ack(epoch=epoch, upto=stream.numbers.upto))

    def _reply(self) -> None:
        """Tell the agents what is safe; many reports at once, for each word costs the agent a transaction."""
        if not self._replies or time.monotonic() < self._reply_at:
            return
        self._reply_at = time.monotonic() + _ACK_EVERY_S
        for key in list(self._replies)[: self._connection.room]:
            reply = self._replies.pop(key)
            try:
                self._connection.publish(reply.topic, reply.ack.model_dump_json().encode(), answered=self._on_told)
            except TooLarge as cause:
                self._complain("ack", f"the broker does not take what is said on {reply.topic} ({cause}); {_NOT_TOLD}")

    def _rest(self, stop: Callable[[], bool]) -> None:
        until = time.monotonic() + self._contact.wait_s()
        while not stop() and time.monotonic() < until:
            time.sleep(0.05)

    def _farewell(self) -> None:
        """Say the last acknowledgements, and leave; the broker keeps the session."""
        self._reply_at = 0.0
        if self._connection.is_open:
            self._reply()
        deadline = time.monotonic() + _FAREWELL_S
        while self._is_saying() and time.monotonic() < deadline:
            self._listen()
            self._reply_at = 0.0
            self._reply()
        self._connection.disconnect()

    def _is_saying(self) -> bool:
        return self._connection.is_open and (self._connection.wants_write or bool(self._replies))

    def _complain(self, matter: str, text: str) -> None:
        """Say it once for as long as it is the same."""
        log.log(logging.DEBUG if text == self._said.get(matter) else logging.WARNING, "%s", text)
        self._said[matter] = text

    def _why_silent(self) -> str:
        mqtt, place = self._settings.mqtt, f"{self._root}/status"
        return (
            f"nothing has come from the broker at {where(mqtt)} on {place} and its like: no agent has been there, or "
            f"its access list keeps user {mqtt.username or 'anonymous'} from reading them; see that mqtt.prefix, site "
            "and device are those of the agents"
        )

    @property
    def _root(self) -> str:
        return f"{self._settings.mqtt.prefix}/v1/{self._settings.site}/{self._settings.device}"

    # What the connection tells us; it calls from within ``_listen``.

    def _on_connect(self) -> None:
        self._connection.subscribe([f"{self._root}/{name}" for name in TOPICS], answered=self._on_subscribed)
        kept = "with its messages" if self._connection.session_present else "new"
        log.info("connected to the broker at %s, the session %s", where(self._settings.mqtt), kept)

    def _on_subscribed(self, _ticket: Ticket, answer: Answer) -> None:
        if answer.is_failure:
            self._connection.disconnect(
                why_not_taken(answer, self._settings.mqtt, f"{self._settings.mqtt.prefix}/v1/#")
            )
            return
        self._ready = True
        self._contact.made()
        self._hear_by = time.monotonic() + _SILENCE_S
        self._greet()

    def _on_told(self, _ticket: Ticket, answer: Answer) -> None:
        if answer.is_failure:  # MQTT 3.1.1 has no such word
            self._complain("ack", why_not_taken(answer, self._settings.mqtt, f"{self._root}/ack", then=_NOT_TOLD))

    def _on_message(self, message: Incoming) -> None:
        self._hear_by = _NEVER
        self._held.append((Arrival(message.topic, message.payload, datetime.now(timezone.utc)), message.packet_id))
        self._held_bytes += len(message.payload)
