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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.wire.broker import Broker

log = logging.getLogger(__name__)
Open = Callable[..., Any]


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


@pytest.mark.requires_root
def test_a_full_disk_is_told_and_when_it_is_freed_work_goes_on_without_loss(
    mosquitto: Broker, subscribe: Open, tiny_disk: Path, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, "full/v1/lab/scope/health")
    common = {"mqtt.port": mosquitto.port, "mqtt.prefix": "full"}
    wanted = {
        **common,
        "state_dir": tiny_disk,
        "site": "lab",
        "device": "scope",
        "outbox.forget_on": "consumer",
        "source.kind": "synthetic",
        "source.frames": 1_000_000,
        "source.fps": 20,
    }
    given = [part for name, value in wanted.items() for part in ("--set", f"{name}={value}")]
    path = tmp_path / "collected.sqlite"
    collector = ["collector", "--log", "WARNING", "--database", f"sqlite:///{path}", "--set", "name=full"]
    collector += [part for name, value in common.items() for part in ("--set", f"{name}={value}")]
    with ExitStack() as house:

        def start(*command: str) -> "subprocess.Popen[bytes]":
            process = house.enter_context(subprocess.Popen([sys.executable, "-m", *command]))
            house.callback(process.kill)
            return process

        agent = start("agent", "--log", "ERROR", "run", *given)
        assert health_that(listener, lambda health: health["frames"] > 0)["alarms"] == []
        fill(tiny_disk / "others")
        filled_at = time.monotonic()
        alarmed = health_that(listener, lambda health: health["alarms"])
        told_at = time.monotonic()
        assert "is full; free some of it" in alarmed["alarms"][0]
        assert alarmed["oldest"] == 1
        (tiny_disk / "others").unlink()
        freed_at = time.monotonic()
        again = health_that(listener, lambda health: not health["alarms"] and health["frames"] > alarmed["frames"])
        log.info(
            "a full disk was told after %.1f s; freed, work was told to go on after %.1f s",
            *(told_at - filled_at, time.monotonic() - freed_at),
        )
        start(*collector)
        health_that(listener, lambda health: health["oldest"] > again["frames"])
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
        assert until(lambda: len(stored(path)) == stored(path)[-1] > again["frames"])


def stored(path: Path) -> list[int]:
    found = sqlite3.connect(path)
    seqs = [int(seq) for (seq,) in found.execute("select seq from report order by seq")]
    found.close()
    return seqs


def until(truth: Callable[[], Any], timeout_s: float = 20) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(truth())
