"""The dashboard's way to the broker: a thread that is subscribed, and stays so over lost connections."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from typing_extensions import Self

from common.errors import BrokerError
from contract.messages import LARGEST_MESSAGE
from mqttlink.backoff import ReconnectBackoff
from mqttlink.client import Client, Door
from mqttlink.refusals import where, why_broken, why_hung_up, why_not_taken, why_refused, why_unreachable
from mqttlink.settings import BrokerSettings

_TURN_S = 0.25
_LET_GO_S = 0.7
"""Longest wait for the thread's end: it may hang in a name service."""
_MOST_WAITING = 10_000
"""Messages that wait to be counted; the broker keeps the rest."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message, and when it came."""

    topic: str
    payload: bytes
    retained: bool
    at: datetime


class Link:
    """Fills ``arrivals`` for as long as it is entered; a broker that goes away is waited for.

    Args:
        settings: the broker.
        topics: what to subscribe to.
        renewed: reads the broker's settings again, as before each connection.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self, settings: BrokerSettings, topics: str, *, renewed: Callable[[], BrokerSettings] | None = None
    ) -> None:
        self.arrivals: queue.Queue[Arrival] = queue.Queue(_MOST_WAITING)
        self._settings, self._topics = settings, topics
        self._door = Door(settings, "", renewed=renewed, largest=LARGEST_MESSAGE)
        self._contact, self._closing, self._settled = ReconnectBackoff(), threading.Event(), threading.Event()
        self._trouble = self._fault = "not connected yet"
        self._heard_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(_LET_GO_S)

    def wait_subscribed(self, timeout_s: float, *, stop: threading.Event | None = None) -> None:
        """Until the broker has subscribed us or ``stop`` is set; BrokerError if it does not, or the first try fails."""
        deadline = time.monotonic() + timeout_s
        while not (self._settled.wait(_TURN_S / 5) or (stop and stop.is_set()) or time.monotonic() > deadline):
            pass
        if self._trouble and not (stop and stop.is_set()):
            raise BrokerError(f"the broker at {where(self._settings)} can not be reached: {self._trouble}")

    @property
    def trouble(self) -> str:
        """Why nothing comes, in words; "" while we are subscribed."""
        return self._trouble

    def words(self) -> str:
        """How we stand with the broker, in a line."""
        heard = "nothing heard yet"
        if self._heard_at is not None:
            heard = f"last heard {time.monotonic() - self._heard_at:.0f} s ago"
        return f"broker {where(self._settings)}: {self._trouble or 'connected'}; {heard}"

    def _run(self) -> None:
        while not self._closing.is_set():
            self._fault = ""
            try:
                self._converse(self._door.client())
            except (OSError, ValueError) as cause:
                self._fault = why_unreachable(cause, self._settings)
                self._contact.failed()
            if not self._closing.is_set():
                came = self._contact.age_s
                self._trouble = self._fault or (why_broken if came else why_hung_up)("", self._settings)
                self._settled.set()
                self._closing.wait(self._contact.wait_s())

    def _converse(self, client: Client) -> None:
        client.suppress_exceptions = True
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_message, client.on_disconnect = self._on_message, self._on_disconnect
        try:
            client.reconnect()
            while not self._closing.is_set() and client.loop(_TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
        finally:
            client.disconnect()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._fault = why_refused(reason, self._settings)
        else:
            client.subscribe(self._topics, qos=1)

    def _on_subscribe(self, client: paho.Client, _data: Any, _ticket: int, reasons: Any, _properties: Any) -> None:
        refused = [reason for reason in reasons if reason.is_failure]
        if refused:
            self._fault = why_not_taken(refused[0], self._settings, self._topics, then="nothing can be shown")
            client.disconnect()
            return
        self._contact.made()
        self._contact.worked()
        self._trouble = ""
        self._settled.set()

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fault = why_refused(reason, self._settings)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._heard_at = time.monotonic()
        arrival = Arrival(message.topic, bytes(message.payload), message.retain, datetime.now(timezone.utc))
        while not self._closing.is_set():
            try:
                self.arrivals.put(arrival, timeout=_TURN_S)
            except queue.Full:
                continue
            return
