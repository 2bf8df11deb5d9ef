"""Agent, broker and collector are killed, again and again; every result that was safe arrives, and arrives once.

The ledger is independent of all three: a file to which the producer appends a random word for each result, after
``put`` has returned. What the collector's database holds is read with sqlite3 alone.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.wire.broker import Broker
from contract.messages import FrameReport

Make = Callable[..., FrameReport]
Start = Callable[[], "subprocess.Popen[bytes]"]
Open = Callable[..., AbstractContextManager[Broker]]
KEEPING = ("persistence true", "autosave_on_changes true", "autosave_interval 1", "max_queued_messages 0")

SEED = int(os.environ.get("MICROSCOPE_SEED", "7"))
"""Of the order and the moments of the kills; which result is on its way then is the machine's choice."""

PRODUCE = """
import os, secrets, sys, time
from pathlib import Path
from agent.wire.courier import Courier
from agent.wire.outbox import Outbox
from agent.settings import MqttSettings
from contract.messages import FrameReport, Topics

path, port, ledger, pattern, total, rate = sys.argv[1:]
report = FrameReport.model_validate_json(pattern)
topics = Topics(prefix="microscopy", site=report.site, device=report.device)
witness = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
settings = MqttSettings(port=int(port), keepalive_s=5)
with Outbox(Path(path), max_mb=64) as outbox, Courier(settings, topics, outbox, forget_on="consumer", version="1"):
    while (seq := outbox.next_seq()) <= int(total):
        word = secrets.token_hex(8)
        frame = report.frame.model_copy(update={"id": word})
        outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": seq, "frame": frame}))
        os.write(witness, f"{word}\\n".encode())
        time.sleep(1 / float(rate))
    while outbox.count():
        time.sleep(0.05)
"""


@dataclass
class Scene:
    """Three processes that may be killed and started again."""

    folder: Path
    port: int
    open_broker: Open
    pattern: str
    total: int
    rate: float
    keeping: tuple[str, ...]
    kills: Counter[str] = field(default_factory=Counter)
    running: dict[str, Any] = field(default_factory=dict)
    house: ExitStack = field(default_factory=ExitStack)

    def start(self, name: str) -> None:
        if name == "broker":
            inside = ExitStack()
            lines = [*self.keeping, f"persistence_location {self.folder}/"]
            self.running[name] = inside.enter_context(self.open_broker(config_lines=lines, port=self.port)), inside
            return
        command = {
            "agent": [
                sys.executable, "-c", PRODUCE, f"{self.folder}/outbox.sqlite", str(self.port), f"{self.folder}/ledger",
                self.pattern, str(self.total), str(self.rate),
            ],
            "collector": [
                sys.executable, "-m", "collector", "--port", str(self.port), "--log", "WARNING",
                "--database", f"sqlite:///{self.folder}/collected.sqlite",
            ],
        }[name]  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(command, stderr=log, stdout=log)

    def kill(self, name: str) -> None:
        self.kills[name] += 1
        if name == "broker":
            broker, inside = self.running[name]
            os.kill(broker.pid, signal.SIGKILL)
            inside.close()
        else:
            self.running[name].kill()
            self.running[name].wait()

    def end(self) -> None:
        for name in ("agent", "collector"):
            if name in self.running:
                self.running[name].kill()
                self.running[name].wait()
        if "broker" in self.running:
            self.running["broker"][1].close()

    def ledger(self) -> list[str]:
        path = self.folder / "ledger"
        return path.read_text().split() if path.exists() else []

    def evidence(self) -> str:
        """What the three have to say, and who of them lives: a failure that nobody can explain is of no use."""
        broker, _ = self.running["broker"]
        living = {name: self.running[name].poll() is None for name in ("agent", "collector")}
        living["broker"] = Path(f"/proc/{broker.pid}/exe").exists()  # a zombie has none
        logs = [(self.folder / f"{name}.log").read_text()[-3000:] for name in ("agent", "collector")]
        with sqlite3.connect(f"file:{self.folder}/outbox.sqlite?mode=ro", uri=True) as outbox:
            waits = outbox.execute("select count(*), min(seq), max(seq) from report").fetchone()
        outbox.close()
        return "\n".join([f"lives: {living}, kills: {self.kills}, wait (count, first, last): {waits}", *logs])

    def collected(self) -> list[str]:
        with sqlite3.connect(self.folder / "collected.sqlite") as database:
            found = [str(word) for (word,) in database.execute("select frame_id from report")]
        database.close()
        return found


