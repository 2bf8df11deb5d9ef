"""One thread of the agent hangs or dies while the others live: nobody is deceived, and nothing is lost.

The agent is a process of its own; the service manager is played by a socket, as sd_notify(3) describes it.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from devbroker.broker import Broker
from tests.faults.test_power import disk_with_power

Open = Callable[..., Any]
WATCHDOG_S = 1.0
HANG = """
import signal, sys, threading
from agent.__main__ import main

def hang(_, frame):
    while frame and frame.f_code.co_name != "scores":
        frame = frame.f_back
    if frame:  # the loop's thread is in the engine
        threading.Event().wait()
    signal.setitimer(signal.ITIMER_REAL, 0.0007)

for number in (signal.SIGUSR1, signal.SIGALRM):
    signal.signal(number, hang)
sys.exit(main(sys.argv[1:]))
"""
LOSE_THE_COURIER = """
import ctypes, signal, sys, threading
from agent.__main__ import main

def kill(*_):
    [publisher] = [thread.ident for thread in threading.enumerate() if thread.name == "publisher"]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(publisher), ctypes.py_object(SystemExit))

signal.signal(signal.SIGUSR1, kill)
sys.exit(main(sys.argv[1:]))
"""


class Manager:
    """What systemd would hear."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }

    def hears(self, word: str, within_s: float) -> bool:
        """Whether this is said in time; what was said before is not heard any more."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with suppress(TimeoutError):
                if self._socket.recv(4096).decode() == word:
                    return True
        return False

    def forget(self) -> None:
        """What was said until now."""
        self._socket.settimeout(0)
        with suppress(BlockingIOError):
            while self._socket.recv(4096):
                pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@contextmanager
def agent(
    manager: Manager, broker: Broker, folder: Path, script: str = HANG, *, frames: int = 10**6
) -> Iterator["subprocess.Popen[str]"]:
    wanted = {
        "state_dir": folder / "state", "site": "lab", "device": folder.name, "mqtt.port": broker.port,
        "mqtt.prefix": "hang", "source.kind": "synthetic", "source.fps": 20, "source.width": 320,
        "source.height": 240, "source.frames": frames,
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-c", script, "run", *pairs]
    with subprocess.Popen(command, env=manager.environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert manager.hears("READY=1", 60)
            yield process
        finally:
            process.kill()


def seqs_of(listener: Any, timeout_s: float) -> Iterator[int]:
    """Numbers of the reports that come, until none has come for so long."""
    with suppress(queue.Empty):
        while True:
            yield int(json.loads(listener.next(timeout_s)["payload"])["seq"])


def test_a_loop_that_hangs_starves_the_watchdog_while_the_rest_lives(
    manager: Manager, mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, f"hang/v1/lab/{tmp_path.name}/frame")
    health = subscribe(mosquitto, f"hang/v1/lab/{tmp_path.name}/health")
    with agent(manager, mosquitto, tmp_path) as process:
        assert all(manager.hears("WATCHDOG=1", WATCHDOG_S) for _ in range(10))
        process.send_signal(signal.SIGUSR1)
        heard = list(seqs_of(listener, 1))
        manager.forget()
        assert not manager.hears("WATCHDOG=1", 2 * WATCHDOG_S)
        assert process.poll() is None
        while (told := json.loads(health.next()["payload"]))["frames"] < len(heard):
            pass
        assert told["frames"] == len(heard)
    with agent(manager, mosquitto, tmp_path):
        heard += islice(seqs_of(listener, 10), 10)
    assert list(dict.fromkeys(heard)) == list(range(1, max(heard) + 1))


def frames_of(listener: Any, timeout_s: float) -> Iterator[tuple[int, str]]:
    """Number and frame of the reports that come, until none has come for so long."""
    with suppress(queue.Empty):
        while True:
            report = json.loads(listener.next(timeout_s)["payload"])
            yield int(report["seq"]), str(report["frame"]["id"])


@pytest.mark.requires_root
@pytest.mark.usefixtures("may_mount")
def test_a_disk_that_stands_still_starves_the_watchdog_and_costs_nothing(
    manager: Manager, mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    """Not even SIGKILL ends a process that the kernel holds in a sync; whatever was safe stays so."""
    listener = subscribe(mosquitto, f"hang/v1/lab/{tmp_path.name}/frame")
    state, mount, image = (tmp_path / name for name in ("state", "mount", "image"))
    for folder in (state, mount, image):
        folder.mkdir()
    (state / "outbox.sqlite").symlink_to(mount / "outbox.sqlite")  # the disk holds no folders, as the audit log is
    with disk_with_power(mount, image, seed=1) as disk:

        def tell(word: str) -> None:
            assert disk.stdin is not None
            print(word, file=disk.stdin, flush=True)

        with agent(manager, mosquitto, tmp_path) as process:
            assert all(manager.hears("WATCHDOG=1", WATCHDOG_S) for _ in range(5))
            tell("stall")
            heard = list(frames_of(listener, 1))
            manager.forget()
            assert not manager.hears("WATCHDOG=1", 2 * WATCHDOG_S)
            for number in (signal.SIGABRT, signal.SIGKILL):
                process.send_signal(number)
            time.sleep(0.5)
            assert process.poll() is None, "the disk did not hold it: this test shows nothing"
            tell("flow")
            assert process.wait(30) < 0
        with agent(manager, mosquitto, tmp_path, frames=10) as process:
            assert process.wait(30) == 0
        heard += frames_of(listener, 1)
    assert len(dict(heard)) == len(set(heard)), "a number was given to two frames: the first was safe and is lost"
    assert sorted(dict(heard)) == list(range(1, max(dict(heard)) + 1))


def test_an_agent_that_lost_its_courier_ends_and_the_next_one_delivers_all(
    manager: Manager, mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, f"hang/v1/lab/{tmp_path.name}/frame")
    with agent(manager, mosquitto, tmp_path, LOSE_THE_COURIER) as process:
        time.sleep(1)
        process.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 4, said
    assert "the publisher's thread is gone" in said
    heard = list(seqs_of(listener, 0.5))
    with agent(manager, mosquitto, tmp_path, frames=10) as process:
        assert process.wait(30) == 0
    heard += seqs_of(listener, 1)
    assert list(dict.fromkeys(heard)) == list(range(1, max(heard) + 1))
