"""A short connection to the broker, beside an agent that runs: what may we do there? And what does an agent answer?"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.settings import MqttSettings
from agent.wire.mqtt import Answer, Connection
from agent.wire.responses import Incoming
from common.errors import BrokerError
from mqttlink.refusals import where, why_hung_up, why_refused, why_unreachable


def probe(settings: MqttSettings, timeout_s: float) -> str:
    """Connect to the broker once and leave.

    Returns:
        What answered, in words.

    Raises:
        BrokerError: nothing answered in time, or it refused us; the text says which.
        UsageError: a setting can not be used.
    """
    with probing(settings, timeout_s):
        return f"{where(settings)} speaks MQTT {settings.version}"


REPLIES = "reply"
"""First word of the topics on which a visitor hears answers."""
_MAY_ASK = "log in as a user whom the broker's access list allows that (docs/mqtt.md, Commands)"
_NOBODY = "No matching subscribers"
"""What MQTT 5 calls a message that nobody gets (reason code 16)."""


@contextmanager
def probing(settings: MqttSettings, timeout_s: float) -> Iterator["BrokerProbe"]:
    """Be connected in the block, under a name of its own; raises as ``probe`` does."""
    guest = BrokerProbe(settings, timeout_s)
    try:
        guest.arrive()
        yield guest
    finally:
        guest.leave()


class BrokerProbe:
    """One connection, and what the broker has said on it."""

    def __init__(self, settings: MqttSettings, timeout_s: float) -> None:
        self._settings, self._timeout_s = settings, timeout_s
        self._name = f"microscope-agent.probe.{secrets.token_hex(4)}"
        self._connection = Connection(settings, self._name, listener=self, connect_s=timeout_s)
        self._welcome: Answer | None = None
        self._answers: dict[int | None, Answer] = {}
        self._heard: dict[str, Incoming] = {}
        """The latest message of each topic."""
        self._detail = ""

    def arrive(self) -> None:
        """Connect, or raise BrokerError."""
        try:
            self._connection.open()
            self._wait(lambda: self._welcome)
        except (OSError, ValueError) as cause:
            raise BrokerError(why_unreachable(cause, self._settings)) from cause
        if self._welcome is None:
            raise BrokerError(why_hung_up(self._detail, self._settings))
        if self._welcome.is_failure:
            raise BrokerError(why_refused(self._welcome, self._settings))

    def leave(self) -> None:
        """Disconnect, and let go of everything."""
        self._connection.hang_up()
        self._connection.free()

    def may_publish(self, topic: str) -> bool:
        """Publish an empty message, and see whether the broker takes it; MQTT 3.1.1 does not tell."""
        self._wait(lambda: self._connection.room)
        ticket = self._connection.publish(topic, b"")
        self._wait(lambda: ticket in self._answers)
        answer = self._answers.get(ticket)  # some brokers refuse by hanging up
        return answer is not None and not answer.is_failure

    def listen_to(self, topic: str) -> bool:
        """Subscribe; whether the broker agrees, which some do and then send nothing."""
        ticket = self._connection.subscribe(topic)
        self._wait(lambda: ticket in self._answers)
        answer = self._answers.get(ticket)
        return answer is not None and not answer.is_failure

    def hears(self, topic: str, within_s: float) -> bool:
        """Whether a message on this topic comes in time."""
        self._wait(lambda: topic in self._heard, within_s)
        return topic in self._heard

    def ask(self, topic: str, body: bytes, *, expiry_s: int) -> bytes | None:
        """Send a request to who listens there, as MQTT 5 has it; its answer, or None if none comes in time.

        Raises:
            BrokerError: this user may not send it or hear the answer, or nobody listens there.
        """
        reply_to = f"{REPLIES}/{self._name}"
        if not self.listen_to(reply_to):
            raise BrokerError(f"the broker does not let this user subscribe to {reply_to}; {_MAY_ASK}")
        ticket = self._connection.publish(topic, body, expiry_s=expiry_s, reply_to=reply_to)
        self._wait(lambda: ticket in self._answers)
        answer = self._answers.get(ticket)
        if answer is None or answer.is_failure:
            why = f" ({answer})" if answer else ""
            raise BrokerError(f"the broker does not take what this user publishes on {topic}{why}; {_MAY_ASK}")
        if str(answer) == _NOBODY:
            raise BrokerError(
                f"nobody listens on {topic}: the agent is away, has another name, or takes no commands; see "
                "`site`, `device` and `mqtt.commands` in its settings"
            )
        self._wait(lambda: reply_to in self._heard)
        heard = self._heard.get(reply_to)
        return heard.payload if heard else None

    def _wait(self, what: Callable[[], object], within_s: float | None = None) -> None:
        """Read until it has come, the connection is gone or time is up."""
        deadline = time.monotonic() + (self._timeout_s if within_s is None else within_s)
        while not what() and self._connection.is_open and time.monotonic() < deadline:
            self._connection.listen()
            self._connection.dispatch_events()
        self._connection.dispatch_events()

    # What the connection tells us: see agent.wire.mqtt.Listener.

    def on_connect(self, answer: Answer, _at_once: int, _largest: int) -> None:
        """Keep the welcome, or the refusal."""
        self._welcome = answer

    def on_disconnect(self, answer: Answer, *, by_broker: bool) -> None:
        """A refusal may come late."""
        if by_broker:
            self._welcome = answer

    def on_published(self, ticket: int, answer: Answer) -> None:
        """Keep the answer."""
        self._answers[ticket] = answer

    on_subscribed = on_published

    def on_message(self, message: Incoming) -> None:
        """Keep it."""
        self._heard[message.topic] = message

    def on_error(self, text: str) -> None:
        """Keep the client library's words."""
        self._detail = text
