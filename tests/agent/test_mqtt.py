"""The publisher against real brokers: what is on the wire."""

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, open_broker
from mqttlink.probe import probe
from tests.publishing import health_of, publisher_apart, publisher_to, put, seqs_of
from tests.waiting import until

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


def test_reports_arrive_in_order_valid_and_marked(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with publisher_to(mosquitto, topics, outbox) as publisher:
        seqs = put(outbox, make_report, 200)
        messages = listener.take(200)
        assert publisher.drain(10) == 0
        assert outbox.count() == 0
    assert seqs_of(messages) == seqs
    schema = Draft202012Validator(FrameReport.model_json_schema(mode="serialization"))
    for message in messages:
        schema.validate(json.loads(message["payload"]))
        assert (message["qos"], message["retain"]) == (1, 0)
        assert message["properties"]["content-type"] == "application/json"
        assert message["properties"]["user-properties"] == {"schema_version": "2"}


def test_a_report_that_an_earlier_release_left_in_the_outbox_is_sent_as_it_was_written_and_says_its_version(
    mosquitto: Broker,
    subscribe: Open,
    device: str,
    topics: Topics,
    outbox: Outbox,
    make_report: Make,
    tmp_path: Path,
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    for seq in (1, 2):
        outbox.put(make_report(seq, outbox.epoch, device=device))
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as earlier, earlier:
        earlier.execute(
            "update report set body = cast(replace(cast(body as text), "
            """'"schema_version":2', '"schema_version":1') as blob) where seq = 1"""
        )
        [(body,)] = earlier.execute("select body from report where seq = 1")
    with publisher_to(mosquitto, topics, outbox) as publisher:
        first, second = listener.take(2)
        assert publisher.drain(10) == 0
    assert json.loads(first["payload"]) == json.loads(body)
    assert json.loads(body)["schema_version"] == 1
    versions = [message["properties"]["user-properties"]["schema_version"] for message in (first, second)]
    assert versions == ["1", "2"]


def test_status_is_online_while_it_runs_and_stopped_after_an_orderly_end(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox
) -> None:
    with publisher_to(mosquitto, topics, outbox) as publisher:
        assert publisher.wait_connected(10)
        assert publisher.alive
        online = subscribe(mosquitto, topics.status).next()
    assert (online["retain"], json.loads(online["payload"])["state"]) == (1, "online")
    assert json.loads(online["payload"])["version"] == "1.2.3"
    stopped = subscribe(mosquitto, topics.status).next()
    assert (stopped["retain"], json.loads(stopped["payload"])["state"]) == (1, "stopped")
    assert not publisher.alive


def test_an_end_before_the_brokers_welcome_is_an_orderly_end(topics: Topics, outbox: Outbox) -> None:
    """A fault on the publisher's thread would be a warning, and so an error here."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with publisher_to(mute.getsockname()[1], topics, outbox) as publisher:
            caller, _ = mute.accept()
        caller.close()
        assert not publisher.alive


def test_stopped_comes_after_the_last_report(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, f"{topics.root}/#")
    with publisher_to(mosquitto, topics, outbox) as publisher:
        put(outbox, make_report, 30)
        publisher.drain(10)
        publisher.health(health_of(30))
    names = [message["topic"].rsplit("/", 1)[-1] for message in listener.take(33)]
    assert names == ["status", *["frame"] * 30, "health", "status"]


def test_a_killed_agent_is_offline_by_its_will(
    mosquitto: Broker, subscribe: Open, topics: Topics, device: str, make_report: Make, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, topics.status)
    with publisher_apart(mosquitto, tmp_path / "o", make_report(device=device), total=1) as process:
        assert json.loads(listener.next()["payload"])["state"] == "online"
        process.kill()
        assert json.loads(listener.next()["payload"])["state"] == "offline"


def test_the_latest_health_is_retained_and_said_again_after_a_reconnect(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox
) -> None:
    with open_mosquitto() as broker, publisher_to(broker, topics, outbox) as publisher:
        assert publisher.wait_connected(10)
        publisher.health(health_of(1))
        publisher.health(health_of(2))
        listener = subscribe(broker, topics.health)
        message = listener.next()
        while json.loads(message["payload"])["frames"] != 2:
            message = listener.next()
        listener.close()
        os.kill(broker.pid, signal.SIGKILL)
        assert until(lambda: publisher.trouble)
        with open_mosquitto(port=broker.port) as again:
            assert until(lambda: not publisher.trouble)
            assert json.loads(subscribe(again, topics.health).next()["payload"])["frames"] == 2


def test_speaks_mqtt_3_1_1_with_the_broker_in_python(topics: Topics, outbox: Outbox, make_report: Make) -> None:
    with open_broker(allow=["embedded"]) as broker:
        assert broker.version == "3.1.1"
        with publisher_to(broker, topics, outbox, version="3.1.1") as publisher:
            put(outbox, make_report, 50)
            assert publisher.drain(20) == 0
        assert outbox.count() == 0
        assert probe(MqttSettings(port=broker.port, version="3.1.1"), 5).endswith("3.1.1")


def test_an_old_subscriber_reads_what_a_publisher_without_mqtt_5_sends(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame, "-V", "mqttv311")
    with publisher_to(mosquitto, topics, outbox, version="3.1.1"):
        put(outbox, make_report, 5)
        messages = listener.take(5)
    assert [FrameReport.model_validate_json(message["payload"]).seq for message in messages] == [1, 2, 3, 4, 5]


def test_what_waited_while_the_agent_was_given_another_name_goes_out_under_the_new_one(
    mosquitto: Broker, subscribe: Open, outbox: Outbox, make_report: Make
) -> None:
    """Consumers believe a report only on the topics of the agent that it names."""
    put(outbox, make_report, 3)
    moved = Topics(prefix="test", site='w"ard', device="scope-9")
    listener = subscribe(mosquitto, moved.frame)
    with publisher_to(mosquitto, moved, outbox) as publisher:
        outbox.put(make_report(4, outbox.epoch, site='w"ard', device="scope-9", slide_id='"device":'))
        messages = listener.take(4)
        assert publisher.drain(10) == 0
    reports = [FrameReport.model_validate_json(message["payload"]) for message in messages]
    assert [(report.site, report.device, report.seq) for report in reports] == [
        ('w"ard', "scope-9", seq) for seq in (1, 2, 3, 4)
    ]
