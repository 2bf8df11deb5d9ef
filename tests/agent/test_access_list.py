"""The access list in docs/mqtt.md is enough for agent, technician and collector, and lets nobody else in."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.dispatcher import CommandDispatcher
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.messages import FrameReport
from contract.requests import Nothing, Restarted
from contract.topics import Topics
from devbroker.broker import Broker, find_program

Open = Callable[..., Any]
PAGE = Path(__file__).parents[2] / "docs" / "mqtt.md"
TOPICS = Topics(prefix="microscopy", site="lab", device="scope-1")
USERS = "scope-1", "technician", "collector", "stranger"


@pytest.fixture
def broker(open_mosquitto: Open, tmp_path: Path) -> Iterator[Broker]:
    """A broker with the page's access list; each user's password is the name."""
    rules, passwords = tmp_path / "acl", tmp_path / "passwords"
    found = re.search(r"```\n(user scope-1\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    rules.write_text(found[1])
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run([str(find_program("mosquitto_passwd")), "-b", passwords, user, user], check=True)
    with open_mosquitto(
        config_lines=["allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}"]
    ) as broker:
        yield broker


def ask(broker: Broker, user: str, command: str = "source/restart", reply_to: str = "reply/me") -> str:
    login = ["-p", str(broker.port), "-u", user, "-P", user]
    where = ["-t", f"{TOPICS.root}/command/{command}", "-e", reply_to, "-m", "{}", "-V", "mqttv5", "-q", "1"]
    program = str(find_program("mosquitto_rr"))
    done = subprocess.run([program, *login, *where, "-W", "3"], capture_output=True, text=True, check=False)
    return done.stdout


def test_the_technician_commands_and_a_stranger_does_not(
    broker: Broker, make_report: Callable[..., FrameReport], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[Nothing] = []

    def restart(request: Nothing) -> Restarted:
        done.append(request)
        return Restarted(source="camera")

    login = {"port": broker.port, "username": "scope-1", "password": SecretStr("scope-1")}
    with (
        Outbox(tmp_path / "outbox", max_mb=8) as outbox,
        Publisher(MqttSettings.model_validate(login), TOPICS, outbox, forget_on="consumer", version="1") as publisher,
        CommandDispatcher(TOPICS.root, {"source/restart": restart}, publisher.answer) as dispatcher,
    ):
        publisher.route(TOPICS.commands, dispatcher.take)
        outbox.put(make_report(1, outbox.epoch))
        assert publisher.drain(20) == 0
        assert ask(broker, "stranger") == ""
        assert done == []
        assert json.loads(ask(broker, "technician"))["result"] == {"source": "camera"}
        pictures = "reply/microscope-collect.collector.pictures/x"
        assert ask(broker, "collector", reply_to=pictures) == ""
        assert json.loads(ask(broker, "collector", "picture/get", pictures))["error"]["code"] == "not_allowed"
        assert len(done) == 1
        assert publisher.state == "online"
    assert "access list" not in caplog.text
