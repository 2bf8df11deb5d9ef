"""The connection that agent, collector and dashboard share, with real brokers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from devbroker.broker import Broker
from mqttlink.client import TooLarge
from mqttlink.connection import Connection
from mqttlink.inflight import Answer, Ticket
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings
from tests.strict import strict_broker
from tests.waiting import free_port

Open = Callable[..., Any]


class Node:
    """Keeps what a connection tells."""

    def __init__(self, port: int, name: str = "node", *, version: Literal["5", "3.1.1"] = "5", **options: Any) -> None:
        self.heard = list[Incoming]()
        self.answers: list[tuple[Ticket, bool]] = []
        self.connects = 0
        self.connection = Connection(
            BrokerSettings(port=port, version=version),
            name,
            on_connect=self._count,
            on_message=self.heard.append,
            **options,
        )

    def _count(self) -> None:
        self.connects += 1

    def answered(self, ticket: Ticket, answer: Answer) -> None:
        self.answers.append((ticket, answer.is_failure))

    def listen_until(self, truth: Callable[[], Any], timeout_s: float = 20) -> bool:
        deadline = time.monotonic() + timeout_s
        while not truth() and self.connection.is_open and time.monotonic() < deadline:
            self.connection.listen()
        return bool(truth())

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with self.connection.attempt():
            assert self.listen_until(lambda: self.connection.is_connected), self.connection.fault
            yield self.connection
            self.connection.disconnect()


@pytest.fixture
def node_at() -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(*given: Any, **options: Any) -> Node:
        nodes.append(Node(*given, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.connection.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_is_published_is_answered_to_its_sender_and_heard_by_who_is_subscribed(
    mosquitto: Broker, node_at: Callable[..., Node], version: str
) -> None:
    node, topic = node_at(mosquitto.port, version=version), f"link/{version}"
    with node.connected() as connection:
        asked = connection.subscribe([topic, f"{topic}/more"], answered=node.answered)
        assert node.listen_until(lambda: node.answers)
        said = connection.publish(f"{topic}/more", b"{}", answered=node.answered)
        assert node.listen_until(lambda: len(node.answers) == 2 and node.heard)
    assert node.answers == [(asked, False), (said, False)]
    assert (node.heard[0].topic, node.heard[0].payload) == (f"{topic}/more", b"{}")


def test_a_refusal_is_told_to_the_sender_of_the_message_that_is_refused(
    open_mosquitto: Open, node_at: Callable[..., Node], tmp_path: Path
) -> None:
    (tmp_path / "acl").write_text("topic write open/#\n")
    with open_mosquitto(config_lines=[f"acl_file {tmp_path / 'acl'}"]) as broker:
        node = node_at(broker.port)
        with node.connected() as connection:
            tickets = [
                connection.publish(topic, b"", answered=node.answered) for topic in ("shut/a", "open/a", "shut/b")
            ]
            assert node.listen_until(lambda: len(node.answers) == 3)
    assert dict(node.answers) == dict(zip(tickets, (True, False, True), strict=True))


def test_no_more_is_on_its_way_than_the_broker_takes_and_a_new_attempt_forgets_it(node_at: Callable[..., Node]) -> None:
    with strict_broker(at_once=2, answer_after_s=None) as (broker, port):
        node = node_at(port)
        for _ in range(2):
            with node.connected() as connection:
                assert connection.room == 2
                sent = [connection.publish("t", b"", answered=node.answered) for _ in range(3)]
                assert (None in sent, sent.index(None), connection.room) == (True, 2, 0)
                assert not node.listen_until(lambda: node.answers, 0.3)
        assert (broker.connects, broker.thrown_out, node.answers) == (2, 0, [])


def test_a_message_that_is_too_large_is_not_sent_and_the_connection_lasts(
    open_mosquitto: Open, node_at: Callable[..., Node]
) -> None:
    with open_mosquitto(config_lines=["max_packet_size 500"]) as broker:
        node = node_at(broker.port)
        with node.connected() as connection:
            assert connection.largest == 500
            with pytest.raises(TooLarge, match=r"\d+ bytes, and 500 are taken"):
                connection.publish("t", bytes(500))
            assert connection.publish("t", b"", answered=node.answered)
            assert node.listen_until(lambda: node.answers)


def test_a_message_that_is_not_acknowledged_comes_again_in_the_kept_session(
    mosquitto: Broker, node_at: Callable[..., Node]
) -> None:
    kept = {"session_s": 60, "at_once": 10, "manual_ack": True}
    first, second = (node_at(mosquitto.port, "kept", **kept) for _ in range(2))
    with first.connected() as connection:
        assert not connection.session_present
        connection.subscribe(["link/kept"], answered=first.answered)
        assert first.listen_until(lambda: first.answers)
        for body in (b"1", b"2"):
            connection.publish("link/kept", body)
        assert first.listen_until(lambda: len(first.heard) == 2)
        connection.acknowledge(first.heard[0].packet_id)
    with second.connected() as connection:
        assert connection.session_present
        assert second.listen_until(lambda: second.heard)
        assert not second.listen_until(lambda: len(second.heard) > 1, 0.3)
    assert [message.payload for message in first.heard + second.heard] == [b"1", b"2", b"2"]


def test_a_subscription_s_answer_under_a_message_s_packet_id_is_no_answer_to_the_message(
    node_at: Callable[..., Node],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with closing(server.accept()[0]) as caller:
                caller.recv(4096)
                caller.sendall(b"\x20\x03\0\0\0")
                caller.recv(4096)
                caller.sendall(b"\x90\x04\0\1\0\1")

        thread = threading.Thread(target=serve)
        thread.start()
        node = node_at(server.getsockname()[1])
        with node.connected() as connection:
            ticket = connection.publish("t", b"", answered=node.answered)
            node.listen_until(lambda: False)
        thread.join(10)
    assert ticket is not None
    assert (ticket.answer, node.answers, connection.fault.state) == (None, [], "broken")


def test_where_nobody_answers_the_fault_says_so_and_nothing_is_raised(node_at: Callable[..., Node]) -> None:
    node = node_at(free_port())
    with node.connection.attempt():
        assert not node.connection.is_open
        assert node.connection.publish("t", b"") is None
        assert node.connection.subscribe(["t"]) is None
    assert node.connection.fault.state == "unreachable"
    assert "nothing listens" in node.connection.fault


def time_out() -> None:
    raise TimeoutError


def test_an_error_of_the_network_in_the_block_ends_it_and_becomes_the_fault(
    mosquitto: Broker, node_at: Callable[..., Node]
) -> None:
    node = node_at(mosquitto.port)
    with node.connected():
        time_out()
    assert "does not answer" in node.connection.fault
    with node.connected() as connection:
        connection.publish("t", b"", answered=node.answered)
        assert node.listen_until(lambda: node.answers), "another attempt begins without it"
    assert node.connects == 2


def test_another_thread_ends_a_wait(mosquitto: Broker, node_at: Callable[..., Node]) -> None:
    node = node_at(mosquitto.port)
    with node.connected() as connection:
        connection.wake()
        began = time.monotonic()
        assert not connection.listen(), "nothing came"
        assert time.monotonic() - began < 0.2
