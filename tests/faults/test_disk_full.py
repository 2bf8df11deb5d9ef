"""The disk of a running agent fills up and is freed: it says so, goes on by itself, and loses nothing that it took."""

import json
import logging
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devbroker.broker import Broker
from tests.waiting import SLACK, until

log = logging.getLogger(__name__)
Open = Callable[..., Any]
TOLD_S, ON_S = 5.0, 10.0
"""Promised: how soon a full disk is told, and how soon after it is freed work goes on."""


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tiny disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tiny disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def health_that(listener: Any, truth: Callable[[dict[str, Any]], Any], timeout_s: float = 60) -> dict[str, Any]:
    """The first health message of which this is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(queue.Empty):
            found: dict[str, Any] = json.loads(listener.next(1)["payload"])
            if truth(found):
                return found
    raise TimeoutError


@dataclass
class Rig:
    """An agent on a tiny disk, and the ear for its health."""

    disk: Path
    listener: Any
    agent: "subprocess.Popen[bytes]"
    line: dict[str, Any]

    def health(self, truth: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        return health_that(self.listener, truth)

    def fill_and_free(self) -> tuple[dict[str, Any], float, float]:
        """What is told of a full disk, how soon (s), and how soon after it is freed work is told to go on (s)."""
        fill(self.disk / "others")
        filled_at = time.monotonic()
        alarmed = self.health(lambda health: health["alarms"])
        told_s = time.monotonic() - filled_at
        (self.disk / "others").unlink()
        freed_at = time.monotonic()
        self.health(lambda health: not health["alarms"] and health["frames"] > alarmed["frames"])
        on_s = time.monotonic() - freed_at
        log.info("a full disk was told after %.1f s; freed, work was told to go on after %.1f s", told_s, on_s)
        return alarmed, told_s, on_s


def given(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


@contextmanager
def started(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-m", *command]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def rig(mosquitto: Broker, subscribe: Open, tiny_disk: Path) -> Iterator[Rig]:
    """Frames flow, and nobody acknowledges them yet."""
    listener = subscribe(mosquitto, "full/v1/lab/scope/health", "-R")  # what is retained is of an agent before
    line = {"mqtt.port": mosquitto.port, "mqtt.prefix": "full"}
    wanted = {
        **line,
        "state_dir": tiny_disk,
        "site": "lab",
        "device": "scope",
        "outbox.forget_on": "consumer",
        "source.kind": "synthetic",
        "source.frames": 1_000_000,
        "source.fps": 20,
    }
    with started("agent", "--log", "ERROR", "run", *given(wanted)) as agent:
        found = Rig(tiny_disk, listener, agent, line)
        assert found.health(lambda health: health["frames"] > 0)["alarms"] == []
        yield found


@pytest.mark.requires_root
def test_a_full_disk_is_told_and_when_it_is_freed_work_goes_on_without_loss(rig: Rig, tmp_path: Path) -> None:
    alarmed, told_s, on_s = rig.fill_and_free()
    assert "is full; free some of it" in alarmed["alarms"][0]
    assert alarmed["oldest"] == 1
    assert told_s <= SLACK * TOLD_S
    assert on_s <= SLACK * ON_S
    path = tmp_path / "collected.sqlite"
    settings = given({**rig.line, "name": "full"})
    with started("collector", "--log", "WARNING", "--database", f"sqlite:///{path}", *settings):
        rig.health(lambda health: health["oldest"] > alarmed["frames"])
        rig.agent.send_signal(signal.SIGTERM)
        assert rig.agent.wait(60) == 0
        assert until(lambda: len(stored(path)) == stored(path)[-1] > alarmed["frames"])


@pytest.mark.soak
@pytest.mark.requires_root
def test_a_full_disk_is_told_and_left_behind_as_soon_as_promised(rig: Rig) -> None:
    """The best of three: what else the machine does meanwhile is not the agent's."""
    _, told_s, on_s = zip(*(rig.fill_and_free() for _ in range(3)), strict=True)
    assert min(told_s) <= TOLD_S
    assert min(on_s) <= ON_S


def stored(path: Path) -> list[int]:
    found = sqlite3.connect(path)
    seqs = [int(seq) for (seq,) in found.execute("select seq from report order by seq")]
    found.close()
    return seqs
