"""A collector in a thread, and what it has stored."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from collector import tables
from collector.database import open_engine
from collector.receive import Collector
from collector.settings import CollectorSettings
from collector.store import Store


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


def until(truth: Callable[[], Any], timeout_s: float = 20) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(truth())


def stored(database: str) -> list[tuple[str, str, int]]:
    """Device, epoch and number of every report in a database, sorted."""
    key = tables.report.c.device, tables.report.c.epoch, tables.report.c.seq
    engine = open_engine(database, writes=False)
    try:
        with engine.connect() as connection:
            return [(device, epoch, seq) for device, epoch, seq in connection.execute(sa.select(*key).order_by(*key))]
    finally:
        engine.dispose()
