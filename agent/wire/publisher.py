"""The publisher: carries reports from the outbox to the MQTT broker.

One thread does everything: it connects, listens, reads the outbox and publishes. Read ``_run`` first. What comes in is
routed by its topic: ``_routes``.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeAlias

from typing_extensions import Self

from agent.settings import MqttSettings
from agent.wire.acknowledgements import Acknowledgements
from agent.wire.aside import Large
from agent.wire.delivery import Delivery
from agent.wire.outbox import Outbox
from agent.wire.sender import Sender, named
from common.errors import OutboxError
from contract.health_messages import Health, Status
from contract.messages import SlideSummary
from contract.topics import TOPICS, Topics
from mqttlink.client import TooLarge
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.refusals import NO_TROUBLE, State, Trouble, where, why_not_taken
from mqttlink.responses import Incoming, Reply
from mqttlink.retained import KEPT, Manner
from mqttlink.retained_messages import RetainedMessages, Route
from mqttlink.settings import BrokerSettings

log = logging.getLogger(__name__)

_FAREWELL_S = 0.5
_LET_GO_S = 0.7
"""Longest wait for the thread's end: it may hang in a name service."""
_HURRY_S = 0.4
"""Of an agent that is told to stop: longest wait for what is on its way; the rest leaves at the next start."""
CLIENT_ID = "microscope-agent.{site}.{device}"
"""Two clients of one id throw each other out, so two agents of one name show."""
Renewed: TypeAlias = Callable[[], BrokerSettings]
"""Reads the broker's settings again; raises UsageError where they can not be used."""


