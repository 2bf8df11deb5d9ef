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

from pydantic import ValidationError
from typing_extensions import Self

from agent.settings import MqttSettings
from agent.wire.aside import Large
from agent.wire.delivery import Delivery
from agent.wire.doubts import Doubts
from agent.wire.mqtt import Answer, Connection, TooLarge
from agent.wire.outbox import Outbox
from agent.wire.responses import Incoming, Reply
from agent.wire.retained_messages import RetainedMessages, Route
from agent.wire.sender import Sender, named
from common.errors import OutboxError
from contract.messages import Ack, Health, SlideSummary, Status
from contract.topics import TOPICS, Topics
from mqttlink.backoff import ReconnectBackoff
from mqttlink.connection import BrokerSettings
from mqttlink.refusals import (
    NO_TROUBLE,
    State,
    Trouble,
    where,
    why_broken,
    why_hung_up,
    why_not_taken,
    why_refused,
    why_taken_over,
    why_unanswered,
    why_unreachable,
)

log = logging.getLogger(__name__)

_FAREWELL_S = 0.5
_LET_GO_S = 0.7
"""Longest wait for the thread's end: it may hang in a name service."""
_HURRY_S = 0.4
"""Of an agent that is told to stop: longest wait for what is on its way; the rest leaves at the next start."""
_NO_ANSWER = 141
"""paho's word for a ping that was not answered."""
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
        self._connection = Connection(settings, name, will=will, listener=self, renewed=renewed)
        self._connected, self._closing = threading.Event(), threading.Event()
        self._leaves = threading.Event()
        """Set while a connection is to be ended for another."""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._trouble, self._fault = Trouble.of("connecting", "not connected yet"), NO_TROUBLE
        self._deaf = NO_TROUBLE
        """Why no acknowledgement can reach us on this connection, however well reports leave."""
        self._detail = self._logged = ""
        self._contact, self._outbox_again_at = ReconnectBackoff(), 0.0
        self._beside = RetainedMessages(self._connection)
        self._standing = self._beside.retain(topics.status)
        self._health = self._beside.retain(topics.health, expiry_s=TOPICS["health"].expiry_s)
        self._slide = self._beside.retain(topics.slide)
        self._forgets, self._doubts = forget_on == "consumer", Doubts(topics.ack)
        self._beside.route(topics.ack, self._on_ack)  # it may tell, too, that the outbox is an older copy of itself
        self._farewell: int | None = None
        self.ignored_acks, self._silence_told = 0, False

    def __enter__(self) -> Self:
        self._outbox.on_change(self._connection.ring)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say farewell, and end; a second call does nothing."""
        self._closing.set()
        self._connection.ring()
        self._thread.join(_LET_GO_S)
        if not self._thread.is_alive():
            self._connection.free()

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._leaves.set()
        self._connection.ring()

    @property
    def alive(self) -> bool:
        """Whether the publisher's thread runs; False after the end, or if a fault in this program killed it."""
        return self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why reports do not leave at the moment, in words; "" while all is well."""
        return self._what_is_wrong()

    @property
    def state(self) -> State:
        """The same for programs: `online` while all is well."""
        return self._what_is_wrong().state

    @property
    def silence_s(self) -> float | None:
        """For how long no consumer has acknowledged anything new; None where nothing waits for that."""
        return self._delivery.silence_s()

    def alarms(self, *, silent_after_s: float) -> list[str]:
        """What a person should see to: consumers that are silent for so long, though the broker is there."""
        owed_s = min(self.silence_s or 0.0, self._contact.age_s)  # what waited for the broker is not their fault
        silent = owed_s >= silent_after_s
        words = _no_word_of_consumers(self._topics.ack, silent_after_s) if silent else ""
        if silent and not self._silence_told:
            log.warning("%s", words)
        self._silence_told = silent
        unanswered = [str(self._trouble)] if self._trouble.state == "unanswered" else []
        return [*unanswered, *self._beside.alarms(), *self._doubts.alarms(), *([words] if silent else [])]

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the broker's welcome; False if it did not come in time."""
        return self._connected.wait(timeout_s)

    def health(self, health: Health) -> None:
        """Publish the retained health message, now or as soon as there is a connection; the latest wins."""
        self._health.say(health.model_dump_json().encode())
        self._connection.ring()

    def slide(self, summary: SlideSummary) -> None:
        """Publish the retained summary of a slide; the latest wins, but the last word on a slide is never skipped."""
        self._slide.say(summary.model_dump_json().encode(), final=summary.state == "closed")
        self._connection.ring()

    def announce(self, topic: str, body: bytes) -> Callable[[], None]:
        """Publish something retained on a topic that is not ours alone: now, and on every connect.

        Returns:
            A function to publish it once more, for whom it is for has forgotten it; any thread may call it.
        """
        standing = self._beside.retain(topic)

        def say() -> None:
            standing.say(body)
            self._connection.ring()

        say()
        return say

    def route(self, topic: str, take_up: Route) -> None:
        """Subscribe to a topic, or to all that begin with it (`.../#`).

        Args:
            topic: the topic.
            take_up: takes what comes, on the publisher's thread; must not wait.
        """
        self._beside.route(topic, take_up)
        self._connection.ring()

    def answer(self, reply: Reply) -> None:
        """Publish an answer to a command, now or as soon as there is a connection; with MQTT 3.1.1 there are none."""
        if self._settings.version == "5":
            self._beside.answer(reply)
            self._connection.ring()

    def drain(self, timeout_s: float | None = None, *, stop: threading.Event | None = None) -> int:
        """Wait until the broker has taken every report; by default for ``drain_s`` of the settings.

        Args:
            timeout_s: how long.
            stop: once it is set, no longer than a moment, and not at all without a connection.

        Returns:
            How many it has not taken; they stay in the outbox, and so do those that it does not take for their size,
            which are not waited for.
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
            self._fault, self._detail, self._farewell = NO_TROUBLE, "", None
            self._leaves.clear()
            try:
                self._connection.open()
                self._converse()
            except (OSError, ValueError) as cause:
                self._fault = why_unreachable(cause, self._settings)
                self._contact.failed()
            self._take_notes(last=True)
            self._connected.clear()
            if self._leaves.is_set():
                continue
            if not self._closing.is_set():
                self._complain(self._fault or why_hung_up(self._detail, self._settings))
                self._closing.wait(self._contact.wait_s())

    def _converse(self) -> None:
        deadline = float("inf")
        while self._connection.is_open and time.monotonic() < deadline and not self._leaves.is_set():
            if self._closing.is_set():
                deadline = min(deadline, time.monotonic() + _FAREWELL_S)
                self._say_farewell()
            self._connection.listen()
            self._take_notes()
            if self._connection.overdue:
                self._fault = why_unanswered(self._settings)
                break
            if self._connected.is_set() and not self._closing.is_set():
                self._publish_what_is_due()
        self._connection.hang_up()

    def _take_notes(self, *, last: bool = False) -> None:
        self._connection.dispatch_events()
        try:
            self._delivery.settle(now=last)
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
            ticket = self._connection.publish(self._topics.frame, body)
        except TooLarge as cause:
            self._delivery.set_aside(place, Large(cause.size, named(body)))
            log.warning("%s", self._outbox.aside.alarms()[0])
        else:
            if ticket is not None:
                self._delivery.sent(ticket, place)

    def _say_farewell(self) -> None:
        """Say what is still to be said, and at last that we have stopped; called until that is on its way."""
        if not self._connected.is_set():
            self._connection.hang_up()
        elif self._farewell is None and self._beside.publish_retained(all_at_once=True):
            self._farewell = self._connection.publish(self._topics.status, self._status("stopped"), retain=True)

    def _status(self, state: Literal["online", "offline", "stopped"]) -> bytes:
        return Status(state=state, version=self._version).model_dump_json().encode()

    def _what_is_wrong(self) -> Trouble:
        return self._trouble or self._deaf

    def _complain(self, text: Trouble) -> None:
        self._trouble = text
        log.log(logging.DEBUG if text == self._logged else logging.WARNING, "%s", text)
        self._logged = text

    # What the connection tells us, on this thread: see agent.wire.mqtt.Listener.

    def on_connect(self, answer: Answer, _at_once: int, largest: int) -> None:
        """Take up work, unless we were refused."""
        if answer.is_failure:
            self._fault = why_refused(answer, self._settings)
            return
        self._delivery.reconnected()
        self._bring_back(largest)
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

    def on_disconnect(self, answer: Answer, *, by_broker: bool) -> None:
        """Remember why, as far as it is known."""
        self._connected.clear()
        if by_broker:
            self._fault = why_refused(answer, self._settings)
        elif self._contact.age_s and not self._fault:
            if answer.value == _NO_ANSWER and not self._detail:
                self._detail = "nothing has come from there for too long"
            again = self._contact.closed() and not self._detail  # a broken network has more to say
            self._fault = why_taken_over(self._settings) if again else why_broken(self._detail, self._settings)

    def on_published(self, ticket: int, answer: Answer) -> None:
        """Write the broker's answer into the books."""
        if ticket == self._farewell:
            self._connection.hang_up()
        elif topic := self._beside.published(ticket):
            if self._trouble.state == "unanswered":
                self._trouble, self._logged = NO_TROUBLE, ""
            if answer.is_failure:
                log.warning("%s", why_not_taken(answer, self._settings, topic, then="it is not said again"))
        elif not answer.is_failure:
            if self._delivery.accepted(ticket):
                self._contact.worked()
                self._trouble, self._logged = NO_TROUBLE, ""
        elif self._delivery.refused(ticket):
            self._complain(why_not_taken(answer, self._settings, self._topics.frame))

    def on_subscribed(self, ticket: int, answer: Answer) -> None:
        """Complain if we may not listen."""
        topic = self._beside.subscribed(ticket)
        if answer.is_failure and topic == self._topics.ack and self._forgets:
            self._deaf = why_not_taken(answer, self._settings, topic)
            self._complain(self._deaf)
        elif answer.is_failure:
            log.warning("%s", why_not_taken(answer, self._settings, topic, then="nothing is heard from it"))

    def on_message(self, message: Incoming) -> None:
        """Hand a message to who takes up its topic."""
        self._beside.deliver(message)

    def on_error(self, text: str) -> None:
        """Keep paho's words, in case the connection ends."""
        self._detail = text.removeprefix("failed to receive on socket: ")

    def _on_ack(self, message: Incoming) -> None:
        known, level = False, logging.WARNING
        try:
            ack = Ack.model_validate_json(message.payload)
            if ack.epoch != self._outbox.epoch:
                level = logging.DEBUG  # of an outbox that was here before: consumers remember longer
            if ack.epoch == self._outbox.epoch and self._doubts.heard(ack, self._outbox.next_seq()):
                self._outbox.begin_epoch()
                self._delivery.reconnected()  # what is on its way bears numbers that are no good
            else:
                known = not self._forgets or self._delivery.acknowledged(ack.epoch, ack.upto, ack.seen)
        except OutboxError as cause:
            self._complain(Trouble.of("outbox", str(cause)))
            return
        except ValidationError:
            pass
        if not known:
            self.ignored_acks += 1
            log.log(level, "ignored a message on %s: it is no acknowledgement of ours", self._topics.ack)


def _no_word_of_consumers(topic: str, after_s: float) -> str:
    return (
        f"no consumer has acknowledged anything new for more than {after_s:g} s, and the outbox fills: see that "
        "microscope-collect runs, what `microscope-collect status` says is missing, and that the broker's access list "
        f"lets it write and us read {topic}"
    )
