"""How many reports a second the outbox and the publisher carry, beside bare paho and a bare disk in the same run.

All depends on how fast the disk of the folder where it is started syncs: that is measured beside it.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

import collector
from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from bench.results import Figures
from contract.messages import FrameInfo, FrameReport, ModelInfo, Quality
from contract.topics import Topics
from devbroker.broker import Broker, open_broker

REPORTS = 5000
BACKLOG = 50_000
BYTES = 600
SYNCS = 300
ForgetOn = Literal["broker", "consumer"]
TOPICS = Topics(prefix="microscopy", site="bench", device="scope")


def measure() -> Figures:
    """Durable reports a second while they are made; a backlog's a second while nothing is made."""
    with (
        open_broker(config_lines=["max_queued_messages 0"]) as broker,
        tempfile.TemporaryDirectory(dir=Path.cwd()) as name,  # for /tmp is memory on many machines
    ):
        folder = Path(name)
        sync_ms = _sync_ms(folder)
        commits = _bare_commits(folder)
        paho = _bare_paho(broker)
        made = _made(broker, folder)
        drained = _drained(broker, folder / "backlog.sqlite", "broker")
        with _collecting(broker, folder):
            collected = _drained(broker, folder / "collected.sqlite", "consumer")
    return {
        "report_bytes": BYTES,
        "disk_syncs_in_ms": round(sync_ms, 3),
        "bare_paho_per_s": round(paho),
        "bare_commits_per_s": round(commits),
        "durable_reports_per_s": round(made),
        "of_bare_paho": round(made / paho, 2),
        "of_bare_commits": round(made / commits, 2),
        "backlog": BACKLOG,
        "backlog_drained_per_s": round(drained),
        "backlog_collected_per_s": round(collected),
    }


def _report(epoch: str = "0" * 16, seq: int = 1) -> FrameReport:
    """A report of BYTES, as JSON, within a few."""
    frame = FrameInfo(
        id="run-00000001",
        source="",
        captured_at=datetime.now(timezone.utc),
        width=640,
        height=480,
        um_per_pixel=0.075,
    )
    report = FrameReport(
        device="scope",
        site="bench",
        epoch=epoch,
        seq=seq,
        slide_id="slide",
        frame=frame,
        quality=Quality(accepted=True),
        model=ModelInfo(id="blast-1", sha256="", engine="onnxruntime-int8"),
    )
    lacking = BYTES - len(report.model_dump_json())
    return report.model_copy(update={"frame": frame.model_copy(update={"source": "s" * max(0, lacking)})})


def _sync_ms(folder: Path) -> float:
    """Median milliseconds in which the disk makes one more page safe."""
    took_ms = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file)
            took_ms.append(1000 * (time.perf_counter() - started))
    return statistics.median(took_ms)


def _bare_commits(folder: Path) -> float:
    """Rows of the same size a second, each in a synced transaction of its own: what this disk can do."""
    database = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    for statement in ("pragma journal_mode = wal", "pragma synchronous = full", "create table t (body blob)"):
        database.execute(statement)
    body, started = bytes(BYTES), time.perf_counter()
    for _ in range(REPORTS):
        database.execute("insert into t values (?)", (body,))
    taken_s = time.perf_counter() - started
    database.close()
    return REPORTS / taken_s


def _bare_paho(broker: Broker) -> float:
    """QoS 1 messages a second with paho's own thread and queue, from memory, at the publisher's window."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(MqttSettings().window)
    client.max_queued_messages_set(0)
    done = threading.Semaphore(0)
    client.on_publish = lambda *_: done.release()
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    ready.wait(10)
    body, started = bytes(BYTES), time.perf_counter()
    for _ in range(REPORTS):
        client.publish("bench/bare", body, 1)
    for _ in range(REPORTS):
        done.acquire()
    taken_s = time.perf_counter() - started
    client.disconnect()
    client.loop_stop()
    return REPORTS / taken_s


def _made(broker: Broker, folder: Path) -> float:
    """Reports a second from ``put`` to the broker's acknowledgement and out of the outbox."""
    report = _report()
    with _delivering(broker, folder / "made.sqlite") as outbox:
        started = time.perf_counter()
        for _ in range(REPORTS):
            outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": outbox.next_seq()}))
        _until_empty(outbox)
        return REPORTS / (time.perf_counter() - started)


def _drained(broker: Broker, path: Path, forget_on: ForgetOn) -> float:
    """Reports a second out of an outbox that held many when the broker came back."""
    with Outbox(path, max_mb=512) as outbox:
        epoch = outbox.epoch
    body = _report(epoch).model_dump_json()
    with sqlite3.connect(path) as database:  # in one transaction: to put them one by one would take minutes
        bodies = (body.replace('"seq":1,', f'"seq":{seq},', 1).encode() for seq in range(1, BACKLOG + 1))
        database.executemany("insert into report (seq, body) values (?, ?)", enumerate(bodies, start=1))
    database.close()
    with _delivering(broker, path, forget_on) as outbox:
        started = time.perf_counter()
        _until_empty(outbox)
        return BACKLOG / (time.perf_counter() - started)


@contextmanager
def _collecting(broker: Broker, folder: Path) -> Iterator[None]:
    """The reference consumer, as its users start it."""
    database = f"sqlite:///{folder / 'store.sqlite'}"
    given = ["--host", broker.host, "--port", str(broker.port), "--database", database, "--log", "WARNING"]
    process = subprocess.Popen([sys.executable, "-m", collector.__name__, *given])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _delivering(broker: Broker, path: Path, forget_on: ForgetOn = "broker") -> Iterator[Outbox]:
    settings = MqttSettings(host=broker.host, port=broker.port, version=broker.version)
    with (
        Outbox(path, max_mb=512) as outbox,
        Publisher(settings, TOPICS, outbox, forget_on=forget_on, version="bench") as publisher,
    ):
        if not publisher.wait_connected(10):
            raise TimeoutError(publisher.trouble)
        yield outbox


def _until_empty(outbox: Outbox) -> None:
    deadline = time.monotonic() + 300
    while outbox.oldest() < outbox.next_seq():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{outbox.count()} reports are left after 300 s")
        time.sleep(0.01)
