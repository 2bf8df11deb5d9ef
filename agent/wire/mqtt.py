"""One connection to the MQTT broker, through paho; the only file of the agent that imports it.

Its owner's thread does everything, network included: paho's callbacks only leave a note, and ``take_notes`` reads the
notes out to the ``Listener``. So nothing is shared with a network thread.
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
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.settings import MqttSettings
from agent.wire.mail import Incoming
from contract.connection import tls_context
from contract.errors import UsageError
from contract.messages import CONTENT_TYPE, SCHEMA_VERSION
from contract.refusals import Reason

CONNECT_S = 5.0
"""Longest wait for the broker's host to answer."""
LARGEST_IN = 128 * 1024
"""Longest message that a broker of MQTT 5 may send us, in bytes: nobody fills our memory."""
_NO_BOUND = 2**28
"""Bytes of the longest message that MQTT knows."""
_TURN_MS = 250
_READ_AT_ONCE = 64
_PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}


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
    """One client of the broker; it never reconnects by itself. All but ``ring`` are for its owner's thread.

    Args:
        settings: the broker.
        client_id: two clients of one id throw each other out.
        listener: hears what happens.
        will: topic and body that the broker publishes, retained, if we vanish.
        connect_s: longest wait for the broker's host.

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
    ) -> None:
        self._settings = settings
        self._notes: deque[Callable[[], None]] = deque()
        self._of_publish = self._properties(PacketTypes.PUBLISH)
        self._client = _client(settings, client_id, connect_s=connect_s)
        if will:
            self._client.will_set(*will, qos=1, retain=True, properties=self._properties(PacketTypes.WILLMESSAGE))
        self._tell(listener)
        self._rung = False
        self._bell, self._button = socket.socketpair()
        self._bell.settimeout(0)
        self._button.settimeout(0)

    def open(self) -> None:
        """Connect, or connect again; raises OSError or ValueError where nobody answers."""
        self._client.reconnect()

    @property
    def is_open(self) -> bool:
        """Whether there is a socket; the broker's welcome may be yet to come."""
        return self._client.socket() is not None

    def listen(self) -> None:
        """Wait a little for the network or the bell, and let paho read and write."""
        sock: Any = self._client.socket()
        if sock is None:  # closed since somebody asked ``is_open``, by a ``hang_up``
            return
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poller.register(self._bell, select.POLLIN)
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending()
        ready = {descriptor for descriptor, _ in poller.poll(0 if buffered else _TURN_MS)}
        if self._bell.fileno() in ready:
            self._rung = False  # before the bell is emptied: who rings from here on rings anew
            self._bell.recv(4096)
        if sock.fileno() in ready or buffered:
            self._read_all(sock)
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _read_all(self, sock: Any) -> None:
        """Read what has come, up to a bound; paho takes one message at a time."""
        readable = select.poll()
        readable.register(sock, select.POLLIN)
        for _ in range(_READ_AT_ONCE):
            self._client.loop_read()
            if self._client.socket() is not sock or not readable.poll(0):
                return

    def take_notes(self) -> None:
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
        self, topic: str, body: bytes, *, retain: bool = False, expiry_s: int = 0, correlation: bytes = b""
    ) -> int | None:
        """Hand paho a message; its ticket, or None if paho did not take it.

        Args:
            topic: without wildcards.
            body: JSON.
            retain: the broker keeps it for who comes later.
            expiry_s: seconds after which the broker throws it away; 0: never. Only with MQTT 5.
            correlation: the correlation data of the request that it answers. Only with MQTT 5.
        """
        properties = self._of_publish
        if properties and (expiry_s or correlation):
            properties = _marked(self._properties(PacketTypes.PUBLISH), expiry_s, correlation)
        info = self._client.publish(topic, body, 1, retain, properties)
        return None if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE else info.mid

    def subscribe(self, topic: str) -> int | None:
        """Ask for the messages of a topic, each with the word whether it is a retained one; the question's ticket."""
        if self._settings.version != "5":
            return self._client.subscribe(topic, qos=1)[1]
        return self._client.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True))[1]

    def hang_up(self) -> None:
        """Leave in good order: the broker forgets the will."""
        self._client.disconnect()

    def free(self) -> None:
        """Close the bell; the connection is not to be used any more."""
        self._bell.close()
        self._button.close()

    def _tell(self, listener: Listener) -> None:
        client, note = self._client, self._note

        def on_connect(_c: Any, _u: Any, _f: Any, reason: Any, properties: Any) -> None:
            at_once = getattr(properties, "ReceiveMaximum", 65535)
            note(listener.on_connect, reason, at_once, getattr(properties, "MaximumPacketSize", _NO_BOUND))

        def on_disconnect(_c: Any, _u: Any, flags: Any, reason: Any, _p: Any) -> None:
            note(listener.on_disconnect, reason, by_broker=flags.is_disconnect_packet_from_server)

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_publish = lambda _c, _u, ticket, reason, _p: note(listener.on_published, ticket, reason)
        client.on_subscribe = lambda _c, _u, ticket, reasons, _p: note(listener.on_subscribed, ticket, reasons[0])
        client.on_message = lambda _c, _u, message: note(listener.on_message, _incoming(message))
        client.on_log = lambda _c, _u, level, text: (
            note(listener.on_error, text) if level == LogLevel.MQTT_LOG_ERR else None
        )

    def _note(self, handler: Callable[..., None], *arguments: Any, **named: Any) -> None:
        self._notes.append(partial(handler, *arguments, **named))

    def _properties(self, kind: int) -> Properties | None:
        if self._settings.version != "5":
            return None
        properties = Properties(kind)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = CONTENT_TYPE
        properties.UserProperty = ("schema_version", str(SCHEMA_VERSION))
        return properties


def _marked(properties: Properties | None, expiry_s: int, correlation: bytes) -> Properties | None:
    if properties and expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if properties and correlation:
        properties.CorrelationData = correlation
    return properties


def _incoming(message: paho.MQTTMessage) -> Incoming:
    asked = message.properties
    reply_to, correlation = getattr(asked, "ResponseTopic", ""), getattr(asked, "CorrelationData", b"")
    return Incoming(message.topic, bytes(message.payload), message.retain, reply_to, correlation)


def _client(settings: MqttSettings, client_id: str, *, connect_s: float) -> paho.Client:
    """A client that knows its broker and is not connected yet; it never reconnects by itself."""
    version5 = settings.version == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=None if version5 else True,
        protocol=_PROTOCOLS[settings.version],
        reconnect_on_failure=False,
    )
    client.suppress_exceptions = True
    client.max_inflight_messages_set(0)  # the courier's own window is the bound
    client.connect_timeout = connect_s
    if settings.username is not None:
        secret = settings.password.get_secret_value() if settings.password else None
        client.username_pw_set(settings.username, secret)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    if not settings.host:
        raise UsageError("mqtt.host is empty; name the broker's host")
    clean_start = True if version5 else paho.MQTT_CLEAN_START_FIRST_ONLY
    client.connect_async(
        settings.host, settings.port, settings.keepalive_s, clean_start=clean_start, properties=_bounds(settings)
    )
    return client


def _bounds(settings: MqttSettings) -> Properties | None:
    """What we say of ourselves when we connect."""
    if settings.version != "5":
        return None
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = LARGEST_IN
    return properties
