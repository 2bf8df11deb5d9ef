"""What a publisher carries beside reports: retained messages, answers to commands, and what comes in."""

import logging
from collections.abc import Callable

from agent.wire.mqtt import Connection, TooLarge
from agent.wire.responses import Incoming, Reply, ResponseQueue
from agent.wire.retained import Retained
from contract.requests import ANSWER_EXPIRY_S, too_large

log = logging.getLogger(__name__)

Route = Callable[[Incoming], None]
"""Takes up a message."""


class RetainedMessages:
    """Any thread may call ``retain``, ``route`` and ``answer``; the rest is the publisher's.

    Args:
        connection: to the broker.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._standing: dict[str, tuple[Retained, int]] = {}
        """By topic: what stands there, and after how many seconds the broker forgets it."""
        self._routes: dict[str, Route] = {}
        """Who takes up a message, by its topic, or by the beginning of it: `<beginning>/#`."""
        self._asked: dict[str, int | None] = {}
        """The question's ticket, by topic: what has been subscribed to on this connection."""
        self._answers = ResponseQueue()
        self._left_out: dict[str, str] = {}
        """By topic: why what should stand there does not."""

    def retain(self, topic: str, *, expiry_s: int = 0) -> Retained:
        """A retained topic to say something on."""
        retained = Retained(topic)
        self._standing = {**self._standing, topic: (retained, expiry_s)}
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
        for standing, _ in self._standing.values():
            standing.again()
        self._subscribe()

    def _subscribe(self) -> None:
        """Ask for the topics that nobody has asked for yet."""
        for topic in self._routes:
            if topic not in self._asked:
                self._asked[topic] = self._connection.subscribe(topic)

    def publish(self) -> None:
        """Ask for what is new, and send what is due."""
        self._subscribe()
        self.publish_retained()
        self._answers.publish(self._send_answer)

    def publish_retained(self, *, all_at_once: bool = False) -> bool:
        """Send of what is retained what is due, or, if nobody will ask again, all; whether nothing waits any more."""
        done = True
        for standing, expiry_s in self._standing.values():

            def send(topic: str, body: bytes, expiry_s: int = expiry_s) -> int | None:
                return self._send_retained(topic, body, expiry_s)

            done &= standing.publish(send, all_at_once=all_at_once)
        return done

    def _send_retained(self, topic: str, body: bytes, expiry_s: int) -> int | None:
        try:
            ticket = self._connection.publish(topic, body, retain=True, expiry_s=expiry_s)
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

    def published(self, ticket: int) -> str:
        """Note that the broker has answered a message; its topic, "" if it is none of ours."""
        for topic, (standing, _) in self._standing.items():
            if standing.answered(ticket):
                return topic
        return self._answers.answered(ticket)

    def subscribed(self, ticket: int) -> str:
        """Which subscription the broker speaks of."""
        return next((topic for topic, asked in self._asked.items() if asked == ticket), "?")

    def deliver(self, message: Incoming) -> None:
        """Hand a message to who takes up its topic."""
        for topic, take_up in self._routes.items():
            if message.topic == topic or (topic.endswith("/#") and message.topic.startswith(topic[:-1])):
                take_up(message)

    def _send_answer(self, reply: Reply) -> int | None:
        try:
            return self._answer(reply, reply.body)
        except TooLarge as cause:
            spare = cause.largest - (cause.size - len(reply.body))
        try:
            return self._answer(reply, too_large(reply.body, spare))
        except TooLarge as cause:
            log.warning("an answer on %s is left out: %s", reply.topic, cause)
            return 0

    def _answer(self, reply: Reply, body: bytes) -> int | None:
        return self._connection.publish(reply.topic, body, expiry_s=ANSWER_EXPIRY_S, correlation=reply.correlation)
