"""What slow and hostile clients of the metrics can do: nothing."""

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from agent.ops.prometheus import DEADLINE_S, MOST_CLIENTS, served
from contract.health_messages import Health
from tests.monitoring import FULL, get, serving


@pytest.mark.parametrize("nonsense", [b"", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000])
def test_nonsense_does_not_end_the_service(nonsense: bytes) -> None:
    with serving() as port:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(nonsense)
        assert get(port, "/healthz")[0] == 200


def connected(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]


def drip(client: socket.socket, ended: threading.Event) -> None:
    """A request that never ends, a byte at a time."""
    with suppress(OSError), client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        while not ended.wait(0.05):
            client.sendall(b"a")


@pytest.mark.parametrize("clients", [1, MOST_CLIENTS, 3 * MOST_CLIENTS])
def test_slow_clients_hold_up_nobody_and_no_stop(clients: int) -> None:
    ended = threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        with serving() as port:
            slow = [pool.submit(drip, client, ended) for client in connected(port, clients)]
            assert [get(port, page)[0] for page in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        dropped = [task.exception(DEADLINE_S / 2) for task in slow]  # the stop did: nobody's time was over
        ended.set()
    assert dropped == [None] * clients


def test_a_request_has_one_deadline_however_little_comes_at_a_time() -> None:
    ended = threading.Event()
    with serving() as port, ThreadPoolExecutor(1) as pool:
        task = pool.submit(drip, connected(port, 1)[0], ended)
        try:
            task.result(10 * DEADLINE_S)
        finally:
            ended.set()


def test_a_client_that_reads_nothing_holds_up_nobody() -> None:
    with serving() as port:
        clients = connected(port, 2 * MOST_CLIENTS)
        for client in clients:
            with suppress(OSError):  # it is dropped already
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert get(port, "/healthz")[0] == 200
        for client in clients:
            client.close()


def test_while_the_disk_stands_still_probes_are_answered_and_metrics_say_why_they_are_not() -> None:
    flows, asked = threading.Event(), threading.Event()

    def stuck() -> Health:
        asked.set()
        flows.wait(60)
        return FULL

    with ThreadPoolExecutor(1) as pool, serving(stuck) as port:
        first = pool.submit(get, port, "/metrics")
        try:
            assert asked.wait(10)
            status, _, text = get(port, "/metrics")
            assert (status, "does the outbox's disk answer?" in text) == (503, True)
            assert get(port, "/healthz")[0] == 200
        finally:
            flows.set()
        with suppress(OSError, http.client.HTTPException):  # its time may be over
            first.result(10)


def test_it_listens_on_loopback_alone() -> None:
    with serving() as port:
        table = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    listening = [line.split()[1] for line in table.splitlines() if f":{port:04X} " in line and " 0A " in line]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_port_that_is_taken_is_an_alarm_and_not_the_end() -> None:
    with serving() as port, served(port, {}) as alarm:
        assert f"`metrics.port` {port} can not be listened at (Address already in use)" in alarm
