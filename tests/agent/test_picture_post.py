"""The latest frame for Home Assistant: small, seldom, never old, and never kept by the broker."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.picture_post import EVERY_S, PicturePost
from agent.wire.publisher import Publisher
from agent.wire.snapshot import SnapshotTap
from contract.messages import FrameReport
from contract.topics import TOPICS, Topics
from contract.types import Frame
from devbroker.broker import Broker, find_program
from mqttlink.retained import Manner

NOISE = np.random.default_rng(7).integers(0, 256, (1200, 1600, 3), np.uint8)
"""Nothing is harder to compress."""
MakeReport = Callable[..., FrameReport]
Open = Callable[..., Any]
Listen = Callable[..., "Listener"]


class Sink:
    """Takes reports and forgets them."""

    epoch = "0123456789abcdef"

    def next_seq(self) -> int:
        return 1

    def put(self, report: FrameReport) -> None:
        pass


class Bench:
    """A post with a clock that stands until it is moved."""

    def __init__(self, make_report: MakeReport) -> None:
        self.now, self.said, self._report = 0.0, list[bytes](), make_report
        self.tap = SnapshotTap(Sink())
        self.post = PicturePost(self.tap, self.said.append, clock=lambda: self.now)

    def see(self, number: int) -> None:
        """Have a frame examined."""
        frame = Frame("smear", datetime.now(timezone.utc), 0.1, image=NOISE, id=f"run-{number:08d}")
        for _ in self.tap.through([frame]):
            self.tap.put(self._report(number))


@pytest.fixture
def bench(make_report: MakeReport) -> Bench:
    return Bench(make_report)


def test_the_picture_is_a_small_jpeg_whatever_the_frame_shows(bench: Bench) -> None:
    bench.see(1)
    bench.post.post()
    [jpeg] = bench.said
    assert len(jpeg) <= 48 * 1024
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert max(image.shape) <= 800


def test_nothing_is_said_before_the_first_frame_nor_of_the_same_frame_again(bench: Bench) -> None:
    bench.post.post()
    assert bench.said == []
    bench.see(1)
    for _ in range(3):
        bench.post.post()
        bench.now += EVERY_S
    assert len(bench.said) == 1


def test_frames_that_follow_quickly_are_left_out(bench: Bench) -> None:
    for number in range(1, 31):
        bench.see(number)
        bench.post.post()
        bench.now += 1.0
    assert len(bench.said) == 3


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        yield outbox


class Listener:
    """Hears one topic: content type, expiry, whether it was kept, and the payload of each message."""

    def __init__(self, broker: Broker, topic: str, version: str = "mqttv5") -> None:
        where = ["-h", broker.host, "-p", str(broker.port), "-q", "1", "-V", version, "-d"]
        form = "heard %C,%E,%r,%x" if version == "mqttv5" else "heard ,,%r,%x"
        command = ["stdbuf", "-oL", str(find_program("mosquitto_sub")), *where, "-t", topic, "-F", form]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while "Subscribed" not in self._lines.get(timeout=10):
            pass

    def next(self, timeout_s: float = 10) -> list[str]:
        while not (line := self._lines.get(timeout=timeout_s)).startswith("heard "):
            pass
        return line.removeprefix("heard ").split(",")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Start listeners that end with the test."""
    with contextlib.ExitStack() as opened:

        def started(broker: Broker, topic: str, version: str = "mqttv5") -> Listener:
            listener = Listener(broker, topic, version)
            opened.callback(listener.close)
            return listener

        yield started


def place(word: str) -> Topics:
    return Topics(prefix=f"posted-{word}", site="lab", device="scope-1")


def publisher_to(broker: Broker, topics: Topics, outbox: Outbox, version: str = "5") -> Publisher:
    settings = MqttSettings.model_validate({"port": broker.port, "version": version})
    return Publisher(settings, topics, outbox, forget_on="broker", version="1")


