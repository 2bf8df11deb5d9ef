"""SIGHUP, as of a closed terminal or of `systemctl reload`, makes another connection and ends nothing."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from contract.messages import FrameReport
from devbroker.broker import Broker, find_program
from tests.collecting import stored, until

Make = Callable[..., FrameReport]


def holds(address: str, count: int) -> bool:
    return len(stored(address)) == count


def test_the_collector_connects_again_and_goes_on(mosquitto: Broker, tmp_path: Path, make_report: Make) -> None:
    address = f"sqlite:///{tmp_path / 'c.sqlite'}"
    command = [sys.executable, "-m", "collector", "--port", str(mosquitto.port), "--database", address]
    command += ["--set", "mqtt.prefix=hangup", "--set", "name=hangup"]
    program = [str(find_program("mosquitto_pub")), "-V", "mqttv5", "-p", str(mosquitto.port), "-q", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for number in (1, 2):
            while not re.search("connected to the broker", line := process.stderr.readline()):
                assert line, "it has ended"
            body = make_report(number).model_dump_json()
            subprocess.run([*program, "-t", "hangup/v1/lab/scope-1/frame", "-r", "-m", body], check=True)
            assert until(partial(holds, address, number))
            process.send_signal(signal.SIGHUP if number == 1 else signal.SIGTERM)
        assert process.wait(30) == 0
