"""Home Assistant: the device is described on every connect, and its templates read our messages."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from agent.settings import MqttSettings
from agent.wire.discovery import birth_topic, discovery, discovery_topic
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.health_messages import Health, Status
from contract.messages import ModelInfo, SlideSummary
from contract.requests import COMMANDS, CommandName
from contract.topics import Topics
from devbroker.broker import Broker, find_program

Open = Callable[..., Any]
TOPICS = Topics(prefix="microscopy", site="lab.1", device="scope-1")
NOW = datetime.now(timezone.utc)


def summary(**changes: Any) -> SlideSummary:
    counts = {"frames": 9, "refused": 1, "cells": 20, "normal": 12, "blasts": 4, "uncertain": 3, "not_judged": 1}
    model = ModelInfo(id="blast-1", sha256="0" * 64, engine="onnxruntime-int8")
    whole = {"slide_id": "B-7", "count_id": "r-s1", "state": "open", "started_at": NOW, "at": NOW, "jumps": 0}
    return SlideSummary.model_validate({**whole, **counts, "model": model, "blast_fraction": 0.25, **changes})


def health(**changes: Any) -> Health:
    whole = {"at": NOW, "frames": 9, "refused": 1, "cells": 20, "dropped": {"skipped": 2, "outbox_full": 3}}
    return Health.model_validate({**whole, "queued": 7, "engine": "onnxruntime-int8", **changes})


def sensors(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: part for key, part in message["cmps"].items() if "stat_t" in part}


def test_the_description_has_what_home_assistant_asks_for() -> None:
    message = json.loads(discovery(TOPICS, "1.2.3", commands=COMMANDS, pictures=True))
    assert message["dev"]["ids"]
    assert message["o"]["name"] == "microscope-agent"
    assert message["avty"][0]["t"] == TOPICS.status
    names = [component["uniq_id"] for component in message["cmps"].values()]
    assert len(set(names)) == len(names) >= 10
    assert {component["p"] for component in message["cmps"].values()} == {"sensor", "binary_sensor", "button", "image"}
    for component in sensors(message).values():
        assert component["p"] in {"sensor", "binary_sensor"}
        assert component["stat_t"] in {TOPICS.slide, TOPICS.health}
        assert ("stat_cla" in component) <= (component["p"] == "sensor")


@pytest.mark.parametrize(
    ("commands", "buttons"),
    [
        (tuple(COMMANDS), {"slide/stop", "source/restart", "model/reload"}),
        (("slide/start", "slide/stop", "snapshot"), {"slide/stop"}),
        ((), set()),
    ],
)
def test_a_button_presses_each_command_that_is_allowed_and_needs_no_word(
    commands: tuple[CommandName, ...], buttons: set[str]
) -> None:
    parts = json.loads(discovery(TOPICS, "1", commands=commands))["cmps"].values()
    pressed = {part["cmd_t"].removeprefix(f"{TOPICS.root}/command/"): part for part in parts if part["p"] == "button"}
    assert set(pressed) == buttons
    for name, part in pressed.items():
        request = COMMANDS[name].request.model_validate_json(part["pl_prs"])
        assert request.asked_by == "Home Assistant"
        assert part["ret"] is False


def test_the_latest_frame_is_described_only_where_it_is_said() -> None:
    assert "picture" not in json.loads(discovery(TOPICS, "1"))["cmps"]
    shown = json.loads(discovery(TOPICS, "1", pictures=True))["cmps"]["picture"]
    assert (shown["p"], shown["img_t"], shown["cont_type"]) == ("image", f"{TOPICS.root}/picture", "image/jpeg")


def test_names_that_look_alike_in_home_assistants_letters_stay_apart() -> None:
    topic = discovery_topic("homeassistant", TOPICS)
    assert topic.startswith("homeassistant/device/microscope_lab_1_scope-1_")
    assert topic.endswith("/config")
    twin = Topics(prefix="microscopy", site="lab_1", device="scope-1")
    assert discovery_topic("homeassistant", twin) != topic


def test_every_template_reads_our_messages() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="the language of the templates; it comes with torch")
    message = json.loads(discovery(TOPICS, "1.2.3"))

    def value(template: str, said: Any) -> str:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
        return str(environment.from_string(template).render(value_json=json.loads(said.model_dump_json())))

    said = health(alarms=["the disk is full", "no camera"], frame_age_s=2.345)
    bodies = {TOPICS.slide: summary(), TOPICS.health: said}
    values = {key: value(part["val_tpl"], bodies[part["stat_t"]]) for key, part in message["cmps"].items()}
    assert values["cells"] == "20"
    assert values["blasts"] == "4"
    assert values["blast_fraction"] == "25.0"
    assert values["dropped"] == "5"
    assert values["queued"] == "7"
    assert values["engine"] == "onnxruntime-int8"
    assert values["alarm"] == "ON"
    assert value(message["cmps"]["alarm"]["val_tpl"], health()) == "OFF"
    assert values["alarm_text"] == "the disk is full; no camera"
    words = message["cmps"]["alarm_text"]["val_tpl"]
    assert value(words, health()) == "none"
    assert len(value(words, health(alarms=["so long " * 100]))) == 255  # Home Assistant takes no more
    assert values["frame_age"] == "2.3"
    assert value(message["cmps"]["frame_age"]["val_tpl"], health()) == "None"
    share = message["cmps"]["blast_fraction"]["val_tpl"]
    assert value(share, summary(blast_fraction=None)) == "None"  # which Home Assistant takes for "unknown"
    there = message["avty"][0]["val_tpl"]
    assert [value(there, Status(state=state)) for state in ("online", "offline", "stopped")] == [
        "online",
        "offline",
        "offline",
    ]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        yield outbox


def publisher_to(broker: Broker, outbox: Outbox, version: str = "5") -> Publisher:
    settings = MqttSettings.model_validate({"port": broker.port, "version": version})
    return Publisher(settings, TOPICS, outbox, forget_on="broker", version="1")


def describe(publisher: Publisher) -> str:
    """As the service does."""
    topic, message = discovery_topic("ha", TOPICS), discovery(TOPICS, "1")
    say = publisher.speaker(topic)
    say(message)
    publisher.route(birth_topic("ha"), lambda _: say(message))
    return topic


def test_it_is_said_on_every_connect_and_when_home_assistant_was_born(
    open_mosquitto: Open, subscribe: Open, outbox: Outbox
) -> None:
    with open_mosquitto() as broker, publisher_to(broker, outbox) as publisher:
        topic = describe(publisher)
        listener = subscribe(broker, topic)
        first = listener.next()
        assert json.loads(first["payload"])["o"]["sw"] == "1"
        born = [str(find_program("mosquitto_pub")), "-p", str(broker.port), "-q", "1", "-t", "ha/status"]
        subprocess.run([*born, "-m", "online"], check=True)
        assert listener.next()["payload"] == first["payload"]
        os.kill(broker.pid, signal.SIGKILL)
        listener.close()
        with open_mosquitto(port=broker.port) as again:
            kept = subscribe(again, topic).next(30)
            assert kept["payload"] == first["payload"]
            assert publisher.alive


def test_a_broker_that_denies_it_is_named_and_reports_still_leave(
    open_mosquitto: Open, outbox: Outbox, make_report: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic readwrite {TOPICS.root}/#\n")
    with open_mosquitto(config_lines=[f"acl_file {rules}"]) as broker, publisher_to(broker, outbox) as publisher:
        topic = describe(publisher)
        outbox.put(make_report(1, outbox.epoch))
        assert publisher.drain(20) == 0
        assert publisher.wait_connected(10)
        publisher.health(health())
        assert publisher.drain(20) == 0
    assert topic in caplog.text
    assert publisher.state == "online"


def test_health_expires_and_what_must_not_be_lost_does_not(
    mosquitto: Broker, subscribe: Open, outbox: Outbox, make_report: Open
) -> None:
    listener = subscribe(mosquitto, f"{TOPICS.root}/#")
    with publisher_to(mosquitto, outbox) as publisher:
        publisher.health(health())
        publisher.slide(summary())
        outbox.put(make_report(1, outbox.epoch))
        heard = {message["topic"]: message["properties"] for message in listener.take(4)}
    assert {topic.rpartition("/")[2] for topic, marks in heard.items() if "message-expiry-interval" in marks} == {
        "health"
    }


def test_a_broker_without_mqtt_5_has_the_description_too(mosquitto: Broker, subscribe: Open, outbox: Outbox) -> None:
    with publisher_to(mosquitto, outbox, "3.1.1") as publisher:
        assert json.loads(subscribe(mosquitto, describe(publisher), "-V", "mqttv311").next()["payload"])["cmps"]
