"""The courier: carries reports from the outbox to the MQTT broker. The only file here that imports paho.

One thread does everything: it connects, listens, reads the outbox and publishes, so nothing is shared
with a network thread, and paho's callbacks only leave a note for it. Read ``_run`` first.
"""

import logging
import random
import secrets
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError
from typing_extensions import Self

from agent.delivery import Delivery
from agent.outbox import Outbox
from agent.refusals import where, why_broken, why_hung_up, why_not_taken, why_refused, why_unreachable
from agent.settings import MqttSettings, TlsSettings
from contract.errors import BrokerError, OutboxError, UsageError
from contract.messages import CONTENT_TYPE, SCHEMA_VERSION, Ack, Health, Status, Topics

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_FAREWELL_S = 2.0
_BACK_OFF_S = 0.5, 30.0
_STABLE_S = 10.0
_TURN_MS = 250
_PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}


class Courier:
    """Delivers what the outbox holds, for as long as it is entered; a broker that is away is waited for.

    ``status`` says ``online`` after every connect, ``offline`` by will, ``stopped`` after an orderly end.
    A report leaves the outbox when the broker (``forget_on="broker"``) or a consumer has acknowledged it;
    after a lost connection everything unacknowledged is sent again.

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
    ) -> None:
        self._settings, self._topics, self._outbox, self._version = settings, topics, outbox, version
        self._listens = forget_on == "consumer"
        self._delivery = Delivery(outbox, forget_on=forget_on, window=settings.window)
        self._notes: deque[Callable[[], None]] = deque()
        self._client = self._new_client()
        self._connected, self._closing = threading.Event(), threading.Event()
        self._bell, self._button = socket.socketpair()
        self._bell.settimeout(0)
        self._button.settimeout(0)
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._trouble, self._fault, self._detail, self._logged = "not connected yet", "", "", ""
        self._attempts, self._connected_at, self._outbox_again_at = 0, 0.0, 0.0
        self._health, self._health_is_due = b"", False
        self._health_ticket: int | None = None
        self._farewell: int | None = None
        self.ignored_acks = 0

    def __enter__(self) -> Self:
        self._outbox.on_change(self._ring)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._ring()
        self._thread.join(2 * _CONNECT_S)
        self._bell.close()
        self._button.close()

    @property
    def alive(self) -> bool:
        """Whether the courier's thread runs; False after the end, or if a fault in this program killed it."""
        return self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why reports do not leave at the moment, in words; "" while all is well."""
        return self._trouble

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the broker's welcome; False if it did not come in time."""
        return self._connected.wait(timeout_s)

    def health(self, health: Health) -> None:
        """Publish the retained health message, now or as soon as there is a connection; the latest wins."""
        self._health = health.model_dump_json().encode()
        self._health_is_due = True
        self._ring()

    def drain(self, timeout_s: float | None = None) -> int:
        """Wait until the broker has taken every report; by default for ``drain_s`` of the settings.

        Returns:
            How many it has not taken; they stay in the outbox.
        """
        deadline = time.monotonic() + (self._settings.drain_s if timeout_s is None else timeout_s)
        while (unsent := self._delivery.unsent()) and self.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        return unsent

    # The thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            self._fault = self._detail = ""
            try:
                self._client.reconnect()
                self._converse()
            except (OSError, ValueError) as cause:
                self._fault = why_unreachable(cause, self._settings)
            self._take_notes()
            self._connected.clear()
            if not self._closing.is_set():
                self._complain(self._fault or why_hung_up(self._detail, self._settings))
                self._closing.wait(self._back_off_s())

    def _converse(self) -> None:
        deadline = float("inf")
        while (sock := self._client.socket()) is not None and time.monotonic() < deadline:
            if self._closing.is_set() and deadline == float("inf"):
                deadline = time.monotonic() + _FAREWELL_S
                self._say_farewell()
            self._listen(sock)
            self._take_notes()
            if self._connected.is_set() and not self._closing.is_set():
                self._publish_what_is_due()
        self._client.disconnect()

    def _listen(self, sock: Any) -> None:
        """Wait for the network or the bell, and let paho read and write."""
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poller.register(self._bell, select.POLLIN)
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending()
        ready = {descriptor for descriptor, _ in poller.poll(0 if buffered else _TURN_MS)}
        if self._bell.fileno() in ready:
            self._bell.recv(4096)
        if sock.fileno() in ready or buffered:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _take_notes(self) -> None:
        while self._notes:
            self._notes.popleft()()
        try:
            self._delivery.settle()
        except OutboxError as cause:
            self._complain(str(cause))

    def _publish_what_is_due(self) -> None:
        self._publish_health()
        if time.monotonic() < self._outbox_again_at:
            return
        try:
            for seq, body in self._delivery.next_batch():
                ticket = self._publish(self._topics.frame, body)
                if ticket is None:
                    break
                self._delivery.sent(ticket, seq)
                if self._client.socket() is None:  # paho keeps this one and sends it after the next connect
                    break
        except OutboxError as cause:
            self._outbox_again_at = time.monotonic() + 1.0
            self._complain(str(cause))

    def _publish_health(self) -> None:
        if self._health_is_due and self._health_ticket is None:  # one at a time: only the latest matters
            self._health_is_due = False
            self._health_ticket = self._publish(self._topics.health, self._health, retain=True)

    def _publish(self, topic: str, body: bytes, *, retain: bool = False) -> int | None:
        """Hand paho a message; its ticket, or None if paho did not take it."""
        properties = self._properties(PacketTypes.PUBLISH)
        info = self._client.publish(topic, body, 1, retain, properties)
        return None if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE else info.mid

    def _say_farewell(self) -> None:
        if self._connected.is_set():
            self._health_ticket = None
            self._publish_health()
            self._farewell = self._publish(self._topics.status, self._status("stopped"), retain=True)
        else:
            self._client.disconnect()

    def _status(self, state: Literal["online", "offline", "stopped"]) -> bytes:
        return Status(state=state, version=self._version).model_dump_json().encode()

    def _properties(self, kind: int) -> Properties | None:
        if self._settings.version != "5":
            return None
        properties = Properties(kind)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = CONTENT_TYPE
        properties.UserProperty = ("schema_version", str(SCHEMA_VERSION))
        return properties

    def _back_off_s(self) -> float:
        if self._connected_at and time.monotonic() - self._connected_at >= _STABLE_S:
            self._attempts = 0
        self._connected_at = 0.0
        longest = min(_BACK_OFF_S[1], _BACK_OFF_S[0] * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - keeps agents apart, guards nothing

    def _complain(self, text: str) -> None:
        self._trouble = text
        log.log(logging.DEBUG if text == self._logged else logging.WARNING, "%s", text)
        self._logged = text

    # What paho tells us: each callback leaves a note, the thread takes it up.

    def _new_client(self) -> paho.Client:
        site, device = self._topics.root.split("/")[-2:]
        client = _client(self._settings, f"microscope-agent.{site}.{device}")
        will = self._properties(PacketTypes.WILLMESSAGE)
        client.will_set(self._topics.status, self._status("offline"), qos=1, retain=True, properties=will)
        client.on_connect = lambda _c, _u, _f, reason, p: self._note(self._on_connect, reason, p)
        client.on_disconnect = lambda _c, _u, flags, reason, _p: self._note(self._on_disconnect, flags, reason)
        client.on_publish = lambda _c, _u, ticket, reason, _p: self._note(self._on_puback, ticket, reason)
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._note(self._on_suback, reasons)
        client.on_message = lambda _c, _u, message: self._note(self._on_ack, message.payload)
        client.on_log = lambda _c, _u, level, text: self._note(self._on_log, level, text)
        return client

    def _note(self, handler: Callable[..., None], *arguments: Any) -> None:
        self._notes.append(partial(handler, *arguments))

    def _ring(self) -> None:
        with suppress(OSError):  # a full bell rings already, a closed one need not
            self._button.send(b"\0")

    def _on_connect(self, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._fault = why_refused(reason, self._settings)
            return
        at_once = getattr(properties, "ReceiveMaximum", 65535) - 3  # the rest is for `status` and `health`
        self._delivery.window = max(1, min(self._settings.window, at_once))
        self._delivery.rewind()
        if self._listens:
            self._client.subscribe(self._topics.ack, qos=1)
        self._publish(self._topics.status, self._status("online"), retain=True)
        self._health_is_due = bool(self._health)
        self._trouble = self._logged = ""
        self._connected_at = time.monotonic()
        self._connected.set()
        log.info("connected to the broker at %s", where(self._settings))

    def _on_disconnect(self, flags: Any, reason: Any) -> None:
        self._connected.clear()
        if flags.is_disconnect_packet_from_server:
            self._fault = why_refused(reason, self._settings)
        elif self._connected_at and not self._fault:
            self._fault = why_broken(self._detail, self._settings)

    def _on_puback(self, ticket: int, reason: Any) -> None:
        if ticket == self._farewell:
            self._client.disconnect()
        elif ticket == self._health_ticket:
            self._health_ticket = None
        elif not reason.is_failure:
            if self._delivery.accepted(ticket):
                self._attempts, self._trouble, self._logged = 0, "", ""
        elif self._delivery.refused(ticket):
            self._complain(why_not_taken(reason, self._settings, self._topics.frame))

    def _on_suback(self, reasons: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._complain(why_not_taken(reasons[0], self._settings, self._topics.ack))

    def _on_ack(self, payload: bytes) -> None:
        try:
            ack = Ack.model_validate_json(payload)
            known = ack.epoch != self._outbox.epoch or self._delivery.acknowledged(ack.upto)
        except OutboxError as cause:
            self._complain(str(cause))
            return
        except ValidationError:
            known = False
        if not known:
            self.ignored_acks += 1
            log.warning("ignored a message on %s: it is no acknowledgement of ours", self._topics.ack)

    def _on_log(self, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._detail = text.removeprefix("failed to receive on socket: ")


def probe(settings: MqttSettings, timeout_s: float) -> str:
    """Connect to the broker once and leave.

    Returns:
        What answered, in words.

    Raises:
        BrokerError: nothing answered in time, or it refused us; the text says which.
        UsageError: a setting can not be used.
    """
    client = _client(settings, f"microscope-agent.probe.{secrets.token_hex(4)}", connect_s=timeout_s)
    answers: list[Any] = []
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.append(reason)
    details = [""]
    client.on_log = lambda _c, _u, level, text: details.append(text) if level == LogLevel.MQTT_LOG_ERR else None
    deadline = time.monotonic() + timeout_s
    try:
        client.reconnect()
        while not answers and client.socket() and time.monotonic() < deadline:
            client.loop(0.05)
    except (OSError, ValueError) as cause:
        raise BrokerError(why_unreachable(cause, settings)) from cause
    client.disconnect()
    if not answers:
        raise BrokerError(why_hung_up(details[-1], settings))
    if answers[0].is_failure:
        raise BrokerError(why_refused(answers[0], settings))
    return f"{where(settings)} speaks MQTT {settings.version}"


def _client(settings: MqttSettings, client_id: str, *, connect_s: float = _CONNECT_S) -> paho.Client:
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
        client.tls_set_context(_tls(settings.tls))
    if not settings.host:
        raise UsageError("mqtt.host is empty; name the broker's host")
    clean_start = True if version5 else paho.MQTT_CLEAN_START_FIRST_ONLY
    client.connect_async(settings.host, settings.port, settings.keepalive_s, clean_start=clean_start)
    return client


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _can_read(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as cause:
        raise UsageError(f"mqtt.tls.{name}: {path} can not be read ({cause.strerror}); correct the setting") from cause


def _tls(settings: TlsSettings) -> ssl.SSLContext:
    for name, path in (("ca", settings.ca), ("cert", settings.cert), ("key", settings.key)):
        if path is not None:
            _can_read(name, path)
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.sslsocket_class = _TidySocket
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key, password="")  # never ask on the terminal
    except OSError as cause:
        raise UsageError(
            f"mqtt.tls: {settings.cert or settings.ca} can not be used ({cause}); it must be PEM, readable by "
            "this user, the key without a passphrase and fitting its certificate"
        ) from cause
    return context
