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
from agent.wire.mqtt import Answer, Connection
from agent.wire.responses import Incoming
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


class Notebook:
    """Hears what the publisher would hear."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()

    def on_connect(self, _answer: Answer, at_once: int, largest: int) -> None:
        assert at_once >= 0
        assert largest >= 0
        self.heard["connect"] += 1

    def on_disconnect(self, _answer: Answer, *, by_broker: bool) -> None:
        self.heard[f"disconnect {by_broker}"] += 1

    def on_published(self, _ticket: int, answer: Answer) -> None:
        self.heard[f"published {answer.is_failure}"] += 1

    def on_subscribed(self, _ticket: int, answer: Answer) -> None:
        self.heard[f"subscribed {answer.is_failure}"] += 1

    def on_message(self, message: Incoming) -> None:
        self.heard[f"message {type(message.payload).__name__}"] += 1

    def on_error(self, text: str) -> None:
        self.heard[f"error {bool(text)}"] += 1


def converse(port: int, book: Notebook) -> None:
    """One connection, as the publisher holds it; what it takes for an unreachable broker may come out of it."""
    connection = Connection(MqttSettings(port=port), "mad", will=("w", b""), listener=book)
    try:
        with suppress(OSError, ValueError):
            connection.open()
            deadline = time.monotonic() + 10
            while connection.is_open:
                connection.listen()
                connection.dispatch_events()
                assert time.monotonic() < deadline
    finally:
        connection.hang_up()
        connection.free()


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.soak)])
def test_no_packet_ends_more_than_its_connection(mad_broker: MadBroker, count: int) -> None:
    book = Notebook()
    for _ in range(count):
        converse(mad_broker.port, book)
    log.info("%d connections: %s", count, dict(book.heard))
    assert book.heard["message bytes"]
