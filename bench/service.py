"""How soon the service speaks, and how much memory it holds."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

import agent
from bench.results import Figures
from devbroker.broker import Broker, open_broker

FRAMES = 2000
STARTS = 5
SILENCE_S = 60
"""Without a report, after which none is waited for."""
LIBRARIES = "import cv2, numpy, onnxruntime, paho.mqtt.client, pydantic_settings"


def measure() -> Figures:
    """Start to first report at a subscriber beside the bare import of the libraries; memory over many frames."""
    with open_broker() as broker:
        starts = sorted(_first_report_s(broker) for _ in range(STARTS))
        imports = sorted(_imports_s() for _ in range(STARTS))
        early_mb, late_mb, peak_mb = memory_mb(broker, frames=FRAMES)
    first, bare = starts[STARTS // 2], imports[STARTS // 2]
    return {
        "start_to_first_report_s": round(first, 2),
        "of_bare_imports": round(first / bare, 2),
        "frames": FRAMES,
        "rss_early_mb": round(early_mb, 1),
        "rss_late_mb": round(late_mb, 1),
        "late_of_early": round(late_mb / early_mb, 3),
        "rss_peak_mb": round(peak_mb, 1),
    }


def _imports_s() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.perf_counter() - started


def _first_report_s(broker: Broker) -> float:
    with _counting(broker) as counter:
        started = time.perf_counter()
        with _agent(broker, frames=50):
            counter.wait_for(1)
            return time.perf_counter() - started


def memory_mb(broker: Broker, *, frames: int) -> tuple[float, float, float]:
    """Resident memory of `run` after a fifth of the frames and near the end, and the peak, in MiB."""
    with _counting(broker) as counter, _agent(broker, frames=frames) as process:
        counter.wait_for(frames // 5)
        early = _status_mb(process.pid, "VmRSS")
        counter.wait_for(frames - 20)
        return early, _status_mb(process.pid, "VmRSS"), _status_mb(process.pid, "VmHWM")


def _status_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


@contextmanager
def _agent(broker: Broker, *, frames: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory() as state:
        wanted = {
            "state_dir": state,
            "site": "bench",
            "mqtt.host": broker.host,
            "mqtt.port": broker.port,
            "mqtt.version": broker.version,
            "source.kind": "synthetic",
            "source.frames": frames,
        }
        arguments = [part for name, value in wanted.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", agent.__name__, "--log", "WARNING", "run", *arguments]
        process = subprocess.Popen(command)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)


class _Counter:
    """Counts the frame reports that arrive at a subscriber."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def add(self, *_: object) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            while (before := self.count) < count:
                if not self._changed.wait_for(lambda: self.count > before, SILENCE_S):
                    raise TimeoutError(f"{before} of {count} reports, and none for {SILENCE_S} s")


@contextmanager
def _counting(broker: Broker) -> Iterator[_Counter]:
    counter, ready = _Counter(), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)

    def arrived(_client: Client, _data: object, _message: MQTTMessage) -> None:
        counter.add()

    client.on_message = arrived
    client.on_subscribe = lambda *_: ready.set()
    client.connect(broker.host, broker.port)
    client.subscribe("microscopy/v1/bench/+/frame", qos=0)
    client.loop_start()
    ready.wait(10)
    try:
        yield counter
    finally:
        client.loop_stop()
        client.disconnect()
