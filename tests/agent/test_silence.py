"""A consumer that is gone, or that can not be heard, is told before the outbox is full."""

import json
import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, find_program

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
SILENT_AFTER_S = 0.5
GUARD = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")
"""The plugin by which mosquitto refuses subscriptions; its access list lets anybody subscribe, and sends nothing."""


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Topics:
    return Topics(prefix="silence", site="lab", device=str(request.node.name)[:64])


@pytest.fixture
def filled(tmp_path: Path, make_report: Make) -> Iterator[Outbox]:
    """An outbox with five reports."""
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        for seq in range(1, 6):
            outbox.put(make_report(seq, outbox.epoch))
        yield outbox


def publisher_to(broker: Broker, topics: Topics, outbox: Outbox) -> Publisher:
    return Publisher(MqttSettings(port=broker.port), topics, outbox, forget_on="consumer", version="1")


def acknowledge(broker: Broker, topics: Topics, outbox: Outbox, upto: int) -> None:
    words = [
        "-p",
        str(broker.port),
        "-q",
        "1",
        "-t",
        topics.ack,
        "-m",
        json.dumps({"epoch": outbox.epoch, "upto": upto}),
    ]
    subprocess.run([str(find_program("mosquitto_pub")), *words], check=True)


def until(truth: Callable[[], Any], timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (found := truth()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(found)


def test_a_silent_consumer_is_an_alarm_until_it_speaks(
    mosquitto: Broker, topics: Topics, filled: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with publisher_to(mosquitto, topics, filled) as publisher:

        def alarms() -> list[str]:
            return publisher.alarms(silent_after_s=SILENT_AFTER_S)

        assert publisher.wait_connected(10)
        assert until(alarms)
        assert f"read {topics.ack}" in alarms()[0]
        assert publisher.state == "online"
        acknowledge(mosquitto, topics, filled, 4)
        assert until(lambda: not alarms())
        assert until(alarms), "the fifth still waits"
        acknowledge(mosquitto, topics, filled, 4)
        assert not until(lambda: not alarms(), timeout_s=0.5), "to say the same again is no progress"
        acknowledge(mosquitto, topics, filled, 5)
        assert until(lambda: publisher.silence_s is None)
        assert alarms() == []
    assert caplog.text.count("no consumer has acknowledged") == 2, "each silence is told once"


def test_what_waits_for_the_broker_is_not_the_consumers_fault(
    open_mosquitto: Open, topics: Topics, filled: Outbox
) -> None:
    with open_mosquitto() as broker:
        publisher = publisher_to(broker, topics, filled)
        publisher.__enter__()
        assert until(lambda: publisher.alarms(silent_after_s=SILENT_AFTER_S))
    try:
        assert until(lambda: publisher.state != "online")
        assert publisher.alarms(silent_after_s=SILENT_AFTER_S) == []
        assert publisher.silence_s is not None
    finally:
        publisher.__exit__(None, None, None)


def test_an_agent_that_may_not_hear_consumers_says_so_however_well_reports_leave(
    open_mosquitto: Open, topics: Topics, filled: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not GUARD.exists():
        pytest.skip(f"mosquitto's plugin {GUARD.name} is not installed")
    caplog.set_level(logging.INFO)
    may = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": may, "clients": [], "groups": [], "roles": []}))
    lines = [f"plugin {GUARD}", f"plugin_opt_config_file {rules}"]
    with open_mosquitto(config_lines=lines) as broker, publisher_to(broker, topics, filled) as publisher:
        assert publisher.drain(20) == 0
        assert publisher.state == "denied"
        assert topics.ack in publisher.trouble
        assert filled.count() == 5


@contextmanager
def collector(broker: Broker, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "collector", "--port", str(broker.port), "--log", "WARNING"]
    command += ["--database", f"sqlite:///{folder}/collected.sqlite", "--set", "mqtt.prefix=silence"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = parse(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_running_agent_tells_it_in_metrics_and_health_and_takes_it_back(
    mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = int(door.getsockname()[1])
    wanted = {
        "state_dir": tmp_path / "state", "site": "lab", "device": "scope", "mqtt.port": mosquitto.port,
        "mqtt.prefix": "silence", "source.kind": "synthetic", "source.fps": 10, "source.frames": 10**6,
        "outbox.forget_on": "consumer", "outbox.silence_s": 1, "metrics.port": port,
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    health = subscribe(mosquitto, "silence/v1/lab/scope/health")

    def alarmed(told: bool) -> bool:  # noqa: FBT001 - what is waited for
        with suppress(OSError):  # until it serves
            return metrics(port).get("microscope_alarms") == told
        return False

    with subprocess.Popen([sys.executable, "-m", "agent", "run", *pairs], stderr=subprocess.DEVNULL) as agent:
        try:
            assert until(lambda: alarmed(told=True), 60)
            assert metrics(port)["microscope_consumer_silence_seconds"] >= 1
            while not (said := json.loads(health.next(20)["payload"]))["alarms"]:
                pass
            assert "no consumer has acknowledged" in said["alarms"][0]
            assert (said["broker"], said["silence_s"] > 1) == ("online", True)
            with collector(mosquitto, tmp_path):
                assert until(lambda: alarmed(told=False))
                while json.loads(health.next(20)["payload"])["alarms"]:
                    pass
            assert until(lambda: alarmed(told=True)), "it was killed"
        finally:
            agent.kill()
