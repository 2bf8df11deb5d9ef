"""Agent, broker and collector are killed, again and again; every result that was safe arrives, and arrives once.

The ledger asks none of the three: after each death of the agent a copy of its outbox is read with sqlite3 alone, and
tells what had been committed until then. What the collector's database holds is read likewise. And the source numbers
its frames again in each life of the agent: one that was examined and has no report is a gap in these numbers.
"""

import json
import logging
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest

from devbroker.broker import Broker
from tests.waiting import heeds, until

log = logging.getLogger(__name__)
Key: TypeAlias = tuple[str, int]
"""Epoch and seq; there is one agent."""
Open = Callable[..., AbstractContextManager[Broker]]
KEEPING = ("persistence true", "autosave_on_changes true", "autosave_interval 1", "max_queued_messages 0")
SMEAR = {"source.kind": "synthetic", "source.um_per_pixel": 0.2, "source.width": 128, "source.height": 96}
"""Frames as small as the agent will judge, so that many are examined in little time; every other shows a cell."""

SEED = int(os.environ.get("MICROSCOPE_SEED", "7"))
"""Of the order and the moments of the kills; which result is on its way then is the machine's choice."""


@dataclass
class Ledger:
    """What the agent had committed at its deaths."""

    committed: set[Key] = field(default_factory=set)
    frames: dict[Key, str] = field(default_factory=dict)
    """Of what still waited then: which frame it tells of."""

    def read(self, outbox: Path) -> None:
        """Note what an outbox holds and has held; nobody may have it open."""
        with TemporaryDirectory() as folder, ExitStack() as house:
            for file in outbox.parent.glob(f"{outbox.name}*"):
                shutil.copy(file, folder)
            copy = house.enter_context(closing(sqlite3.connect(Path(folder) / outbox.name)))
            [(epoch,)] = copy.execute("select value from meta where key = 'epoch'")
            for (last,) in copy.execute("select seq from sqlite_sequence"):
                self.committed |= {(epoch, seq) for seq in range(1, last + 1)}
            for seq, body in copy.execute("select seq, body from report"):
                self.frames[epoch, seq] = json.loads(body)["frame"]["id"]


@dataclass
class Scene:
    """Three processes that may be killed and started again."""

    folder: Path
    port: int
    open_broker: Open
    total: int
    keeping: tuple[str, ...]
    kills: Counter[str] = field(default_factory=Counter)
    ledger: Ledger = field(default_factory=Ledger)
    running: dict[str, Any] = field(default_factory=dict)

    @property
    def outbox(self) -> Path:
        return self.folder / "state" / "outbox.sqlite"

    def start(self, name: str) -> None:
        if name == "broker":
            inside = ExitStack()
            lines = [*self.keeping, f"persistence_location {self.folder}/"]
            self.running[name] = inside.enter_context(self.open_broker(config_lines=lines, port=self.port)), inside
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(self._command(name), stderr=log, stdout=log)

    def kill(self, name: str) -> None:
        self.kills[name] += 1
        if name == "broker":
            broker, inside = self.running[name]
            os.kill(broker.pid, signal.SIGKILL)
            inside.close()
            return
        self.running[name].kill()
        self.running[name].wait()
        if name == "agent":
            self.ledger.read(self.outbox)

    def stop_agent(self) -> None:
        """Have it end in order: what is on its way arrives first. It may have been started a moment ago."""
        assert until(lambda: heeds(self.running["agent"].pid)), self.evidence()
        self.running["agent"].send_signal(signal.SIGTERM)
        code = self.running["agent"].wait(60)
        assert code == 0, self.evidence()
        self.ledger.read(self.outbox)

    def end(self) -> None:
        for name in ("agent", "collector"):
            if name in self.running:
                self.running[name].kill()
                self.running[name].wait()
        if "broker" in self.running:
            self.running["broker"][1].close()

    def evidence(self) -> str:
        """What the three have to say, and who of them lives: a failure that nobody can explain is of no use."""
        broker, _ = self.running["broker"]
        living = {name: self.running[name].poll() is None for name in ("agent", "collector")}
        living["broker"] = Path(f"/proc/{broker.pid}/exe").exists()  # a zombie has none
        logs = [(self.folder / f"{name}.log").read_text()[-3000:] for name in ("agent", "collector")]
        with closing(sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)) as outbox:
            waits = outbox.execute("select count(*), min(seq), max(seq) from report").fetchone()
        return "\n".join([f"lives: {living}, kills: {self.kills}, wait (count, first, last): {waits}", *logs])

    def has(self, count: float, *, gaps: bool = True) -> bool:
        """Whether so many results are stored (none is while there is no table), perhaps with gaps before the last."""
        with suppress(sqlite3.OperationalError):
            rows, last = self._collected("select count(*), max(seq) from report")[0]
            return bool(rows >= count and (gaps or rows == last))
        return False

    def stored(self) -> list[tuple[str, int, str]]:
        """Epoch, number and frame of every row."""
        return self._collected("select epoch, seq, frame_id from report")

    def _command(self, name: str) -> list[str]:
        settings: dict[str, object] = {"mqtt.port": self.port, "mqtt.keepalive_s": 5}
        words = [sys.executable, "-m", name, "--log", "WARNING"]
        if name == "agent":
            words += ["run"]
            settings |= {"state_dir": self.outbox.parent, "site": "lab", "device": "scope-1"}
            settings |= {"outbox.forget_on": "consumer", **SMEAR}
        else:
            settings |= {"database": f"sqlite:///{self.folder}/collected.sqlite"}
        return words + [part for setting, value in settings.items() for part in ("--set", f"{setting}={value}")]

    def _collected(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.folder}/collected.sqlite?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query).fetchall()


