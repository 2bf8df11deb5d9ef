"""One connection to the MQTT broker, through paho.

Its owner's thread does everything, network included: paho's callbacks only leave a note, and ``dispatch_events`` reads
the notes out to the ``Listener``. So nothing is shared with a network thread.
"""

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import LogLevel, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.settings import MqttSettings
from agent.wire.responses import Incoming
from contract.messages import LARGEST_MESSAGE, OF_VERSION_1, SCHEMA_VERSION
from mqttlink.client import CONNECT_S, NO_BOUND, Client, Door, Marks, marks, packet_bytes
from mqttlink.connection import BrokerSettings
from mqttlink.inflight import InFlight
from mqttlink.refusals import Reason

LARGEST_IN = 128 * 1024
"""Longest message that a broker may send us, in bytes: nobody fills our memory."""
_AT_ONCE = 65535
"""What a broker takes at once that does not tell (MQTT 5, section 3.2.2.3.3)."""
_TURN_MS = 250
_READ_AT_ONCE = 64


class TooLarge(ValueError):  # noqa: N818 - reads as what happened
    """A message is larger than the broker takes, or than any subscriber of ours does.

    Attributes:
        size: bytes of its packet.
        largest: bytes that are taken.
    """

    def __init__(self, size: int, largest: int) -> None:
        super().__init__(f"{size} bytes, and {largest} are taken")
        self.size, self.largest = size, largest


class Answer(Reason, Protocol):
    """What the broker answered."""

    @property
    def is_failure(self) -> bool:
        """Whether it said no."""
        ...


class Listener(Protocol):
    """Who hears what happens on a connection."""

    def on_connect(self, answer: Answer, at_once: int, largest: int) -> None:
        """The broker has answered; how many unacknowledged messages it takes, and of how many bytes each."""
        ...

    def on_disconnect(self, answer: Answer, *, by_broker: bool) -> None:
        """The connection is gone."""
        ...

    def on_published(self, ticket: int, answer: Answer) -> None:
        """The broker has answered a message."""
        ...

    def on_subscribed(self, ticket: int, answer: Answer) -> None:
        """The broker has answered a subscription."""
        ...

    def on_message(self, message: Incoming) -> None:
        """Somebody has published on a topic that is subscribed to."""
        ...

    def on_error(self, text: str) -> None:
        """What paho has to say about a fault."""
        ...


