"""A collector in a thread, agents that it collects from, and what it has stored."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector import tables
from collector.arrivals import Key
from collector.database import open_engine
from collector.receive import Collector
from collector.settings import CollectorSettings
from collector.store import Store
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker


@contextmanager
def collecting(settings: CollectorSettings, *, wait: bool = True) -> Iterator[Collector]:
    """Run a collector; subscribed when entered, unless ``wait`` is false."""
    stop, made = threading.Event(), queue.Queue[Collector]()

    def work() -> None:
        with Store(settings.database) as store:
            collector = Collector(settings, store)
            made.put(collector)
            collector.run(stop.is_set)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        collector = made.get(timeout=10)
        assert not wait or until(lambda: collector.ready)
        yield collector
    finally:
        stop.set()
        thread.join(20)


@dataclass
class Agent:
    """What delivers an agent's reports, and the key of each report that was made."""

    outbox: Outbox
    device: str
    make_report: Callable[..., FrameReport]
    made: list[Key] = field(default_factory=list)

    def put(self, count: int) -> None:
        """So many reports more."""
        for _ in range(count):
            report = self.make_report(self.outbox.next_seq(), self.outbox.epoch, device=self.device)
            self.outbox.put(report)
            self.made.append((report.device, report.epoch, report.seq))

    def promised(self) -> list[Key]:
        """What it has forgotten, for a collector acknowledged it; once no more words are under way."""
        before = -1
        while before != (before := self.outbox.oldest()):
            time.sleep(0.5)
        return [key for key in self.made if key[2] < before]

    def has_forgotten_all(self) -> bool:
        return until(lambda: self.outbox.count() == 0, 60)


@contextmanager
def agent_on(
    broker: Broker, folder: Path, make_report: Callable[..., FrameReport], *, prefix: str, device: str
) -> Iterator[Agent]:
    """An agent at a broker, with its outbox in a folder."""
    settings, topics = (
        MqttSettings(port=broker.port, prefix=prefix),
        Topics(prefix=prefix, site="lab", device=device),
    )
    with (
        Outbox(folder / f"{device}.sqlite", max_mb=8) as outbox,
        Publisher(settings, topics, outbox, forget_on="consumer", version="1"),
    ):
        yield Agent(outbox, device, make_report)


def until(truth: Callable[[], Any], timeout_s: float = 20) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(truth())


def stored(database: str) -> list[Key]:
    """Device, epoch and number of every report in a database, sorted."""
    key = tables.report.c.device, tables.report.c.epoch, tables.report.c.seq
    engine = open_engine(database, writes=False)
    try:
        with engine.connect() as connection:
            return [(device, epoch, seq) for device, epoch, seq in connection.execute(sa.select(*key).order_by(*key))]
    finally:
        engine.dispose()