@contextmanager
def scene(scene: Scene) -> Iterator[Scene]:
    try:
        for name in ("broker", "collector", "agent"):
            scene.start(name)
        yield scene
    finally:
        scene.end()


def kill_at_random(scene: Scene, kills: dict[str, int], *, seed: int) -> None:
    """The kills in random order, spread over the run, each at a moment that nobody chose; some hit one that starts."""
    chance = random.Random(seed)  # noqa: S311 - a test
    order = [name for name, count in kills.items() for _ in range(count)]
    chance.shuffle(order)
    for number, name in enumerate(order, start=1):
        if number > 1 and chance.random() < 0.2:
            time.sleep(chance.uniform(0, 3))
        else:
            due = scene.total * number / (len(order) + 1)
            assert until(partial(scene.has, due), 60), scene.evidence()
            time.sleep(chance.uniform(0, 0.2))
        scene.kill(name)
        if name == "broker":
            time.sleep(chance.uniform(0, 0.5))
        scene.start(name)


def account_for(scene: Scene) -> dict[str, int]:
    """What was committed against what is there."""
    rows, ledger = scene.stored(), scene.ledger
    keys, frames = Counter((epoch, seq) for epoch, seq, _ in rows), Counter(frame for *_, frame in rows)
    told = {(epoch, seq): frame for epoch, seq, frame in rows}
    return {
        "stored": len(rows),
        "waited at a death": len(ledger.frames),
        "lost": len(ledger.committed - set(keys)),
        "unknown": len(set(keys) - ledger.committed),
        "twice": sum(count - 1 for count in [*keys.values(), *frames.values()]),
        "exchanged": sum(told.get(key, frame) != frame for key, frame in ledger.frames.items()),
        "never told": frames_left_out(set(frames)),
    }


def frames_left_out(frames: set[str]) -> int:
    """How many numbers are missing before the last one of each life of the agent."""
    lives: dict[str, set[int]] = {}
    for frame in frames:
        run, _, number = frame.rpartition("-")
        lives.setdefault(run, set()).add(int(number))
    return sum(max(numbers) - len(numbers) for numbers in lives.values())


def run_and_account(scene_: Scene, kills: dict[str, int]) -> dict[str, int]:
    with scene(scene_):
        kill_at_random(scene_, kills, seed=SEED)
        assert until(partial(scene_.has, scene_.total, gaps=False), 120), scene_.evidence()
        scene_.stop_agent()
        if not until(partial(scene_.has, len(scene_.ledger.committed)), 10):  # it keeps the rest for its next life
            scene_.start("agent")
            assert until(partial(scene_.has, len(scene_.ledger.committed) + 1, gaps=False), 120), scene_.evidence()
            scene_.stop_agent()
            until(partial(scene_.has, len(scene_.ledger.committed)))
    assert scene_.kills == kills
    return account_for(scene_)


def quiet_port() -> int:
    """A port that the system gives to no client: one that knocks while the broker is dead could meet itself there."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


@pytest.fixture
def make_scene(tmp_path: Path, open_mosquitto: Open) -> Callable[..., Scene]:
    def make(*, total: int, keeping: tuple[str, ...] = KEEPING) -> Scene:
        return Scene(tmp_path, quiet_port(), open_mosquitto, total, keeping)

    return make


FAULTS = "lost", "twice", "unknown", "exchanged", "never told"


def whole(found: dict[str, int], total: int) -> bool:
    """At least so many, and each of them once."""
    return found["stored"] >= total and not any(found[fault] for fault in FAULTS)


@pytest.mark.parametrize(
    ("total", "agent", "broker", "collector"),
    [
        (1200, 6, 3, 2),
        pytest.param(4000, 20, 5, 3, marks=pytest.mark.soak),
        pytest.param(20_000, 100, 10, 10, marks=pytest.mark.soak),
    ],
)
def test_no_result_is_lost_or_counted_twice_when_agent_broker_and_collector_are_killed(
    make_scene: Callable[..., Scene], total: int, agent: int, broker: int, collector: int
) -> None:
    found = run_and_account(make_scene(total=total), {"agent": agent, "broker": broker, "collector": collector})
    log.info("%d results: %s", total, found)
    assert whole(found, total), found


def test_nothing_is_lost_by_a_broker_that_keeps_nothing(make_scene: Callable[..., Scene]) -> None:
    """Its death takes sessions and queues with it; the agent still has all that no consumer has acknowledged."""
    found = run_and_account(make_scene(total=300, keeping=("persistence false",)), {"broker": 2})
    assert whole(found, 300), found
