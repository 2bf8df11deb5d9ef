"""No message fills the memory of who hears it, though MQTT 3.1.1 has no word for a bound and nobody announces one."""

import json
import queue
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from paho.mqtt.enums import MQTTErrorCode

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector.arrivals import Arrival
from collector.settings import CollectorSettings
from contract.messages import LARGEST_MESSAGE, FrameReport
from contract.topics import Topics
from dashboard.link import Link
from devbroker.broker import Broker, find_program
from mqttlink.client import ClientFactory
from mqttlink.connection import LARGEST_IN
from mqttlink.responses import Incoming
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting
from tests.waiting import until

Make = Callable[..., FrameReport]
Version = Literal["5", "3.1.1"]
BESIDE = 256 * 1024
"""Bytes of a packet beside its payload, at most, and some more."""
READ_AT_ONCE = 8_000_000
"""Bytes that paho reads before anybody can throw them away, and some more."""
SHORT = b"the short one"


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Topics:
    return Topics(prefix="bound", site="lab", device=request.node.name.replace("[", "-").strip("]")[-64:])


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=32) as outbox:
        yield outbox


@pytest.fixture
def say(mosquitto: Broker, tmp_path: Path) -> Callable[[str, int], None]:
    """Publish so many bytes on a topic, and then a short message."""
    program = [str(find_program("mosquitto_pub")), "-p", str(mosquitto.port), "-q", "1"]

    def publish(topic: str, size: int) -> None:
        (tmp_path / "long").write_bytes(b" " * size)
        subprocess.run([*program, "-t", topic, "-f", tmp_path / "long"], check=True)
        subprocess.run([*program, "-t", topic, "-m", SHORT], check=True)

    return publish


@pytest.mark.parametrize("largest", [1000, 200_000])
def test_what_comes_behind_the_bound_is_read_and_thrown_away(
    mosquitto: Broker, say: Callable[[str, int], None], largest: int
) -> None:
    heard: list[bytes] = []
    subscribed: list[Any] = []
    client = ClientFactory(BrokerSettings(port=mosquitto.port, version="3.1.1"), "", largest=largest).client()
    client.on_connect = lambda client, *_: client.subscribe("bound/any", qos=1)
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.on_message = lambda _client, _data, message: heard.append(bytes(message.payload))
    client.reconnect()

    def turn(done: list[Any], count: int) -> bool:
        return client.loop(0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS or len(done) == count

    assert until(lambda: turn(subscribed, 1))
    say("bound/any", 60_000_000)
    tracemalloc.start()
    try:
        assert until(lambda: turn(heard, 2), 60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    client.disconnect()
    long, short = heard
    assert (len(long) <= largest, short) == (True, SHORT)
    assert peak < largest + 3 * READ_AT_ONCE, "and not the 60 million bytes of the message"


def heard_of_a_publisher(
    mosquitto: Broker, topics: Topics, outbox: Outbox, version: Version, say: Callable[[str, int], None]
) -> list[int]:
    came = queue.Queue[Incoming]()
    settings = MqttSettings(port=mosquitto.port, version=version)
    with Publisher(settings, topics, outbox, forget_on="broker", version="1") as publisher:
        publisher.route(f"{topics.root}/bound", came.put)
        assert publisher.wait_connected(10)
        assert until(lambda: None not in publisher._beside._asked.values() and len(publisher._beside._asked) > 1)
        say(f"{topics.root}/bound", 10 * LARGEST_IN)
        sizes: list[int] = []
        while not sizes or sizes[-1] != len(SHORT):
            sizes.append(len(came.get(timeout=20).payload))
    return sizes


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_agent_takes_no_longer_message(
    mosquitto: Broker, topics: Topics, outbox: Outbox, version: Version, say: Callable[[str, int], None]
) -> None:
    """MQTT 5 tells the broker, which keeps it back; of 3.1.1 the beginning comes."""
    *long, short = heard_of_a_publisher(mosquitto, topics, outbox, version, say)
    assert short == len(SHORT)
    assert len(long) == (version == "3.1.1")
    assert all(LARGEST_IN - BESIDE < size <= LARGEST_IN for size in long)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_nor_does_a_collector(
    mosquitto: Broker,
    say: Callable[[str, int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: Version,
) -> None:
    sizes: list[int] = []

    def noted(topic: str, payload: bytes, at: Any) -> Arrival:
        sizes.append(len(payload))
        return Arrival(topic, payload, at)

    monkeypatch.setattr("collector.receive.Arrival", noted)
    name = f"bound-{version}"
    mqtt = BrokerSettings(port=mosquitto.port, prefix="bound", version=version)
    database = f"sqlite:///{tmp_path / 'c.sqlite'}"
    with collecting(CollectorSettings(name=name, device=name, mqtt=mqtt, database=database)):
        say(f"bound/v1/lab/{name}/frame", 3 * LARGEST_MESSAGE)
        assert until(lambda: sizes[-1:] == [len(SHORT)])
    *long, _ = sizes
    assert len(long) == (version == "3.1.1")
    assert all(size <= LARGEST_MESSAGE + BESIDE for size in long)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_nor_does_a_dashboard(mosquitto: Broker, say: Callable[[str, int], None], version: Version) -> None:
    with Link(BrokerSettings(port=mosquitto.port, version=version), f"bound-{version}/#") as link:
        link.wait_subscribed(10)
        say(f"bound-{version}/frame", 3 * LARGEST_MESSAGE)
        sizes: list[int] = []
        while not sizes or sizes[-1] != len(SHORT):
            sizes.append(len(link.arrivals.get(timeout=20).payload))
    *long, _ = sizes
    assert len(long) == (version == "3.1.1")
    assert all(size <= LARGEST_MESSAGE for size in long)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_report_that_no_subscriber_takes_stands_aside_whatever_the_broker_announces(
    mosquitto: Broker, topics: Topics, outbox: Outbox, make_report: Make, version: Version
) -> None:
    for seq in (1, 2, 3):
        body = json.loads(make_report(seq, outbox.epoch).model_dump_json())
        body["quality"]["detail"] = "x" * (LARGEST_MESSAGE if seq == 2 else 1)
        outbox.put(FrameReport.model_validate(body))
    settings = MqttSettings(port=mosquitto.port, version=version)
    with Publisher(settings, topics, outbox, forget_on="broker", version="1") as publisher:
        assert publisher.drain(20) == 1
        assert until(lambda: outbox.count() == 1)
        assert publisher.state == "online"
    [alarm] = outbox.alarms()
    assert "report 2" in alarm
