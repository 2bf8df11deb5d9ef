"""A short connection to the broker, beside an agent that runs: what may we do there? And what does an agent answer?"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import BrokerError
from mqttlink.connection import LARGEST_IN, Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.refusals import where
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings


def probe(settings: BrokerSettings, timeout_s: float) -> str:
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
NOBODY = "No matching subscribers"
"""What MQTT 5 calls a message that nobody gets (reason code 16)."""


@contextmanager
def probing(
    settings: BrokerSettings,
    timeout_s: float,
    *,
    largest: int = LARGEST_IN,
    renewed: Callable[[], BrokerSettings] | None = None,
) -> Iterator["BrokerProbe"]:
    """Be connected in the block, under a name of its own; raises as ``probe`` does.

    Args:
        settings: the broker.
        timeout_s: longest wait for each answer.
        largest: bytes of the longest message that is taken.
        renewed: reads the settings again, for a program that runs on and whose login is renewed on disk.
    """
    guest = BrokerProbe(settings, timeout_s, largest=largest, renewed=renewed)
    try:
        guest.arrive()
        yield guest
    finally:
        guest.leave()


class BrokerProbe:
    """One connection, and what the broker has said on it."""

    def __init__(
        self,
        settings: BrokerSettings,
        timeout_s: float,
        *,
        largest: int = LARGEST_IN,
        renewed: Callable[[], BrokerSettings] | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._name = f"microscope-agent.probe.{secrets.token_hex(4)}"
        self._connection = Connection(
            settings,
            self._name,
            on_connect=lambda: None,
            on_message=self._on_message,
            connect_s=timeout_s,
            largest=largest,
            renewed=renewed,
        )
        self._heard: dict[str, Incoming] = {}
        """The latest message of each topic."""

    def arrive(self) -> None:
        """Connect, or raise BrokerError."""
        with self._connection.attempt():
            self._wait(lambda: self._connection.is_connected)
        if not self._connection.is_connected:
            raise BrokerError(self._connection.fault)

    def leave(self) -> None:
        """Disconnect, and let go of everything."""
        self._connection.disconnect()
        self._connection.close()

    def may_publish(self, topic: str) -> bool:
        """Publish an empty message, and see whether the broker takes it; MQTT 3.1.1 does not tell."""
        self._wait(lambda: self._connection.room)
        answer = self._answer_to(self._connection.publish(topic, b""))  # some brokers refuse by hanging up
        return answer is not None and not answer.is_failure

    def listen_to(self, topic: str) -> bool:
        """Subscribe; whether the broker agrees, which some do and then send nothing."""
        answer = self._answer_to(self._connection.subscribe([topic], retain_as_published=True))
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
        answer = self._answer_to(self._connection.publish(topic, body, expiry_s=expiry_s, reply_to=reply_to))
        if answer is None or answer.is_failure:
            why = f" ({answer})" if answer else ""
            raise BrokerError(f"the broker does not take what this user publishes on {topic}{why}; {_MAY_ASK}")
        if str(answer) == NOBODY:
            raise BrokerError(
                f"nobody listens on {topic}: the agent is away, has another name, or takes no commands; see "
                "`site`, `device` and `mqtt.commands` in its settings"
            )
        self._wait(lambda: reply_to in self._heard)
        heard = self._heard.get(reply_to)
        return heard.payload if heard else None

    def _answer_to(self, ticket: Ticket | None) -> Answer | None:
        if ticket is None:
            return None
        self._wait(lambda: ticket.answer)
        return ticket.answer

    def _wait(self, what: Callable[[], object], within_s: float | None = None) -> None:
        """Read until it has come, the connection is gone or time is up."""
        deadline = time.monotonic() + (self._timeout_s if within_s is None else within_s)
        while not what() and self._connection.is_open and time.monotonic() < deadline:
            self._connection.listen()

    def _on_message(self, message: Incoming) -> None:
        self._heard[message.topic] = message
