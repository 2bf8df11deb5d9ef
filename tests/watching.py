"""A dashboard that is watched, and a publisher for it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.health_messages import Status
from contract.topics import Topics
from devbroker.broker import Broker, find_program


class Publisher:
    """A mosquitto_pub for each message, as any other program would."""

    def __init__(self, broker: Broker) -> None:
        self._command = [str(find_program("mosquitto_pub")), "-p", str(broker.port), "-q", "1"]

    def say(self, topic: str, payload: str, *options: str) -> None:
        subprocess.run([*self._command, "-t", topic, "-m", payload, *options], check=True)

    def status(self, topics: Topics, state: Any, *options: str) -> None:
        self.say(topics.status, Status(state=state).model_dump_json(), *options)


@contextmanager
def watching(broker: Broker, topics: Topics, folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A dashboard that is subscribed; its counts will be in ``folder/summary.json``."""
    device = topics.root.rsplit("/", 1)[-1]
    command = [
        *(sys.executable, "-m", "dashboard.terminal", "--plain", "--port", str(broker.port), "--prefix", "dash"),
        *("--device", device, "--seconds", "30", "--ready-file", str(folder / "ready")),
        *("--summary", str(folder / "summary.json"), *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while not (folder / "ready").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def summary_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found
