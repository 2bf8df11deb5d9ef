"""A broker of one's own: there while it is needed, gone afterwards."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common.errors import BrokerError
from devbroker.broker import Broker, find_program, open_broker
from devbroker.debian import unpack_mosquitto

Open = Callable[..., Any]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def test_mosquitto_answers_until_it_is_left(open_mosquitto: Open) -> None:
    with open_mosquitto() as broker:
        assert answers(broker.port)
        assert (broker.host, broker.version) == ("127.0.0.1", "5")
        assert broker.name.startswith("mosquitto ")
    assert not answers(broker.port)


def test_leaving_one_broker_leaves_the_others_alone(mosquitto: Broker, open_mosquitto: Open) -> None:
    with open_mosquitto() as other:
        assert other.port != mosquitto.port
    assert answers(mosquitto.port)


def test_a_broker_that_was_killed_is_left_in_peace(open_mosquitto: Open) -> None:
    with open_mosquitto() as broker:
        os.kill(broker.pid, signal.SIGKILL)
    assert not answers(broker.port)


def test_listens_on_loopback_alone(mosquitto: Broker) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert f"0100007F:{mosquitto.port:04X}" in addresses
    assert f"00000000:{mosquitto.port:04X}" not in addresses


def test_a_given_configuration_line_replaces_ours(open_mosquitto: Open) -> None:
    with open_mosquitto(config_lines=["allow_anonymous false"]) as broker:
        program = str(find_program("mosquitto_pub"))
        refused = subprocess.run(
            [program, "-p", str(broker.port), "-t", "a", "-m", "b"], capture_output=True, text=True, check=False
        )
    assert refused.returncode != 0
    assert "not authori" in refused.stderr.lower()


def test_a_broker_that_does_not_start_says_why(open_mosquitto: Open) -> None:
    with pytest.raises(BrokerError, match="nonsense"), open_mosquitto(config_lines=["nonsense 1"]):
        pass


def test_the_broker_in_python_says_that_it_is_a_lesser_one() -> None:
    with open_broker(allow=["embedded"]) as broker:
        assert answers(broker.port)
        assert broker.version == "3.1.1"
        assert "3.1.1 only" in broker.name
    assert not answers(broker.port)


def test_without_any_broker_the_exit_code_is_4() -> None:
    with pytest.raises(BrokerError, match="no MQTT broker") as refusal, open_broker(allow=[]):
        pass
    assert refusal.value.exit_code == 4


def test_fetch_names_the_broker_in_one_line(open_mosquitto: Open) -> None:  # noqa: ARG001 - it is there already
    done = subprocess.run(
        [sys.executable, "-m", "devbroker.broker", "--fetch"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("broker: mosquitto ")
    assert done.stdout.count("\n") == 1


def test_finds_programs_or_says_that_there_are_none(open_mosquitto: Open) -> None:  # noqa: ARG001 - as above
    assert find_program("no-such-program") is None
    program = find_program("mosquitto_sub")
    assert program is not None
    said = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert "mosquitto_sub" in said.stdout


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="install mosquitto yourself"):
        unpack_mosquitto(tmp_path / "file" / "mosquitto")


@pytest.mark.requires_registry
def test_two_at_once_unpack_one_mosquitto_that_runs(tmp_path: Path) -> None:
    target = tmp_path / "opt" / "mosquitto"
    try:
        with ThreadPoolExecutor(2) as pool:
            folders = list(pool.map(unpack_mosquitto, [target, target]))
    except BrokerError as reason:
        pytest.skip(f"no package mirror within reach: {reason}")
    assert folders == [target / "bin"] * 2
    assert sorted(path.name for path in target.parent.iterdir()) == [".mosquitto.lock", "mosquitto"]
    said = subprocess.run([folders[0] / "mosquitto", "-h"], capture_output=True, text=True, check=False)
    assert said.stdout.startswith("mosquitto version")
