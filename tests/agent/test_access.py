"""What `microscope-agent doctor` finds that strangers may do at a real broker, and whether the clock is believable."""

import ctypes
import os
import re
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.ops.clock import behind_s, is_kept_right
from agent.settings import MqttSettings, Settings
from agent.tools.access import concerns, is_loopback
from agent.tools.doctor import Warned, check_access, check_clock
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.topics import Topics
from devbroker.broker import Broker, find_program

Open = Callable[..., AbstractContextManager[Broker]]
PAGE = Path(__file__).parents[2] / "docs" / "mqtt.md"
STRANGERS_COMMAND = "whoever reaches the broker may command this agent"
OTHERS_COMMANDS = "user scope-1 may command other agents too"


def settings_for(broker: Broker, **mqtt: Any) -> Settings:
    return Settings.model_validate({"site": "lab", "device": "scope-1", "mqtt": {"port": broker.port, **mqtt}})


def named(broker: Broker) -> Settings:
    return settings_for(broker, username="scope-1", password=SecretStr("scope-1"))


@pytest.fixture
def passwords(tmp_path: Path) -> str:
    """Mosquitto's line for a file with one user."""
    file = tmp_path / "passwords"
    file.touch(mode=0o600)
    subprocess.run([str(find_program("mosquitto_passwd")), "-b", file, "scope-1", "scope-1"], check=True)
    return f"password_file {file}"


@pytest.fixture
def access_list(tmp_path: Path) -> str:
    """Mosquitto's line for the access list of docs/mqtt.md."""
    found = re.search(r"```\n(user scope-1\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "acl").write_text(found[1])
    return f"acl_file {tmp_path / 'acl'}"


def test_a_broker_that_is_open_to_all_is_a_doubt(mosquitto: Broker) -> None:
    said = check_access(settings_for(mosquitto))
    assert isinstance(said, Warned)
    assert f"{STRANGERS_COMMAND} and read its reports, without a name" in said
    assert OTHERS_COMMANDS not in said


def test_names_without_an_access_list_let_every_agent_command_the_others(open_mosquitto: Open, passwords: str) -> None:
    with open_mosquitto(config_lines=["allow_anonymous false", passwords]) as broker:
        [concern] = concerns(named(broker))
    assert OTHERS_COMMANDS in concern


def test_the_access_list_in_the_docs_leaves_no_doubt(open_mosquitto: Open, passwords: str, access_list: str) -> None:
    with open_mosquitto(config_lines=["allow_anonymous false", passwords, access_list]) as broker:
        said = check_access(named(broker))
    assert not isinstance(said, Warned), said


def test_a_stranger_who_is_let_in_and_may_do_nothing_is_no_doubt(
    open_mosquitto: Open, passwords: str, access_list: str
) -> None:
    """Mosquitto agrees to his subscription, and sends him nothing."""
    with open_mosquitto(config_lines=[passwords, access_list]) as broker:
        assert list(concerns(named(broker))) == []


def test_a_stranger_who_may_only_read_is_told_so(open_mosquitto: Open, passwords: str, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\nuser scope-1\ntopic write microscopy/v1/lab/scope-1/#\n")
    with open_mosquitto(config_lines=[passwords, f"acl_file {tmp_path / 'acl'}"]) as broker:
        [concern] = concerns(named(broker))
    assert "may read its reports, without a name" in concern


def test_the_trials_reach_no_command_of_an_agent_that_runs(mosquitto: Broker, tmp_path: Path) -> None:
    heard = list[object]()
    topics = Topics(prefix="microscopy", site="lab", device="scope-1")
    with (
        Outbox(tmp_path / "outbox", max_mb=8) as outbox,
        Publisher(MqttSettings(port=mosquitto.port), topics, outbox, forget_on="consumer", version="1") as publisher,
    ):
        publisher.route(topics.commands, heard.append)
        assert publisher.wait_connected(10)
        assert len(list(concerns(settings_for(mosquitto)))) == 1
        time.sleep(0.2)
        assert (heard, publisher.ignored_acks, publisher.state) == ([], 0, "online")


def test_plain_text_to_another_machine_is_a_doubt(mosquitto: Broker) -> None:
    """This address leads to loopback, and does not look so."""
    assert "is another machine, and everything goes there in plain text" in next(
        concerns(settings_for(mosquitto, host="0.0.0.0"))  # noqa: S104 - to connect to
    )
    assert "plain text" not in " ".join(concerns(settings_for(mosquitto, host="localhost")))


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("192.0.2.1", False), ("broker.invalid", False)],
)
def test_which_hosts_are_this_machine(host: str, *, ours: bool) -> None:
    assert is_loopback(host) is ours


def test_what_can_not_be_known_is_a_doubt_and_no_failure(
    mosquitto: Broker, passwords: str, open_mosquitto: Open
) -> None:
    assert isinstance(check_access(settings_for(mosquitto, version="3.1.1")), Warned)
    with open_mosquitto(config_lines=["allow_anonymous false", passwords]) as broker:
        assert "is not known" in check_access(settings_for(broker))
        said = check_access(settings_for(broker, host="0.0.0.0"))  # noqa: S104
    assert "plain text" in said
    assert "is not known" in said


def test_a_clock_that_was_set_back_is_a_doubt(tmp_path: Path) -> None:
    settings = Settings.model_validate({"state_dir": tmp_path})
    (tmp_path / "outbox.sqlite").touch()
    assert behind_s(tmp_path) == 0
    assert "holds files from" not in check_clock(settings)
    tomorrow = time.time() + 86_400
    os.utime(tmp_path / "outbox.sqlite", (tomorrow, tomorrow))
    assert behind_s(tmp_path) == pytest.approx(86_400, abs=60)
    said = check_clock(settings)
    assert isinstance(said, Warned)
    assert "holds files from" in said
    assert behind_s(tmp_path / "none") == 0


def test_whether_the_clock_is_kept_right_is_the_kernel_s_word(tmp_path: Path) -> None:
    """The same struct, read by hand: `status` has the bit STA_UNSYNC, and `time` shows that we read the right place."""
    timex = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        pytest.skip("this container may not ask the kernel about its clock")
    [status], [now_s] = struct.unpack_from("i", timex, 40), struct.unpack_from("q", timex, 72)
    assert now_s == pytest.approx(time.time(), abs=5)
    kept = not status & 0x40
    assert is_kept_right() is kept
    assert isinstance(check_clock(Settings.model_validate({"state_dir": tmp_path})), Warned) is not kept
