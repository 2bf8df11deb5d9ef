"""Brokers that refuse a publisher, or are not there: each case in words of its own."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from common.errors import BrokerError
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker
from mqttlink.probe import probe
from tests.publishing import publisher_to, put
from tests.waiting import free_port, until

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


def test_a_wrong_password_is_named_and_never_shown(
    open_mosquitto: Open, passwords: Path, topics: Topics, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = ["allow_anonymous false", f"password_file {passwords}"]
    wrong = {"username": "scope", "password": SecretStr("hunter2hunter2")}
    with open_mosquitto(config_lines=lines) as broker:
        with publisher_to(broker, topics, outbox, **wrong) as publisher:
            assert until(lambda: "refused user scope" in publisher.trouble)
            assert "mqtt.password" in publisher.trouble
        with pytest.raises(BrokerError, match=r"mqtt\.password") as refusal:
            probe(MqttSettings(port=broker.port, **wrong), 5)
        right = {"username": "scope", "password": SecretStr("right")}
        with publisher_to(broker, topics, outbox, **right) as publisher:
            assert publisher.wait_connected(10)
    assert "hunter2" not in caplog.text + str(refusal.value)


def test_a_publish_that_the_brokers_access_list_denies_is_kept_and_retried(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic write {topics.status}\n")
    with (
        open_mosquitto(config_lines=[f"acl_file {rules}"]) as broker,
        publisher_to(broker, topics, outbox) as publisher,
    ):
        put(outbox, make_report, 5)
        assert until(lambda: "(135)" in publisher.trouble)
        assert topics.frame in publisher.trouble
        assert "access list" in publisher.trouble
        assert outbox.count() == 5
        rules.write_text("topic readwrite #\n")
        os.kill(broker.pid, signal.SIGHUP)
        assert publisher.drain(20) == 0
        assert publisher.trouble == ""


def test_two_agents_of_one_name_get_a_hint(
    mosquitto: Broker, topics: Topics, outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with publisher_to(mosquitto, topics, outbox) as first, Outbox(tmp_path / "other", max_mb=8) as other:
        assert first.wait_connected(10)
        with publisher_to(mosquitto, topics, other):
            assert until(lambda: "perhaps another client has the same name (an agent: site and device)" in caplog.text)


def test_every_way_of_being_unreachable_has_its_own_words() -> None:
    with pytest.raises(BrokerError, match="nothing listens"):
        probe(MqttSettings(port=free_port()), 2)
    with pytest.raises(BrokerError, match="no address is known"):
        probe(MqttSettings(host="broker.invalid"), 2)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(BrokerError, match="is it an MQTT broker"):
        probe(MqttSettings(port=mute.getsockname()[1]), 0.3)


def test_probe_says_what_answered(mosquitto: Broker) -> None:
    assert probe(MqttSettings(port=mosquitto.port), 5) == f"127.0.0.1:{mosquitto.port} speaks MQTT 5"
