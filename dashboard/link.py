"""The way to the broker of terminal and page: a thread that is subscribed, and stays so over lost connections."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType

from typing_extensions import Self

from common.errors import BrokerError
from contract.messages import LARGEST_MESSAGE
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.refusals import NO_TROUBLE, Trouble, where, why_not_taken
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings

_TURN_S = 0.25
_LET_GO_S = 0.7
"""Longest wait for the thread's end: it may hang in a name service."""
_HANGUP = Trouble.of("broken", "another connection is made, with what then stands on disk, as SIGHUP asks")
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
        self._connection = Connection(
            settings,
            "",
            on_connect=self._on_connect,
            on_message=self._on_message,
            largest=LARGEST_MESSAGE,
            renewed=renewed,
        )
        self._closing, self._settled = threading.Event(), threading.Event()
        self._leaves = False
        self._trouble = "not connected yet"
        self._heard_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._connection.wake()
        self._thread.join(_LET_GO_S)
        if not self._thread.is_alive():
            self._connection.close()

    def wait_subscribed(self, timeout_s: float, *, stop: threading.Event | None = None) -> None:
        """Until the broker has subscribed us or ``stop`` is set; BrokerError if it does not, or the first try fails."""
        deadline = time.monotonic() + timeout_s
        while not (self._settled.wait(_TURN_S / 5) or (stop and stop.is_set()) or time.monotonic() > deadline):
            pass
        if self._trouble and not (stop and stop.is_set()):
            raise BrokerError(f"the broker at {where(self._settings)} can not be reached: {self._trouble}")

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._leaves = True
        self._connection.wake()

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
            with self._connection.attempt():
                while self._connection.is_open and not (self._closing.is_set() or self._leaves):
                    self._connection.listen()
                self._connection.disconnect(_HANGUP if self._leaves else NO_TROUBLE)
                self._leaves = False
            if not self._closing.is_set():
                self._trouble = self._connection.fault
                self._settled.set()
                self._closing.wait(self._connection.backoff.wait_s())

    def _on_connect(self) -> None:
        self._connection.subscribe([self._topics], answered=self._on_subscribed)

    def _on_subscribed(self, _ticket: Ticket, answer: Answer) -> None:
        if answer.is_failure:
            self._connection.disconnect(
                why_not_taken(answer, self._settings, self._topics, then="nothing can be shown")
            )
            return
        self._connection.backoff.made()
        self._connection.backoff.worked()
        self._trouble = ""
        self._settled.set()

    def _on_message(self, message: Incoming) -> None:
        self._heard_at = time.monotonic()
        arrival = Arrival(message.topic, message.payload, message.retained, datetime.now(timezone.utc))
        while not self._closing.is_set():
            try:
                self.arrivals.put(arrival, timeout=_TURN_S)
            except queue.Full:
                continue
            return
