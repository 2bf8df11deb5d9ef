"""What a courier carries beside reports: retained messages, answers to commands, and what comes in."""

from collections.abc import Callable

from agent.wire.mail import Answers, Incoming, Reply
from agent.wire.mqtt import Connection
from agent.wire.retained import Retained
from contract.requests import ANSWER_EXPIRY_S, too_large

_HEADERS = 256
"""Bytes of an answer beside its topic, body and correlation data, at most."""

Route = Callable[[Incoming], None]
"""Takes up a message."""


class Beside:
    """Any thread may call ``retain``, ``route`` and ``answer``; the rest is the courier's.

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
        self._answers, self._largest = Answers(), 0

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

    def renew(self, largest: int) -> None:
        """There is another connection, on which the broker takes messages of so many bytes: say all again."""
        self._largest, self._asked = largest, {}
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

    def publish_retained(self, *, all_at_once: bool = False) -> None:
        """Send of what is retained what is due, or, if nobody will ask again, all."""
        for standing, expiry_s in self._standing.values():

            def send(topic: str, body: bytes, expiry_s: int = expiry_s) -> int | None:
                return self._connection.publish(topic, body, retain=True, expiry_s=expiry_s)

            standing.publish(send, all_at_once=all_at_once)

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
        body = reply.body
        if len(body) + len(reply.topic) + len(reply.correlation) + _HEADERS > self._largest:
            body = too_large(body, self._largest)
        return self._connection.publish(reply.topic, body, expiry_s=ANSWER_EXPIRY_S, correlation=reply.correlation)