@contextmanager
def scene(scene: Scene) -> Iterator[Scene]:
    try:
        for name in ("broker", "collector", "agent"):
            scene.start(name)
        yield scene
    finally:
        scene.end()


def kill_at_random(scene: Scene, kills: dict[str, int], *, seed: int) -> None:
    """The kills in random order, spread over the run, each at a moment that nobody chose."""
    chance = random.Random(seed)  # noqa: S311 - a test
    order = [name for name, count in kills.items() for _ in range(count)]
    chance.shuffle(order)
    for number, name in enumerate(order, start=1):
        due = scene.total * number / (len(order) + 1)
        deadline = time.monotonic() + 60
        while len(scene.ledger()) < due and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        scene.kill(name)
        if name == "broker":
            time.sleep(chance.uniform(0, 0.5))
        scene.start(name)


def account_for(scene: Scene) -> dict[str, int]:
    """What was promised against what is there."""
    ledger, collected = scene.ledger(), Counter(scene.collected())
    return {
        "promised": len(ledger),
        "collected": len(collected),
        "lost": sum(word not in collected for word in ledger),
        "twice": sum(count - 1 for count in collected.values()),
    }


def run_and_account(scene_: Scene, kills: dict[str, int], *, patience_s: float) -> dict[str, int]:
    with scene(scene_):
        kill_at_random(scene_, kills, seed=SEED)
        try:
            code = scene_.running["agent"].wait(patience_s)
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, scene_.evidence()
    return account_for(scene_)


def quiet_port() -> int:
    """A port that the system gives to no client: one that knocks while the broker is dead could meet itself there."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


@pytest.fixture
def make_scene(tmp_path: Path, open_mosquitto: Open, make_report: Make) -> Callable[..., Scene]:
    port = quiet_port()

    def make(*, total: int, rate: float, keeping: tuple[str, ...] = KEEPING) -> Scene:
        pattern = make_report().model_dump_json()
        return Scene(tmp_path, port, open_mosquitto, pattern, total, rate, keeping)

    return make


def test_no_result_is_lost_or_counted_twice_when_agent_broker_and_collector_are_killed(
    make_scene: Callable[..., Scene],
) -> None:
    """4,000 results; agent killed 20 times, broker 5 times, collector 3 times."""
    stage = make_scene(total=4000, rate=400)
    found = run_and_account(stage, {"agent": 20, "broker": 5, "collector": 3}, patience_s=180)
    assert stage.kills == {"agent": 20, "broker": 5, "collector": 3}
    assert (found["lost"], found["twice"], found["collected"]) == (0, 0, 4000), found
    assert 4000 - 20 <= found["promised"] <= 4000


def test_nothing_is_lost_by_a_broker_that_keeps_nothing(make_scene: Callable[..., Scene]) -> None:
    """Its death takes sessions and queues with it; the agent still has all that no consumer has acknowledged."""
    stage = make_scene(total=600, rate=400, keeping=("persistence false",))
    found = run_and_account(stage, {"broker": 3}, patience_s=120)
    assert (found["lost"], found["twice"], found["collected"]) == (0, 0, 600), found


@pytest.mark.soak
def test_no_result_is_lost_or_counted_twice_in_a_long_run(make_scene: Callable[..., Scene]) -> None:
    """20,000 results; agent killed 100 times, broker 10 times, collector 10 times."""
    stage = make_scene(total=20_000, rate=400)
    found = run_and_account(stage, {"agent": 100, "broker": 10, "collector": 10}, patience_s=600)
    assert (found["lost"], found["twice"], found["collected"]) == (0, 0, 20_000), found
