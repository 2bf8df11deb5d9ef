"""The client library as all our programs use it: a new client for each connection, with what then stands on disk."""

import logging
import ssl
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from common.errors import MicroscopeError, UsageError
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings, tls_context

log = logging.getLogger(__name__)
CONNECT_S = 5.0
"""Longest wait for the broker's host to answer."""
NO_BOUND = 2**28
"""Bytes of the longest message that MQTT knows."""
_READ_AT_ONCE = 64 * 1024
_PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}


class Client(paho.Client):
    """A client that holds no more than a bound of any one packet, whatever length its sender has given it.

    MQTT 3.1.1 has no word for that bound, and not every broker of MQTT 5 heeds it. What comes behind the bound is read
    and thrown away, so that the connection goes on: to close it would bring the same packet again.
    """

    largest = NO_BOUND

    def _sock_recv(self, bufsize: int) -> bytes:
        return super()._sock_recv(min(bufsize, _READ_AT_ONCE))

    def _packet_read(self) -> MQTTErrorCode:
        code = super()._packet_read()
        self._cut()
        return code

    def _packet_handle(self) -> MQTTErrorCode:
        self._cut()
        return super()._packet_handle()

    def _cut(self) -> None:
        del self._in_packet["packet"][self.largest :]


class ClientFactory:
    """Makes the MQTT clients of one program, one for each connection.

    Certificates, keys and passwords are renewed on disk while a program runs, so they are read again for each client.
    While what stands there can not be used, as amid a renewal, the last that could is used on.

    Args:
        settings: the broker.
        client_id: two clients of one id throw each other out; empty: the broker gives one.
        renewed: reads the settings again; of these, name, password and TLS are used.
        largest: bytes of the longest packet that we take.
        connect_s: longest wait for the broker's host.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        renewed: Callable[[], BrokerSettings] | None = None,
        largest: int,
        connect_s: float = CONNECT_S,
    ) -> None:
        if not settings.host:
            raise UsageError("mqtt.host is empty; name the broker's host")
        self._settings, self._id, self._largest, self._connect_s = settings, client_id, largest, connect_s
        self._renewed, self._login = renewed, settings
        self._context = _context(settings)
        self._lament = ""

    def client(self, *, session_s: int = 0, at_once: int = 0, manual_ack: bool = False) -> Client:
        """A client that is not connected yet; ``reconnect`` does that, and it never does so by itself.

        Args:
            session_s: seconds for which the broker keeps our messages while we are away; with MQTT 3.1.1 any number
                but 0 means that it never forgets them.
            at_once: how many messages it may send before we have answered one; 0: as many as it likes.
            manual_ack: a message is answered only when ``ack`` says so.
        """
        self._read_again()
        version5 = self._settings.version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._id,
            clean_session=None if version5 else not session_s,
            protocol=_PROTOCOLS[self._settings.version],
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        client.largest = self._largest
        client.max_inflight_messages_set(0)  # we count ourselves: see mqttlink.inflight
        client.connect_timeout = self._connect_s
        if self._login.username is not None:
            secret = self._login.password.get_secret_value() if self._login.password else None
            client.username_pw_set(self._login.username, secret)
        if self._context is not None:
            client.tls_set_context(self._context)
        client.connect_async(
            self._settings.host,
            self._settings.port,
            self._settings.keepalive_s,
            clean_start=not session_s if version5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=self._connect_properties(session_s, at_once) if version5 else None,
        )
        return client

    def _connect_properties(self, session_s: int, at_once: int) -> Properties:
        """The properties of our CONNECT packet."""
        said = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        said.MaximumPacketSize = self._largest
        if session_s:
            said.SessionExpiryInterval = session_s
        if at_once:
            said.ReceiveMaximum = at_once
        return said

    def _read_again(self) -> None:
        try:
            login = self._renewed() if self._renewed else self._settings
            context = _context(login)
        except MicroscopeError as cause:
            if str(cause) != self._lament:
                log.warning("%s; what was read before is used on", cause)
            self._lament = str(cause)
        else:
            self._login, self._context, self._lament = login, context, ""


def _context(settings: BrokerSettings) -> ssl.SSLContext | None:
    return tls_context(settings.tls) if settings.tls else None


class TooLarge(ValueError):  # noqa: N818 - reads as what happened
    """A message is larger than the broker takes, or than any subscriber of ours does.

    Attributes:
        size: bytes of its packet.
        largest: bytes that are taken.
    """

    def __init__(self, size: int, largest: int) -> None:
        super().__init__(f"{size} bytes, and {largest} are taken")
        self.size, self.largest = size, largest


def incoming(message: paho.MQTTMessage) -> Incoming:
    """A message as it came; what MQTT 3.1.1 does not say of it is empty."""
    try:
        topic = message.topic
    except UnicodeDecodeError:  # no broker passes that on, and none shall stop us with it
        topic = "?"
    said = message.properties
    reply_to, correlation = getattr(said, "ResponseTopic", ""), getattr(said, "CorrelationData", b"")
    packet_id = message.mid if message.qos else 0
    return Incoming(topic, bytes(message.payload), message.retain, reply_to, correlation, packet_id)
