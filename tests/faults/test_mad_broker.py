"""A broker that has gone mad: packets damaged by the thousand close the connection at most, and end no thread."""

import logging
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from agent.settings import MqttSettings
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.responses import Incoming
from tests.faults.mutants import damaged

log = logging.getLogger(__name__)
WELCOME = b"\x20\x06\0\0\x03\x21\0\x14"
PACKETS = (
    WELCOME,
    b"\x40\x04\0\1\0\0",
    b"\x90\x04\0\1\0\1",
    b"\xd0\0",
    b"\xe0\x02\x8e\0",
    b"\x32\x12\0\x03a/b\0\x07\x09\x09\0\x04text{}",
    b"\x30\x09\0\x03a/b\0{} ",
    b"\x62\x02\0\1",
    b"\xb0\x04\0\1\0\0",
    b"\xf0\x02\x18\0",
)
"""MQTT 5, section 3: what a broker may say, and some of what it may not."""


class MadBroker:
    """Answers each connection with the next of its speeches and leaves."""

    def __init__(self, speech: Callable[[], bytes]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port, self._speech = int(self._server.getsockname()[1]), speech
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            with closing(caller), suppress(OSError):
                caller.recv(4096)
                caller.sendall(self._speech())
                caller.shutdown(socket.SHUT_WR)
                caller.settimeout(1)
                while caller.recv(4096):
                    pass


def speech_from(dice: random.Random) -> bytes:
    """A welcome, mostly, and up to three packets; each is whole, damaged within its length, or damaged anyhow."""
    said = [WELCOME] if dice.random() < 0.9 else []
    for _ in range(dice.randrange(1, 4)):
        packet = dice.choice(PACKETS)
        body = damaged(packet[2:], dice)[:127]
        said.append(dice.choice([packet, damaged(packet, dice), packet[:1] + bytes([len(body)]) + body]))
    return b"".join(said)


@pytest.fixture
def mad_broker() -> Iterator[MadBroker]:
    dice = random.Random(5)  # noqa: S311 - a test
    with closing(MadBroker(lambda: speech_from(dice))) as broker:
        yield broker


class Talker:
    """Says and asks something on each connection, as the publisher does, and counts what it hears."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()

    def converse(self, port: int) -> None:
        """One connection, from its beginning to its end."""
        self._connection = connection = Connection(
            MqttSettings(port=port), "mad", will=("w", b""), on_connect=self._greet, on_message=self._note_message
        )
        deadline = time.monotonic() + 10
        try:
            with connection.attempt():
                while connection.is_open:
                    connection.listen()
                    assert time.monotonic() < deadline
            self.heard[connection.fault.state] += 1
        finally:
            connection.disconnect()
            connection.close()

    def _greet(self) -> None:
        assert self._connection.room >= 0
        assert self._connection.largest >= 0
        self._connection.subscribe(["a/b"], answered=self._note_answer)
        self._connection.publish("a/b", b"{}", answered=self._note_answer)
        self.heard["connect"] += 1

    def _note_answer(self, _ticket: Ticket, answer: Answer) -> None:
        self.heard[f"answer {answer.is_failure}"] += 1

    def _note_message(self, message: Incoming) -> None:
        self.heard[f"message {type(message.payload).__name__}"] += 1


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.soak)])
def test_no_packet_ends_more_than_its_connection(mad_broker: MadBroker, count: int) -> None:
    talker = Talker()
    for _ in range(count):
        talker.converse(mad_broker.port)
    log.info("%d connections: %s", count, dict(talker.heard))
    assert talker.heard["message bytes"]