class Publisher:
    """Delivers what the outbox holds, for as long as it is entered; a broker that is away is waited for.

    ``status`` says ``online`` after every connect, ``offline`` by will, ``stopped`` after an orderly end.
    A report leaves the outbox when the broker (``forget_on="broker"``) or a consumer has acknowledged it;
    after a lost connection everything unacknowledged is sent again.

    Args:
        settings: the broker.
        topics: of this agent.
        outbox: where the reports are.
        forget_on: whose acknowledgement frees a report.
        version: of the agent.
        renewed: reads name, password and TLS again before each connection, for they are renewed on disk.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        outbox: Outbox,
        *,
        forget_on: Literal["consumer", "broker"],
        version: str,
        renewed: Renewed | None = None,
    ) -> None:
        self._settings, self._topics, self._outbox, self._version = settings, topics, outbox, version
        self._delivery = Delivery(outbox, forget_on=forget_on, window=settings.window)
        site, device = topics.root.split("/")[-2:]
        self._sender = Sender(site=site, device=device)
        will = topics.status, self._status("offline")
        name = CLIENT_ID.format(site=site, device=device)
        self._connection = Connection(
            settings, name, on_connect=self.on_connect, on_message=self.on_message, will=will, renewed=renewed
        )
        self._connected, self._closing, self._leaves = (threading.Event() for _ in range(3))
        """The last is set while a connection is to be ended for another."""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._trouble = Trouble.of("connecting", "not connected yet")
        self._deaf = NO_TROUBLE
        """Why no acknowledgement can reach us on this connection, however well reports leave."""
        self._contact, self._outbox_again_at, self._logged = self._connection.backoff, 0.0, ""
        self._beside = RetainedMessages(self._connection, answered=self._on_answered, subscribed=self._on_subscribed)
        self._standing = self._beside.retain(topics.status)
        self._health = self._beside.retain(topics.health, Manner(expiry_s=TOPICS["health"].expiry_s))
        self._slide = self._beside.retain(topics.slide)
        self._forgets = forget_on == "consumer"
        self._acks = Acknowledgements(topics.ack, outbox, self._delivery, forgets=self._forgets)
        self._beside.route(topics.ack, self._on_ack)  # it may tell, too, that the outbox is an older copy of itself
        self._farewell: Ticket | None = None

    def __enter__(self) -> Self:
        self._outbox.on_change(self._connection.wake)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say farewell, and end; a second call does nothing."""
        self._closing.set()
        self._connection.wake()
        self._thread.join(_LET_GO_S)
        if not self._thread.is_alive():
            self._connection.close()

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._leaves.set()
        self._connection.wake()

    @property
    def alive(self) -> bool:
        """Whether the publisher's thread runs; False after the end, or if a fault in this program killed it."""
        return self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why reports do not leave at the moment, in words; "" while all is well."""
        return self._trouble or self._deaf

    @property
    def state(self) -> State:
        """The same for programs: `online` while all is well."""
        return (self._trouble or self._deaf).state

    @property
    def largest(self) -> int:
        """Bytes of the longest packet that may be sent on this connection."""
        return self._connection.largest

    @property
    def silence_s(self) -> float | None:
        """For how long no consumer has acknowledged anything new; None where nothing waits for that."""
        return self._delivery.silence_s()

    @property
    def ignored_acks(self) -> int:
        """How many messages on the topic of acknowledgements were none of ours."""
        return self._acks.ignored

    def alarms(self, *, silent_after_s: float) -> list[str]:
        """What a person should see to: consumers that are silent for so long, though the broker is there."""
        unanswered = [str(self._trouble)] if self._trouble.state == "unanswered" else []
        heard = self._acks.alarms(silent_after_s=silent_after_s, connected_s=self._contact.age_s)
        return [*unanswered, *self._beside.alarms(), *heard]

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the broker's welcome; False if it did not come in time."""
        return self._connected.wait(timeout_s)

    def health(self, health: Health) -> None:
        """Publish the retained health message, now or as soon as there is a connection; the latest wins."""
        self._health.say(health.model_dump_json().encode())
        self._connection.wake()

    def slide(self, summary: SlideSummary) -> None:
        """Publish the retained summary of a slide; the latest wins, but the last word on a slide is never skipped."""
        self._slide.say(summary.model_dump_json().encode(), final=summary.state == "closed")
        self._connection.wake()

    def speaker(self, topic: str, manner: Manner = KEPT) -> Callable[[bytes], None]:
        """What publishes on a topic beside reports; the latest wins; any thread may call it.

        What is retained waits for a connection, and is said again on every connect.
        """
        standing = self._beside.retain(topic, manner)

        def say(body: bytes) -> None:
            standing.say(body)
            self._connection.wake()

        return say

    def route(self, topic: str, take_up: Route) -> None:
        """Subscribe to a topic, or to all that begin with it (`.../#`).

        Args:
            topic: the topic.
            take_up: takes what comes, on the publisher's thread; must not wait.
        """
        self._beside.route(topic, take_up)
        self._connection.wake()

    def answer(self, reply: Reply) -> None:
        """Publish an answer to a command, now or as soon as there is a connection; with MQTT 3.1.1 there are none."""
        if self._settings.version == "5":
            self._beside.answer(reply)
            self._connection.wake()

    def drain(self, timeout_s: float | None = None, *, stop: threading.Event | None = None) -> int:
        """Wait until the broker has taken every report; by default for ``drain_s`` of the settings.

        Args:
            timeout_s: how long.
            stop: once it is set, no longer than a moment, and not at all without a connection.

        Returns:
            How many it has not taken; they stay in the outbox. Those that are too large for it are not waited for.
        """
        deadline, hurries = time.monotonic() + (self._settings.drain_s if timeout_s is None else timeout_s), False
        while (unsent := self._delivery.unsent()) and self.alive and time.monotonic() < deadline:
            if stop and stop.is_set() and not hurries:
                hurries, moment_s = True, _HURRY_S if self._connected.is_set() else 0
                deadline = min(deadline, time.monotonic() + moment_s)
            time.sleep(0.02)
        return unsent + len(self._outbox.aside.places)

    # The thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            self._farewell = None
            self._leaves.clear()
            with self._connection.attempt():
                self._converse()
            self._settle(now=True)
            self._connected.clear()
            if not self._leaves.is_set() and not self._closing.is_set():
                self._complain(self._connection.fault)
                self._closing.wait(self._contact.wait_s())

    def _converse(self) -> None:
        deadline = float("inf")
        while self._connection.is_open and time.monotonic() < deadline and not self._leaves.is_set():
            if self._closing.is_set():
                deadline = min(deadline, time.monotonic() + _FAREWELL_S)
                self._say_farewell()
            self._connection.listen()
            self._settle()
            if self._connection.is_connected and not self._closing.is_set():
                self._publish_what_is_due()
        self._connection.disconnect()

    def _settle(self, *, now: bool = False) -> None:
        try:
            self._delivery.settle(now=now)
        except OutboxError as cause:
            self._complain(Trouble.of("outbox", str(cause)))

    def _publish_what_is_due(self) -> None:
        self._beside.publish()
        if time.monotonic() < self._outbox_again_at:
            return
        try:
            for place, body in self._delivery.next_batch(self._connection.room):
                self._publish_report(place, self._sender.sign(body))
                if not self._connection.is_open:
                    break
        except OutboxError as cause:
            self._outbox_again_at = time.monotonic() + 1.0
            self._complain(Trouble.of("outbox", str(cause)))

    def _publish_report(self, place: int, body: bytes) -> None:
        try:
            ticket = self._connection.publish(self._topics.frame, body, answered=self._on_report_answered)
        except TooLarge as cause:
            self._delivery.set_aside(place, Large(cause.size, named(body)))
            log.warning("%s", self._outbox.aside.alarms()[0])
        else:
            if ticket is not None:
                self._delivery.sent(ticket, place)

    def _say_farewell(self) -> None:
        """Say what is still to be said, and at last that we have stopped; called until that is on its way."""
        if not self._connection.is_connected:
            self._connection.disconnect()
        elif self._farewell is None and self._beside.publish_retained(all_at_once=True):
            said = self._status("stopped")
            self._farewell = self._connection.publish(
                self._topics.status, said, retain=True, answered=lambda *_: self._connection.disconnect()
            )

    def _status(self, state: Literal["online", "offline", "stopped"]) -> bytes:
        return Status(state=state, version=self._version).model_dump_json().encode()

    def _complain(self, text: Trouble) -> None:
        self._trouble = text
        log.log(logging.DEBUG if text == self._logged else logging.WARNING, "%s", text)
        self._logged = text

    # What the connection tells us, on this thread.

    def on_connect(self) -> None:
        """Take up work."""
        self._delivery.reconnected()
        self._bring_back(self._connection.largest)
        self._standing.say(self._status("online"))
        self._beside.renew()  # asks for the topics at once: who hears `online` may send a command
        self._deaf = NO_TROUBLE
        if self._trouble.state != "unanswered":  # that ends with an answer
            self._trouble, self._logged = NO_TROUBLE, ""
        self._contact.made()
        self._connected.set()
        log.info("connected to the broker at %s", where(self._settings))

    def _bring_back(self, largest: int) -> None:
        try:
            if count := self._outbox.bring_back(largest):
                log.info("the broker takes %d bytes: %d reports that stood aside are sent", largest, count)
        except OutboxError as cause:
            self._complain(Trouble.of("outbox", str(cause)))

    def _on_report_answered(self, ticket: Ticket, answer: Answer) -> None:
        """Write the broker's answer to a report into the books; a ticket of an epoch that has ended is in none."""
        if answer.is_failure:
            if self._delivery.refused(ticket):
                self._complain(why_not_taken(answer, self._settings, self._topics.frame))
        elif self._delivery.accepted(ticket):
            self._contact.worked()
            self._trouble, self._logged = NO_TROUBLE, ""

    def _on_answered(self, topic: str, answer: Answer) -> None:
        """Complain if the broker does not take what is said beside reports."""
        if self._trouble.state == "unanswered":
            self._trouble, self._logged = NO_TROUBLE, ""
        if answer.is_failure:
            log.warning("%s", why_not_taken(answer, self._settings, topic, then="it is not said again"))

    def _on_subscribed(self, topic: str, answer: Answer) -> None:
        """Complain if we may not listen."""
        if answer.is_failure and topic == self._topics.ack and self._forgets:
            self._deaf = why_not_taken(answer, self._settings, topic)
            self._complain(self._deaf)
        elif answer.is_failure:
            log.warning("%s", why_not_taken(answer, self._settings, topic, then="nothing is heard from it"))

    def on_message(self, message: Incoming) -> None:
        """Hand a message to who takes up its topic."""
        self._beside.deliver(message)

    def _on_ack(self, message: Incoming) -> None:
        try:
            self._acks.take_up(message)
        except OutboxError as cause:
            self._complain(Trouble.of("outbox", str(cause)))
