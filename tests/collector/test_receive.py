"""The collector against a real broker: what it acknowledges, when, and what it does when things break."""

import json
import queue
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.receive import Collector
from collector.settings import CollectorSettings
from contract.messages import FrameReport
from devbroker.broker import Broker, find_program
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting as in_a_thread
from tests.collecting import until

Make = Callable[..., FrameReport]
Open = Callable[..., AbstractContextManager[Broker]]
Collecting = Callable[..., AbstractContextManager[Collector]]


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test's agent, so that tests can share a broker."""
    return str(request.node.name)[-60:].strip("[]").replace("[", "-")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collected.sqlite"


@pytest.fixture
def collecting(path: Path, device: str) -> Collecting:
    """A collector in a thread: ``collecting(broker, **settings)``; subscribed when entered, unless ``wait=False``."""

    @contextmanager
    def start(broker: Broker, *, wait: bool = True, **changes: Any) -> Iterator[Collector]:
        mqtt = BrokerSettings(port=broker.port, prefix="test", **changes.pop("mqtt", {}))
        settings = CollectorSettings(name=device, device=device, mqtt=mqtt, database=f"sqlite:///{path}", **changes)
        with in_a_thread(settings, wait=wait) as collector:
            yield collector

    return start


def publish(broker: Broker, topic: str, *payloads: bytes) -> None:
    """One connection, one message after the other, each with QoS 1."""
    program = str(find_program("mosquitto_pub"))
    command = [program, "-V", "mqttv5", "-p", str(broker.port), "-q", "1", "-t", topic, "-l"]
    subprocess.run(command, input=b"\n".join(payloads) + b"\n", check=True)


def bodies(make_report: Make, device: str, *seqs: int) -> list[bytes]:
    return [make_report(seq, device=device).model_dump_json().encode() for seq in seqs]


def stored(path: Path) -> list[int]:
    database = sqlite3.connect(path)
    found = [int(seq) for (seq,) in database.execute("select seq from report order by seq")]
    database.close()
    return found


def test_acknowledges_what_it_has_stored_and_not_over_a_gap(
    mosquitto: Broker, subscribe: Open, collecting: Collecting, path: Path, make_report: Make, device: str
) -> None:
    listener: Any = subscribe(mosquitto, f"test/v1/lab/{device}/ack")
    with collecting(mosquitto):
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1, 2, 4))
        while (upto := json.loads(listener.next()["payload"])["upto"]) < 2:
            pass
        assert upto == 2
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 3))
        last = listener.next()
    assert json.loads(last["payload"]) == {"epoch": "0123456789abcdef", "upto": 4, "seen": 4}
    assert (last["qos"], last["retain"]) == (1, 0)
    assert stored(path) == [1, 2, 3, 4]


def test_says_nothing_while_its_database_is_locked_and_stores_everything_afterwards(
    mosquitto: Broker,
    subscribe: Open,
    collecting: Collecting,
    path: Path,
    make_report: Make,
    device: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The broker still holds the messages, too: nothing was acknowledged to it."""
    listener: Any = subscribe(mosquitto, f"test/v1/lab/{device}/ack")
    with collecting(mosquitto) as collector:
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1))
        assert json.loads(listener.next()["payload"])["upto"] == 1
        intruder = sqlite3.connect(path, isolation_level=None)
        intruder.execute("begin exclusive")
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 2, 3))
        assert until(lambda: "locked" in caplog.text)
        with pytest.raises(queue.Empty):
            listener.next(0.5)
        intruder.execute("rollback")
        intruder.close()
        assert json.loads(listener.next(20)["payload"])["upto"] == 3
        assert collector.totals.new == 3
    assert stored(path) == [1, 2, 3]


def test_what_was_not_acknowledged_to_the_broker_comes_again_to_the_next_collector(
    mosquitto: Broker, collecting: Collecting, path: Path, make_report: Make, device: str
) -> None:
    """The first one receives and never stores, for its database is locked until it is gone."""
    with collecting(mosquitto) as first:
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1))
        assert until(lambda: first.totals.new == 1)
        intruder = sqlite3.connect(path, isolation_level=None)
        intruder.execute("begin exclusive")
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 2, 3))
        assert until(lambda: len(first._held) == 2)
    intruder.execute("rollback")
    intruder.close()
    assert stored(path) == [1]
    with collecting(mosquitto) as second:
        assert until(lambda: second.totals.new == 2)
    assert stored(path) == [1, 2, 3]


def test_the_broker_keeps_messages_while_the_collector_is_away(
    mosquitto: Broker, collecting: Collecting, path: Path, make_report: Make, device: str
) -> None:
    with collecting(mosquitto):
        pass
    publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, *range(1, 101)))
    with collecting(mosquitto) as collector:
        assert until(lambda: collector.totals.new == 100)
    assert stored(path) == list(range(1, 101))


def test_nonsense_neither_stops_it_nor_fills_the_disk(
    mosquitto: Broker, collecting: Collecting, path: Path, make_report: Make, device: str
) -> None:
    nonsense = [b"{%d" % number for number in range(300)]
    with collecting(mosquitto) as collector:
        for name in ("frame", "health", "slide", "status"):
            publish(mosquitto, f"test/v1/lab/{device}/{name}", *nonsense)
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1))
        assert until(lambda: collector.totals.new == 1)
        assert collector.totals.quarantined == 1200
    assert stored(path) == [1]


def test_one_that_may_not_acknowledge_only_stores(
    mosquitto: Broker, subscribe: Open, collecting: Collecting, make_report: Make, device: str
) -> None:
    listener: Any = subscribe(mosquitto, f"test/v1/lab/{device}/ack")
    with collecting(mosquitto, acknowledge=False) as collector:
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1))
        assert until(lambda: collector.totals.new == 1)
    with pytest.raises(queue.Empty):
        listener.next(0.3)


def test_says_why_the_broker_refuses_it(
    open_mosquitto: Open, collecting: Collecting, caplog: pytest.LogCaptureFixture
) -> None:
    with open_mosquitto(config_lines=["allow_anonymous false"]) as broker, collecting(broker, wait=False):
        assert until(lambda: "refused user anonymous: Not authorized (135); no user name is set" in caplog.text)
        assert "mqtt.username" in caplog.text


def test_an_old_broker_will_do(
    mosquitto: Broker, collecting: Collecting, path: Path, make_report: Make, device: str
) -> None:
    with collecting(mosquitto, mqtt={"version": "3.1.1"}) as collector:
        publish(mosquitto, f"test/v1/lab/{device}/frame", *bodies(make_report, device, 1))
        assert until(lambda: collector.totals.new == 1)
    assert stored(path) == [1]