class Connection:
    """The way to the broker: a new client for each connection. All but ``ring`` are for its owner's thread.

    Args:
        settings: the broker.
        client_id: two clients of one id throw each other out.
        listener: hears what happens.
        will: topic and body that the broker publishes, retained, if we vanish.
        connect_s: longest wait for the broker's host.
        renewed: reads the settings again before each connection.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        listener: Listener,
        will: tuple[str, bytes] | None = None,
        connect_s: float = CONNECT_S,
        renewed: Callable[[], BrokerSettings] | None = None,
    ) -> None:
        self._settings, self._listener, self._will = settings, listener, will
        self._notes: deque[Callable[[], None]] = deque()
        self._of_publish = marks(settings)
        self._door = Door(settings, client_id, renewed=renewed, largest=LARGEST_IN, connect_s=connect_s)
        self._client: Client | None = None
        self._in_flight, self._largest = InFlight(), NO_BOUND
        self._rung = False
        self._bell, self._button = socket.socketpair()
        self._bell.settimeout(0)
        self._button.settimeout(0)

    def open(self) -> None:
        """Connect, or connect again; raises OSError or ValueError where nobody answers.

        What an earlier connection left unanswered is forgotten here: who sent it sends it again.
        """
        self._in_flight.begin(0)
        self._client = client = self._door.client()
        if self._will:
            client.will_set(*self._will, qos=1, retain=True, properties=marks(self._settings, PacketTypes.WILLMESSAGE))
        self._tell(client)
        client.reconnect()

    @property
    def is_open(self) -> bool:
        """Whether there is a socket; the broker's welcome may be yet to come."""
        return self._client is not None and self._client.socket() is not None

    @property
    def room(self) -> int:
        """How many messages the broker takes before it has answered one of those on their way."""
        return self._in_flight.room

    @property
    def overdue(self) -> bool:
        """Whether the broker takes messages and answers none."""
        return self._in_flight.overdue

    def listen(self) -> None:
        """Wait a little for the network or the bell, and let paho read and write."""
        client = self._client
        sock: Any = client.socket() if client else None
        if client is None or sock is None:  # closed since somebody asked ``is_open``, by a ``hang_up``
            return
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        poller.register(self._bell, select.POLLIN)
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending()
        ready = {descriptor for descriptor, _ in poller.poll(0 if buffered else _TURN_MS)}
        if self._bell.fileno() in ready:
            self._rung = False  # before the bell is emptied: who rings from here on rings again
            self._bell.recv(4096)
        if sock.fileno() in ready or buffered:
            _read_all(client, sock)
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def dispatch_events(self) -> None:
        """Tell the listener what has happened since."""
        while self._notes:
            self._notes.popleft()()

    def ring(self) -> None:
        """End a wait in ``listen`` early; any thread may."""
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # a full bell rings already, a closed one need not
                self._button.send(b"\0")

    def publish(
        self,
        topic: str,
        body: bytes,
        *,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
        reply_to: str = "",
    ) -> int | None:
        """Send a message with QoS 1; its ticket, or None if the broker takes no more before it has answered.

        Args:
            topic: without wildcards.
            body: JSON.
            retain: the broker keeps it for who comes later.
            expiry_s: seconds after which the broker throws it away; 0: never. Only with MQTT 5.
            correlation: the correlation data of the request that it answers. Only with MQTT 5.
            reply_to: topic for an answer to this. Only with MQTT 5.

        Raises:
            TooLarge: it will not be taken on this connection, however often it is tried.
        """
        if self._client is None or not self._in_flight.room:
            return None
        properties = self._of_publish
        version = 1 if body.startswith(OF_VERSION_1) else SCHEMA_VERSION
        if properties and (expiry_s or correlation or reply_to or version != SCHEMA_VERSION):
            properties = _marked(marks(self._settings, version=version), expiry_s, correlation, reply_to)
        if (size := packet_bytes(topic, body, properties)) > self._largest:
            raise TooLarge(size, self._largest)
        info = self._client.publish(topic, body, 1, retain, properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return None
        self._in_flight.sent(info.mid)
        return info.mid

    def subscribe(self, topic: str) -> int | None:
        """Ask for the messages of a topic, each with the word whether it is a retained one; the question's ticket."""
        if self._client is None:
            return None
        if self._settings.version != "5":
            return self._client.subscribe(topic, qos=1)[1]
        return self._client.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True))[1]

    def hang_up(self) -> None:
        """Leave in good order: the broker forgets the will."""
        if self._client is not None:
            self._client.disconnect()

    def free(self) -> None:
        """Close the bell; the connection is not to be used any more."""
        self._bell.close()
        self._button.close()

    def _tell(self, client: Client) -> None:
        listener, note = self._listener, self._note

        def on_connect(_c: Any, _u: Any, _f: Any, reason: Any, properties: Any) -> None:
            at_once = getattr(properties, "ReceiveMaximum", _AT_ONCE)
            note(self._welcomed, reason, at_once, getattr(properties, "MaximumPacketSize", NO_BOUND))

        def on_disconnect(_c: Any, _u: Any, flags: Any, reason: Any, _p: Any) -> None:
            note(listener.on_disconnect, reason, by_broker=flags.is_disconnect_packet_from_server)

        client.suppress_exceptions = True
        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_publish = lambda _c, _u, ticket, reason, _p: note(self._answered, ticket, reason)
        client.on_subscribe = lambda _c, _u, ticket, reasons, _p: note(listener.on_subscribed, ticket, reasons[0])
        client.on_message = lambda _c, _u, message: note(listener.on_message, _incoming(message))
        client.on_log = lambda _c, _u, level, text: (
            note(listener.on_error, text) if level == LogLevel.MQTT_LOG_ERR else None
        )

    def _welcomed(self, answer: Answer, at_once: int, largest: int) -> None:
        self._in_flight.begin(at_once)
        self._largest = min(largest, LARGEST_MESSAGE)
        self._listener.on_connect(answer, at_once, self._largest)

    def _answered(self, ticket: int, answer: Answer) -> None:
        self._in_flight.answered(ticket)
        self._listener.on_published(ticket, answer)

    def _note(self, handler: Callable[..., None], *arguments: Any, **named: Any) -> None:
        self._notes.append(partial(handler, *arguments, **named))


def _read_all(client: Client, sock: Any) -> None:
    """Read what has come, up to a bound; paho takes one message at a time."""
    readable = select.poll()
    readable.register(sock, select.POLLIN)
    for _ in range(_READ_AT_ONCE):
        client.loop_read()
        if client.socket() is not sock or not readable.poll(0):
            return


def _marked(properties: Marks | None, expiry_s: int, correlation: bytes, reply_to: str) -> Marks | None:
    if properties and expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if properties and correlation:
        properties.CorrelationData = correlation
    if properties and reply_to:
        properties.ResponseTopic = reply_to
    return properties


def _incoming(message: paho.MQTTMessage) -> Incoming:
    asked = message.properties
    reply_to, correlation = getattr(asked, "ResponseTopic", ""), getattr(asked, "CorrelationData", b"")
    return Incoming(message.topic, bytes(message.payload), message.retain, reply_to, correlation)
