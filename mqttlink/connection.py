"""The connection to the MQTT broker that agent, collector and dashboard use: a new client for each attempt.

Its owner's thread does everything, network included: paho's callbacks only leave a note, and ``dispatch_events`` reads
the notes out. So nothing is shared with a network thread, and who is called back may publish, subscribe and disconnect.
"""

import select
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import LogLevel, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from contract.messages import CONTENT_TYPE, LARGEST_MESSAGE
from mqttlink.backoff import ReconnectBackoff
from mqttlink.client import CONNECT_S, NO_BOUND, Client, ClientFactory, TooLarge, incoming
from mqttlink.inflight import Answer, Answered, InFlight, Ticket
from mqttlink.properties import MessageProperties, message_properties, packet_bytes
from mqttlink.refusals import (
    NO_TROUBLE,
    Trouble,
    why_broken,
    why_hung_up,
    why_refused,
    why_taken_over,
    why_unanswered,
    why_unreachable,
)
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings
from mqttlink.wakeup import WakeUp

LARGEST_IN = 128 * 1024
"""Longest message that a broker may send us, in bytes, unless its owner says otherwise: nobody fills our memory."""
_AT_ONCE = 65535
"""What a broker takes at once that does not tell (MQTT 5, section 3.2.2.3.3)."""
_TURN_S = 0.25
_READ_AT_ONCE, _NOTED_BYTES = 64, 2**20
"""Packets that are read before the notes of them are read out, and bytes of the messages in these notes, at most."""
_NO_ANSWER = 141
"""paho's word for a ping that was not answered."""


