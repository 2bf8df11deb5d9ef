"""The wall clock is set back and forth by a day, under a running agent and collector: nothing but dates changes."""

import json
import logging
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from contract.messages import FrameReport
from devbroker.broker import Broker

log = logging.getLogger(__name__)
Open = Callable[..., Any]
DAY = timedelta(days=1)
SHIFTS = timedelta(), DAY, -DAY, timedelta(), -DAY, DAY
"""Of the clock against the truth, one after the other."""


class Clock:
    """The clock of the processes that are started in its environment."""

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "shift", folder / "jump.so"
        source = Path(__file__).with_name("jump.c")
        words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(source)]
        subprocess.run(words, check=True)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_JUMP": str(self._file)}
        self.set(timedelta())

    def set(self, shift: timedelta) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(int(shift.total_seconds())))
        fresh.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("the clock is moved by a C library, for which gcc is missing: apt install gcc")
    return Clock(tmp_path)


def shift_of(report: FrameReport) -> timedelta:
    """By how much the agent's clock differs from ours, to the day."""
    return DAY * round((report.frame.captured_at - datetime.now(timezone.utc)) / DAY)


def test_order_and_delivery_do_not_heed_the_wall_clock(
    mosquitto: Broker, subscribe: Open, clock: Clock, tmp_path: Path
) -> None:
    common = {"mqtt.port": mosquitto.port, "mqtt.prefix": "clock"}
    wanted = {
        **common, "state_dir": tmp_path / "state", "site": "lab", "device": "scope", "outbox.forget_on": "consumer",
        "source.kind": "synthetic", "source.fps": 20, "source.width": 320, "source.height": 240,
    }  # fmt: skip
    database = tmp_path / "collected.sqlite"
    listener = subscribe(mosquitto, "clock/v1/lab/scope/frame")
    with ExitStack() as house:

        def start(room: str, settings: dict[str, Any], *words: str) -> "subprocess.Popen[bytes]":
            pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
            command = [sys.executable, "-m", room, "--log", "WARNING", *words, *pairs]
            process = house.enter_context(subprocess.Popen(command, env=clock.environment))
            house.callback(process.kill)
            return process

        collector = start("collector", {**common, "name": "clock", "database": f"sqlite:///{database}"})
        agent = start("agent", wanted, "run")
        seqs: list[int] = []
        for shift in SHIFTS:
            clock.set(shift)
            set_at, heard = time.monotonic(), 0
            while heard < 10:
                report = FrameReport.model_validate_json(listener.next(30)["payload"])
                seqs.append(report.seq)
                heard += shift_of(report) == shift
            log.info("clock at %s: 10 reports more after %.1f s", shift, time.monotonic() - set_at)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
        with suppress(queue.Empty):
            while True:
                seqs.append(json.loads(listener.next(1)["payload"])["seq"])
        deadline = time.monotonic() + 20
        while len(stored(database)) < len(set(seqs)) and time.monotonic() < deadline:
            time.sleep(0.1)
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(30) == 0
    seqs = list(dict.fromkeys(seqs))  # what a busy collector acknowledges late is sent again
    assert seqs == list(range(1, len(seqs) + 1))
    assert stored(database) == seqs
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.sqlite")) as outbox:
        assert outbox.execute("select count(*) from report").fetchone()[0] < len(seqs) // 2


def stored(database: Path) -> list[int]:
    """What the collector has, in the order in which it came."""
    with closing(sqlite3.connect(database)) as found:
        return [int(seq) for (seq,) in found.execute("select seq from report order by rowid")]
