"""The network between an agent and its broker is cut, silently or with a word, and slow: all arrives, and in order.

The agent is a process of its own in a network namespace of its own; one pair of virtual interfaces joins it to this
one, where broker and subscriber are.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from devbroker.broker import Broker, find_program

log = logging.getLogger(__name__)
Open = Callable[..., Any]
FPS = 20
HEALED_WITHIN_S = 15.0
pytestmark = pytest.mark.requires_root


@dataclass
class Wire:
    """Two ends: ``here`` in this namespace, ``there`` in the namespace ``name``."""

    name: str
    here: str
    there: str
    address: str
    """Of the end that is here."""

    def swallow(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        _run("tc", "qdisc", "replace", "dev", self.here, "root", "blackhole")
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", self.there, "root", "blackhole")

    def unswallow(self) -> None:
        _run("tc", "qdisc", "del", "dev", self.here, "root")
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "del", "dev", self.there, "root")

    def unplug(self) -> None:
        """The interface of the agent goes down; whoever sends there is told."""
        _run("ip", "-n", self.name, "link", "set", self.there, "down")

    def plug_in(self) -> None:
        _run("ip", "-n", self.name, "link", "set", self.there, "up")

    def slow_down(self, rate: str) -> None:
        """What the agent sends passes at this rate."""
        shape = ("root", "tbf", "rate", rate, "burst", "3kb", "latency", "400ms")
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", self.there, *shape)

    def speed_up(self) -> None:
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "del", "dev", self.there, "root")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


@pytest.fixture
def wire() -> Iterator[Wire]:
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    mark = os.getpid()
    name, net = f"mn{mark}", f"198.18.{mark >> 6 & 255}.{(mark & 63) * 4}"
    first, second = (f"{net.rpartition('.')[0]}.{int(net.rpartition('.')[2]) + k}" for k in (1, 2))
    wire = Wire(name, f"mh{mark}", f"mt{mark}", first)
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", wire.here, "type", "veth", "peer", "name", wire.there, "netns", name)
        _run("ip", "address", "add", f"{first}/30", "dev", wire.here)
        _run("ip", "-n", name, "address", "add", f"{second}/30", "dev", wire.there)
        _run("ip", "link", "set", wire.here, "up")
        for end in (wire.there, "lo"):
            _run("ip", "-n", name, "link", "set", end, "up")
        wire.swallow()
        wire.unswallow()
    except OSError as reason:
        _remove(wire)
        pytest.skip(f"no network namespaces here: {reason}")
    yield wire
    _remove(wire)


def _remove(wire: Wire) -> None:
    with suppress(OSError):
        _run("ip", "link", "del", wire.here)
    with suppress(OSError):
        _run("ip", "netns", "del", wire.name)


@dataclass
class Scene:
    """An agent behind the wire, and what a subscriber has heard of it."""

    broker: Broker
    listener: Any
    root: str
    seqs: dict[int, str] = field(default_factory=dict)
    """Slide by number, in the order in which the numbers first came."""
    again: int = 0

    def hear(self, timeout_s: float) -> datetime:
        """The next report; when its picture was captured."""
        report = json.loads(self.listener.next(timeout_s)["payload"])
        self.again += report["seq"] in self.seqs
        self.seqs.setdefault(report["seq"], report["slide_id"])
        return datetime.fromisoformat(report["frame"]["captured_at"].replace("Z", "+00:00"))

    def hear_until(self, moment: datetime, timeout_s: float = 90) -> None:
        """Until a report of a picture that was captured after ``moment``."""
        deadline = time.monotonic() + timeout_s
        while self.hear(max(0.1, deadline - time.monotonic())) < moment:
            assert time.monotonic() < deadline

    def next_slide(self, name: str) -> None:
        words = [str(find_program("mosquitto_pub")), "-p", str(self.broker.port), "-q", "1"]
        command = f"{self.root}/command/slide/start"
        subprocess.run([*words, "-t", command, "-m", json.dumps({"slide_id": name})], check=True)

    def is_whole(self) -> bool:
        """All numbers, in order, so that within each slide they are in order too."""
        return list(self.seqs) == list(range(1, len(self.seqs) + 1))


@contextmanager
def running(open_mosquitto: Open, subscribe: Open, wire: Wire, folder: Path, **more: object) -> Iterator[Scene]:
    """Broker, subscriber and agent; all that the agent reported has arrived when it is left."""
    with open_mosquitto() as probe:
        outside = probe.port
    with open_mosquitto(config_lines=[f"listener {outside} {wire.address}"]) as broker:
        scene = Scene(broker, subscribe(broker, "net/v1/lab/scope/frame"), "net/v1/lab/scope")
        wanted = {
            "state_dir": folder / "state", "site": "lab", "device": "scope", "mqtt.host": wire.address,
            "mqtt.port": outside, "mqtt.prefix": "net", "source.kind": "synthetic", "source.fps": FPS,
            "source.width": 320, "source.height": 240, "slide.id": "before", **more,
        }  # fmt: skip
        pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
        words = ["ip", "netns", "exec", wire.name, sys.executable, "-m", "agent", "run", *pairs]
        with (folder / "agent.log").open("w") as said, subprocess.Popen(words, stderr=said) as agent:
            try:
                scene.hear(60)
                yield scene
                agent.send_signal(signal.SIGTERM)
                assert agent.wait(30) == 0, (folder / "agent.log").read_text()
                with suppress(queue.Empty):
                    while True:
                        scene.hear(1)
            finally:
                agent.kill()
        assert "Traceback" not in (folder / "agent.log").read_text()


def cut_and_heal(scene: Scene, wire: Wire, seconds: float, *, silently: bool) -> float:
    """Seconds from the heal until a report of a picture that was captured after it is here."""
    scene.hear_until(datetime.now(timezone.utc))
    (wire.swallow if silently else wire.unplug)()
    time.sleep(seconds)
    (wire.unswallow if silently else wire.plug_in)()
    healed, began = datetime.now(timezone.utc), time.monotonic()
    scene.hear_until(healed)
    return time.monotonic() - began


Running = Callable[..., AbstractContextManager[Scene]]


@pytest.fixture
def agent_behind(wire: Wire, open_mosquitto: Open, subscribe: Open, tmp_path: Path) -> Running:
    return lambda **more: running(open_mosquitto, subscribe, wire, tmp_path, **more)


def cut_in_the_middle(agent_behind: Running, wire: Wire, seconds: float, *, silently: bool) -> float:
    with agent_behind() as scene:
        took_s = cut_and_heal(scene, wire, seconds, silently=silently)
        scene.next_slide("after")
        while "after" not in scene.seqs.values():
            scene.hear(10)
    log.info(
        "cut for %g s (%s): all here %.1f s after the heal; %d reports, %d came twice",
        *(seconds, "silently" if silently else "unplugged", took_s, len(scene.seqs), scene.again),
    )
    assert scene.is_whole()
    assert list(dict.fromkeys(scene.seqs.values())) == ["before", "after"]
    return took_s


@pytest.mark.parametrize("silently", [True, False], ids=["silently", "unplugged"])
def test_after_a_short_cut_every_report_arrives_in_order(agent_behind: Running, wire: Wire, silently: bool) -> None:  # noqa: FBT001
    cut_in_the_middle(agent_behind, wire, 5, silently=silently)


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [15, 30, 45, 60, 120])
@pytest.mark.parametrize("silently", [True, False], ids=["silently", "unplugged"])
def test_after_a_long_cut_every_report_is_there_within_fifteen_seconds(
    agent_behind: Running,
    wire: Wire,
    seconds: float,
    silently: bool,  # noqa: FBT001
) -> None:
    assert cut_in_the_middle(agent_behind, wire, seconds, silently=silently) < HEALED_WITHIN_S


def test_a_slow_wire_delays_reports_and_loses_none(agent_behind: Running, wire: Wire) -> None:
    """At 32 kbit/s fewer reports pass than are made; the rest waits in the outbox, until the wire is fast again."""
    with agent_behind() as scene:
        wire.slow_down("32kbit")
        began, before = datetime.now(timezone.utc), len(scene.seqs)
        while (datetime.now(timezone.utc) - began).total_seconds() < 4:
            scene.hear(20)
        passed = len(scene.seqs) - before
        wire.speed_up()
        scene.hear_until(datetime.now(timezone.utc))
    log.info("%d reports passed at 32 kbit/s while %d were made", passed, 4 * FPS)
    assert passed < 4 * FPS
    assert scene.is_whole()