def manner() -> Manner:
    how = TOPICS["picture"]
    return Manner(retained=how.retained, expiry_s=how.expiry_s, media_type=how.media_type)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_who_listens_gets_the_file_as_it_is_and_who_comes_later_gets_none(
    mosquitto: Broker, outbox: Outbox, listen: Listen, version: str
) -> None:
    topics, jpeg = place(f"kept-{version}"), b"\xff\xd8\xff picture"
    listener = listen(mosquitto, topics.picture, "mqttv5" if version == "5" else "mqttv311")
    with publisher_to(mosquitto, topics, outbox, version) as publisher:
        assert publisher.wait_connected(10)
        say = publisher.speaker(topics.picture, manner())
        say(jpeg)
        media_type, expiry, kept, payload = listener.next()
        assert (kept, bytes.fromhex(payload)) == ("0", jpeg)
        if version == "5":
            assert media_type == "image/jpeg"
            assert 0 < int(expiry) <= 60
        late = listen(mosquitto, topics.picture)
        say(b"the next")
        assert bytes.fromhex(late.next()[3]) == b"the next"


def test_a_picture_from_before_a_lost_connection_is_not_said_after_it(
    open_mosquitto: Open, outbox: Outbox, listen: Listen
) -> None:
    topics = place("lost")
    with open_mosquitto() as broker, publisher_to(broker, topics, outbox) as publisher:
        assert publisher.wait_connected(10)
        say, always = publisher.speaker(topics.picture, manner()), publisher.speaker(f"{topics.root}/always")
        os.kill(broker.pid, signal.SIGKILL)
        say(b"old")
        always(b"stands")
        with open_mosquitto(port=broker.port) as again:
            listener = listen(again, f"{topics.root}/+")
            assert bytes.fromhex(listener.next(30)[3])  # what stands, and health or status
            say(b"new")
            heard = list[bytes]()
            with contextlib.suppress(queue.Empty):
                while b"new" not in heard:
                    heard.append(bytes.fromhex(listener.next(10)[3]))
            assert b"new" in heard
    assert b"old" not in heard


@contextlib.contextmanager
def running(broker: Broker, topics: Topics, folder: Path, **settings: object) -> Iterator[None]:
    given = {
        "site": "lab",
        "device": "scope-1",
        "mqtt.port": broker.port,
        "mqtt.prefix": topics.root.partition("/")[0],
        "state_dir": folder,
        "source.kind": "synthetic",
        "source.fps": 4,
        **settings,
    }
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")}
    command = [sys.executable, "-m", "agent", "run", *words]
    with subprocess.Popen(command, env=bare, stderr=subprocess.DEVNULL) as agent:
        try:
            yield
        finally:
            agent.terminate()
            agent.wait(20)


def test_an_agent_says_its_latest_frame_where_discovery_and_pictures_are_on(
    mosquitto: Broker, tmp_path: Path, listen: Listen
) -> None:
    topics = place("on")
    listener = listen(mosquitto, topics.picture)
    with running(mosquitto, topics, tmp_path, **{"mqtt.discovery": "ha", "pictures.keep": "true"}):
        heard = listener.next(30)
    image = cv2.imdecode(np.frombuffer(bytes.fromhex(heard[3]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert max(image.shape) <= 800


@pytest.mark.parametrize("one", ["mqtt.discovery=ha", "pictures.keep=true"])
def test_with_only_one_of_the_two_no_picture_is_said(
    mosquitto: Broker, tmp_path: Path, listen: Listen, one: str
) -> None:
    topics, (name, value) = place(one.partition(".")[0]), one.split("=")
    frames, every = listen(mosquitto, topics.frame), listen(mosquitto, f"{topics.root}/+")
    with running(mosquitto, topics, tmp_path, **{name: value}):
        for _ in range(16):  # four seconds, in which two looks are taken
            frames.next(30)
    heard = list[list[str]]()
    with contextlib.suppress(queue.Empty):
        while True:
            heard.append(every.next(1))
    assert len(heard) >= 16
    assert {media_type for media_type, *_ in heard} == {"application/json"}