class Connection:
    """The way to the broker. All but ``wake`` are for its owner's thread.

    Args:
        settings: the broker.
        client_id: two clients of one id throw each other out; empty: the broker gives one.
        on_connect: the broker has accepted us.
        on_message: somebody has published on a topic that is subscribed to.
        will: topic and body that the broker publishes, retained, if we vanish.
        largest: bytes of the longest packet that we take.
        session_s: seconds for which the broker keeps our messages while we are away.
        at_once: how many messages it may send before we have acknowledged one; 0: as many as it likes.
        manual_ack: a message is acknowledged only by ``acknowledge``.
        connect_s: longest wait for the broker's host.
        renewed: reads the settings again before each attempt.

    Attributes:
        backoff: how long to wait before the next attempt; its owner says when a connection counts as made.
        largest: bytes of the longest packet that may be sent on this connection.
        session_present: the broker has kept our subscriptions and messages.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        on_connect: Callable[[], None],
        on_message: Callable[[Incoming], None],
        will: tuple[str, bytes] | None = None,
        largest: int = LARGEST_IN,
        session_s: int = 0,
        at_once: int = 0,
        manual_ack: bool = False,
        connect_s: float = CONNECT_S,
        renewed: Callable[[], BrokerSettings] | None = None,
    ) -> None:
        self._settings, self._will, self._may_be_taken_over = settings, will, bool(client_id)
        self._on_connect, self._on_message = on_connect, on_message
        factory = ClientFactory(settings, client_id, renewed=renewed, largest=largest, connect_s=connect_s)
        self._new_client = partial(factory.client, session_s=session_s, at_once=at_once, manual_ack=manual_ack)
        self._client: Client | None = None
        self.backoff = ReconnectBackoff()
        self._notes: deque[Callable[[], None]] = deque()
        self._noted_bytes = 0
        self._properties = MessageProperties(settings)
        self._in_flight, self.largest = InFlight(), NO_BOUND
        self._subscriptions: dict[int, Ticket] = {}
        """Those that the broker has not answered, by packet id."""
        self._accepted = self.session_present = False
        self._fault, self._detail = NO_TROUBLE, ""
        self._wake_up = WakeUp()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Connect, or connect again, and be connected in the block; ``fault`` says afterwards why that ended.

        What an earlier connection left unanswered is forgotten here: who sent it sends it again. OSError and
        ValueError, which the network brings about, end the block and are not raised. Where nobody answers, the block
        is entered all the same, and ``is_open`` is false.
        """
        with self._noting_faults():
            self._connect()
        with self._noting_faults():
            yield
        with self._noting_faults():
            self.dispatch_events()

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as cause:
            self._fault = why_unreachable(cause, self._settings)
            self.backoff.failed()

    def _connect(self) -> None:
        self._notes.clear()
        self._subscriptions.clear()
        self._in_flight.begin(0)
        self._accepted, self._fault, self._detail = False, NO_TROUBLE, ""
        self._client = client = self._new_client()
        if self._will:
            properties = message_properties(self._settings, PacketTypes.WILLMESSAGE)
            client.will_set(*self._will, qos=1, retain=True, properties=properties)
        self._take_notes_of(client)
        client.reconnect()

    @property
    def is_open(self) -> bool:
        """Whether there is a socket; the broker may not have accepted us yet."""
        return self._client is not None and self._client.socket() is not None

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us, and the connection still stands."""
        return self._accepted and self.is_open

    @property
    def fault(self) -> Trouble:
        """Why the latest attempt ended, or what is wrong with it, in words."""
        return self._fault or why_hung_up(self._detail, self._settings)

    @property
    def room(self) -> int:
        """How many messages the broker takes before it has answered one of those on their way."""
        return self._in_flight.room

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be written to the network."""
        return self._client is not None and self._client.want_write()

    def listen(self, *, wait: bool = True, within_s: float = _TURN_S) -> bool:
        """Let paho read and write, and dispatch what has happened; whether anything came.

        A broker that takes messages and answers none is left here.

        Args:
            wait: a little for the network, or for ``wake``.
            within_s: longest such wait, for who has something to do before it would end by itself.
        """
        client = self._client
        sock: Any = client.socket() if client else None
        if client is None or sock is None:  # closed since somebody asked ``is_open``, by a ``disconnect``
            return False
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        poller.register(self._wake_up, select.POLLIN)
        buffered = isinstance(sock, ssl.SSLSocket) and bool(sock.pending())
        wait_ms = 1000 * min(within_s, _TURN_S) if wait and not buffered else 0
        ready = {descriptor for descriptor, _ in poller.poll(wait_ms)}
        if self._wake_up.fileno() in ready:
            self._wake_up.clear()
        came = buffered or sock.fileno() in ready
        if came:
            self._read(client, sock)
        if client.want_write():
            client.loop_write()
        client.loop_misc()
        self.dispatch_events()
        if self._in_flight.overdue:
            self.disconnect(why_unanswered(self._settings))
            self._client = None  # it may take nothing any more, not even that
        return came

    def _read(self, client: Client, sock: Any) -> None:
        """Read what has come, up to a bound; paho takes one message at a time."""
        readable = select.poll()
        readable.register(sock, select.POLLIN)
        for _ in range(_READ_AT_ONCE):
            client.loop_read()
            if client.socket() is not sock or self._noted_bytes >= _NOTED_BYTES or not readable.poll(0):
                return

    def dispatch_events(self) -> None:
        """Call back for all that has happened since."""
        while self._notes:
            self._notes.popleft()()
        self._noted_bytes = 0

    def wake(self) -> None:
        """End a wait in ``listen`` early; any thread may."""
        self._wake_up.wake()

    def publish(
        self,
        topic: str,
        body: bytes,
        *,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
        reply_to: str = "",
        media_type: str = CONTENT_TYPE,
        answered: Answered | None = None,
    ) -> Ticket | None:
        """Send a message with QoS 1; its ticket, or None if the broker takes no more before it has answered.

        Args:
            topic: without wildcards.
            body: JSON, or what ``media_type`` says.
            retain: the broker keeps it for who comes later.
            expiry_s: seconds after which the broker throws it away; 0: never. Only with MQTT 5.
            correlation: the correlation data of the request that it answers. Only with MQTT 5.
            reply_to: topic for an answer to this. Only with MQTT 5.
            media_type: of the body. Only with MQTT 5.
            answered: gets the ticket and the broker's answer; is not called if the connection ends before that.

        Raises:
            TooLarge: it will not be taken on this connection, however often it is tried.
        """
        if self._client is None or not self._in_flight.room:
            return None
        properties = self._properties.of(
            body, expiry_s=expiry_s, correlation=correlation, reply_to=reply_to, media_type=media_type
        )
        if (size := packet_bytes(topic, body, properties)) > self.largest:
            raise TooLarge(size, self.largest)
        info = self._client.publish(topic, body, 1, retain, properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return None
        return self._in_flight.sent(info.mid, answered)

    def subscribe(
        self, topics: Sequence[str], *, retain_as_published: bool = False, answered: Answered | None = None
    ) -> Ticket | None:
        """Ask for the messages of topics with QoS 1; the question's ticket, or None without a connection.

        Args:
            topics: asked for in one packet; where the broker refuses one, that is its answer.
            retain_as_published: tell of each message whether it is a retained one. Only with MQTT 5.
            answered: as in ``publish``.
        """
        if self._client is None:
            return None
        if self._settings.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=retain_as_published)
            _, packet_id = self._client.subscribe([(topic, options) for topic in topics])
        else:
            _, packet_id = self._client.subscribe([(topic, 1) for topic in topics])
        if packet_id is None:
            return None
        ticket = self._subscriptions[packet_id] = Ticket(answered)
        return ticket

    def acknowledge(self, packet_id: int) -> None:
        """Tell the broker that a message is safe here; for connections with ``manual_ack``."""
        if self._client is not None:
            self._client.ack(packet_id, 1)

    def disconnect(self, why: Trouble = NO_TROUBLE) -> None:
        """Leave in good order: the broker forgets the will. ``why`` becomes the ``fault``."""
        self._fault = why or self._fault
        if self._client is not None:
            self._client.disconnect()

    def close(self) -> None:
        """Give back what ``wake`` needs; the connection is not to be used any more."""
        self._wake_up.close()

    # What paho tells us, and what comes of it.

    def _take_notes_of(self, client: Client) -> None:
        note = self._note

        def on_connect(_c: Any, _u: Any, flags: Any, reason: Any, properties: Any) -> None:
            at_once = getattr(properties, "ReceiveMaximum", _AT_ONCE)
            largest = getattr(properties, "MaximumPacketSize", NO_BOUND)
            note(self._welcomed, reason, at_once, largest, session_present=flags.session_present)

        def on_message(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
            self._noted_bytes += len(message.payload)
            note(self._on_message, incoming(message))

        def on_subscribe(_c: Any, _u: Any, packet_id: int, reasons: Any, _p: Any) -> None:
            refused = (reason for reason in reasons if reason.is_failure)
            note(self._subscribed, packet_id, next(refused, reasons[0]))

        client.suppress_exceptions = True
        client.on_connect, client.on_message, client.on_subscribe = on_connect, on_message, on_subscribe
        client.on_disconnect = lambda _c, _u, flags, reason, _p: note(
            self._ended, reason, by_broker=flags.is_disconnect_packet_from_server
        )
        client.on_publish = lambda _c, _u, packet_id, reason, _p: note(self._published, packet_id, reason)
        client.on_log = lambda _c, _u, level, text: note(self._failed, text) if level == LogLevel.MQTT_LOG_ERR else None

    def _note(self, handler: Callable[..., None], *arguments: Any, **named: Any) -> None:
        self._notes.append(partial(handler, *arguments, **named))

    def _welcomed(self, answer: Answer, at_once: int, largest: int, *, session_present: bool) -> None:
        if answer.is_failure:
            self._fault = why_refused(answer, self._settings)
            return
        self._accepted, self.session_present = True, session_present
        self._in_flight.begin(at_once)
        self.largest = min(largest, LARGEST_MESSAGE)
        self._on_connect()

    def _published(self, packet_id: int, answer: Answer) -> None:
        if ticket := self._in_flight.answered(packet_id):
            ticket.settle(answer)

    def _subscribed(self, packet_id: int, answer: Answer) -> None:
        if ticket := self._subscriptions.pop(packet_id, None):
            ticket.settle(answer)

    def _ended(self, answer: Answer, *, by_broker: bool) -> None:
        if by_broker:
            self._fault = why_refused(answer, self._settings)
        elif self._accepted and not self._fault:
            if answer.value == _NO_ANSWER and not self._detail:
                self._detail = "nothing has come from there for too long"
            again = self.backoff.closed() and not self._detail  # a broken network has more to say
            taken_over = again and self._may_be_taken_over
            self._fault = why_taken_over(self._settings) if taken_over else why_broken(self._detail, self._settings)

    def _failed(self, text: str) -> None:
        self._detail = text.removeprefix("failed to receive on socket: ")
