"""What a publisher carries beside reports: retained messages, answers to commands, and what comes in."""

import logging
from collections.abc import Callable, Hashable
from functools import partial

from contract.requests import ANSWER_EXPIRY_S, too_large
from mqttlink.client import TooLarge
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.responses import Incoming, Reply, ResponseQueue
from mqttlink.retained import KEPT, Manner, Retained

log = logging.getLogger(__name__)

Route = Callable[[Incoming], None]
"""Takes up a message."""


class RetainedMessages:
    """Any thread may call ``retain``, ``route`` and ``answer``; the rest is the publisher's.

    Args:
        connection: to the broker.
        answered: gets the topic of a message and the broker's answer to it.
        subscribed: gets a topic and the broker's answer to its subscription.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        answered: Callable[[str, Answer], None],
        subscribed: Callable[[str, Answer], None],
    ) -> None:
        self._connection, self._answered, self._subscribed = connection, answered, subscribed
        self._standing: dict[str, Retained] = {}
        """By topic: what stands there."""
        self._routes: dict[str, Route] = {}
        """Who takes up a message, by its topic, or by the beginning of it: `<beginning>/#`."""
        self._asked: dict[str, Ticket | None] = {}
        """By topic: what has been subscribed to on this connection."""
        self._answers = ResponseQueue()
        self._left_out: dict[str, str] = {}
        """By topic: why what should stand there does not."""

    def retain(self, topic: str, manner: Manner = KEPT) -> Retained:
        """A topic to say something on, retained unless its manner is another."""
        retained = Retained(topic, manner)
        self._standing = {**self._standing, topic: retained}
        return retained

    def route(self, topic: str, take_up: Route) -> None:
        """Subscribe to a topic, or to all that begin with it (`.../#`)."""
        self._routes = {**self._routes, topic: take_up}

    def answer(self, reply: Reply) -> None:
        """Publish an answer when that is possible."""
        self._answers.say(reply)

    def alarms(self) -> list[str]:
        """What is not said, for the broker does not take it, in words; any thread may ask."""
        return list(self._left_out.values())

    def renew(self) -> None:
        """There is another connection: say all again."""
        self._asked, self._left_out = {}, {}
        self._answers.again()
        for standing in self._standing.values():
            standing.again()
        self._subscribe()

    def _subscribe(self) -> None:
        """Ask for the topics that nobody has asked for yet."""
        for topic in self._routes:
            if topic not in self._asked:
                self._asked[topic] = self._connection.subscribe(
                    [topic], retain_as_published=True, answered=partial(self._on_subscribed, topic)
                )

    def _on_subscribed(self, topic: str, _ticket: Ticket, answer: Answer) -> None:
        self._subscribed(topic, answer)

    def publish(self) -> None:
        """Ask for what is new, and send what is due."""
        self._subscribe()
        self.publish_retained()
        self._answers.publish(self._send_answer)

    def publish_retained(self, *, all_at_once: bool = False) -> bool:
        """Send of what is retained what is due, or, if nobody will ask again, all; whether nothing waits any more."""
        done = True
        for standing in self._standing.values():
            done &= standing.publish(partial(self._send_retained, standing), all_at_once=all_at_once)
        return done

    def _send_retained(self, standing: Retained, topic: str, body: bytes) -> Hashable:
        retain, expiry_s, media_type = standing.manner

        def answered(ticket: Ticket, answer: Answer) -> None:
            if standing.answered(ticket):
                self._answered(topic, answer)

        try:
            ticket = self._connection.publish(
                topic, body, retain=retain, expiry_s=expiry_s, media_type=media_type, answered=answered
            )
        except TooLarge as cause:
            self._leave_out(
                topic,
                f"the message for {topic} has {cause.size} bytes, and the broker takes "
                f"{cause.largest}: it is left out; raise the broker's max_packet_size",
            )
            return 0
        if ticket is not None and topic in self._left_out:
            self._left_out = {other: words for other, words in self._left_out.items() if other != topic}
        return ticket

    def _leave_out(self, topic: str, words: str) -> None:
        if topic not in self._left_out:
            log.warning("%s", words)
        self._left_out = {**self._left_out, topic: words}

    def deliver(self, message: Incoming) -> None:
        """Hand a message to who takes up its topic."""
        for topic, take_up in self._routes.items():
            if message.topic == topic or (topic.endswith("/#") and message.topic.startswith(topic[:-1])):
                take_up(message)

    def _send_answer(self, reply: Reply) -> Hashable:
        try:
            return self._answer(reply, reply.body)
        except TooLarge as cause:
            spare = cause.largest - (cause.size - len(reply.body))
        try:
            return self._answer(reply, too_large(reply.body, spare))
        except TooLarge as cause:
            log.warning("an answer on %s is left out: %s", reply.topic, cause)
            return 0

    def _answer(self, reply: Reply, body: bytes) -> Ticket | None:
        return self._connection.publish(
            reply.topic, body, expiry_s=ANSWER_EXPIRY_S, correlation=reply.correlation, answered=self._on_answered
        )

    def _on_answered(self, ticket: Ticket, answer: Answer) -> None:
        if topic := self._answers.answered(ticket):
            self._answered(topic, answer)
