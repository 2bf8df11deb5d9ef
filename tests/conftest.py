"""Parts that several rooms' tests share: a report that is true to form, and real brokers."""

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import common  # isort: skip  # noqa: F401 - OpenCV reads the bounds that it sets when it is imported
import cv2
import numpy as np
import pytest
from hypothesis import settings

from common.errors import BrokerError
from contract.messages import BoxReport, CellReport, FrameInfo, FrameReport, ModelInfo, Quality
from devbroker.broker import UNPACKED, Broker, find_program, open_broker
from devbroker.debian import unpack_mosquitto
from tests.drawn import write_cells
from tests.wire import check

settings.register_profile("shared machine", deadline=None)  # how long an example takes is nobody's truth here
settings.load_profile("shared machine")
MakeReport = Callable[..., FrameReport]
OpenBroker = Callable[..., AbstractContextManager[Broker]]


class Subscriber:
    """A mosquitto_sub that is subscribed: what it hears, message by message."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until the broker has confirmed the subscription; raises queue.Empty if it does not."""
        while "Subscribed" not in self._lines.get(timeout=10):
            pass

    def next(self, timeout_s: float = 10) -> dict[str, Any]:
        """The next message: topic, qos, retain, payload, properties; raises queue.Empty if none comes.

        What an agent has sent is held against docs/asyncapi.json.
        """
        while True:
            line = self._lines.get(timeout=timeout_s)
            if line.startswith("{"):
                message: dict[str, Any] = json.loads(line)
                check(message)
                return message

    def take(self, count: int, timeout_s: float = 20) -> list[dict[str, Any]]:
        """The next ``count`` messages."""
        return [self.next(timeout_s) for _ in range(count)]

    def close(self) -> None:
        self._process.kill()  # mosquitto_sub does not heed SIGTERM while its broker is away
        self._process.wait(10)
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())


Subscribe = Callable[..., Subscriber]


@pytest.fixture(scope="session")
def open_mosquitto() -> OpenBroker:
    """Start a mosquitto of one's own, with the arguments of devbroker.broker.open_broker but for its origin."""
    if find_program("mosquitto") is None:
        try:
            unpack_mosquitto(UNPACKED)
        except BrokerError as reason:
            pytest.skip(f"no mosquitto: {reason}")
    return partial(open_broker, allow=("path", "package"))


@pytest.fixture(scope="session")
def mosquitto(open_mosquitto: OpenBroker) -> Iterator[Broker]:
    """One mosquitto for all tests that leave it alone; keep to topics of your own."""
    with open_mosquitto() as broker:
        yield broker


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """Start subscribers, each with its subscription in force: ``subscribe(broker, topic, *options)``."""
    subscribers: list[Subscriber] = []

    def start(broker: Broker, topic: str, *options: str) -> Subscriber:
        program = find_program("mosquitto_sub")
        assert program is not None
        command = [
            "stdbuf",
            "-oL",
            str(program),
            "-d",
            "-h",
            broker.host,
            "-p",
            str(broker.port),
            "-q",
            "1",
            "-F",
            "%j",
            "-t",
            topic,
        ]
        version = [] if "-V" in options else ["-V", "mqttv5"]
        process = subprocess.Popen([*command, *version, *options], stdout=subprocess.PIPE, text=True)
        subscribers.append(Subscriber(process))
        subscribers[-1].wait()
        return subscribers[-1]

    yield start
    for subscriber in subscribers:
        subscriber.close()


@pytest.fixture(scope="session")
def make_report() -> MakeReport:
    """Build a report of one white cell: ``make_report(seq, epoch, **changes)``."""
    return _report


def _report(seq: int = 1, epoch: str = "0123456789abcdef", **changes: Any) -> FrameReport:
    frame = FrameInfo(
        id=f"run-{seq:08d}",
        source=f"smear-{seq:05d}.png",
        captured_at=datetime.now(timezone.utc),
        width=640,
        height=480,
        um_per_pixel=0.075,
    )
    cell = CellReport(
        cell_id=f"run-{seq:08d}-1",
        box=BoxReport(x=10, y=20, width=160, height=150),
        area_um2=105.0,
        label="normal",
        probability=0.03,
    )
    report = FrameReport(
        device="scope-1",
        site="lab",
        epoch=epoch,
        seq=seq,
        slide_id="slide-7",
        frame=frame,
        quality=Quality(accepted=True),
        cells=[cell],
        model=ModelInfo(id="blast-1", sha256="0" * 64, engine="onnxruntime-int8"),
    )
    return report.model_copy(update=changes)


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout ``folders``: six patients with three normal cells and three blasts each, 0.2 um per pixel."""
    return write_cells(tmp_path_factory.mktemp("cells"), patients=6, each=3)


@pytest.fixture(scope="session")
def touch_images() -> Callable[[Path, list[str]], None]:
    """Write tiny grey images at the given paths below a root."""

    def write(root: Path, names: list[str]) -> None:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8, 3), 128, np.uint8))

    return write
