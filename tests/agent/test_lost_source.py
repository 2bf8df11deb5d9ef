"""A source that is not there, hangs or falls silent: reports and health leave all the same, and SIGTERM ends it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.wire.outbox import Outbox
from contract.health_messages import Health
from contract.messages import FrameReport
from devbroker.broker import Broker, find_program
from tests.network_camera import NetworkCamera
from tests.waiting import until

Open = Callable[..., Any]
Make = Callable[..., FrameReport]
WAITING = 40
NO_NAMES = """
import socket, sys, threading
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
from agent.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent whose name service never answers."""


class Agent:
    """An agent as a process; its log is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]", state: Path) -> None:
        self.process, self.state = process, state
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def says(self, words: str) -> bool:
        return until(lambda: words in "".join(self.log), 60)

    def stop(self) -> str:
        """End it by SIGTERM; what it logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "".join(self.log)
        self._reader.join(30)
        return "".join(self.log)

    def last_event(self) -> dict[str, Any]:
        """The last line of its audit log."""
        [file] = (self.state / "audit").glob("*.jsonl")
        event: dict[str, Any] = json.loads(file.read_text().splitlines()[-1])
        return event

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(iter(self.process.stderr.readline, ""))


@contextmanager
def agent(folder: Path, port: int, source: dict[str, object], *how: str, **settings: object) -> Iterator[Agent]:
    wanted = {
        "state_dir": folder / "state", "site": "lab", "device": "scope-1", "mqtt.port": port,
        "mqtt.prefix": folder.name, "source.um_per_pixel": 0.1,
        **{f"source.{name}": value for name, value in source.items()}, **settings,
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, *(how or ("-m", "agent")), "run", *pairs]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Agent(process, folder / "state")
        finally:
            process.kill()


def no_camera(_: Path) -> dict[str, object]:
    return {"kind": "camera", "uri": "/dev/video77"}


def a_camera_that_hangs(folder: Path) -> dict[str, object]:
    os.mkfifo(folder / "camera")
    return {"kind": "camera", "uri": folder / "camera"}


def no_folder(folder: Path) -> dict[str, object]:
    return {"kind": "directory", "uri": folder / "none"}


def an_empty_folder(folder: Path) -> dict[str, object]:
    (folder / "empty").mkdir()
    return {"kind": "directory", "uri": folder / "empty"}


def no_video(folder: Path) -> dict[str, object]:
    return {"kind": "video", "uri": folder / "none.mkv"}


def health_of(listener: Any) -> Iterator[Health]:
    while True:
        yield Health.model_validate_json(listener.next(30)["payload"])


@pytest.mark.parametrize(
    ("source", "alarm"),
    [
        (no_camera, "can not be opened"),
        (a_camera_that_hangs, "has not answered for 3 s"),
        (no_folder, "there is no folder or image"),
        (an_empty_folder, "holds no image"),
        (no_video, "none.mkv"),
    ],
)
def test_what_waits_leaves_and_health_tells_of_a_source_that_does_not_open(
    mosquitto: Broker, subscribe: Open, make_report: Make, tmp_path: Path, source: Open, alarm: str
) -> None:
    with Outbox(tmp_path / "state" / "outbox.sqlite", max_mb=8) as outbox:
        for _ in range(WAITING):
            outbox.put(make_report(outbox.next_seq(), outbox.epoch))
    frames, health, status = (
        subscribe(mosquitto, f"{tmp_path.name}/v1/lab/scope-1/{name}") for name in ("frame", "health", "status")
    )
    with agent(tmp_path, mosquitto.port, source(tmp_path)) as running:
        assert len(frames.take(WAITING, 60)) == WAITING
        assert any(alarm in text for now in health_of(health) for text in now.alarms)
        assert json.loads(status.next()["payload"])["state"] == "online"
        log = running.stop()
        assert json.loads(status.next()["payload"])["state"] == "stopped"
    assert sum(alarm in line for line in log.splitlines()) == 1, log
    assert "ended without it" not in log
    assert (running.last_event()["event"], running.last_event()["facts"]["because"]) == ("stop", "done")


def test_a_source_that_comes_is_taken_up_and_the_alarm_ends(mosquitto: Broker, subscribe: Open, tmp_path: Path) -> None:
    health, frames = (subscribe(mosquitto, f"{tmp_path.name}/v1/lab/scope-1/{name}") for name in ("health", "frame"))
    with agent(tmp_path, mosquitto.port, no_folder(tmp_path)) as running:
        assert any(now.alarms for now in health_of(health))
        (tmp_path / "new").mkdir()
        cv2.imwrite(str(tmp_path / "new" / "a.png"), np.full((480, 640, 3), 230, np.uint8))
        (tmp_path / "new").rename(tmp_path / "none")
        assert json.loads(frames.next(60)["payload"])["frame"]["source"] == "a.png"
        assert running.process.wait(30) == 0, "".join(running.log)
    assert next(now for now in health_of(health) if now.frames).alarms == []


def test_an_agent_whose_name_service_hangs_keeps_reports_and_ends_in_order(tmp_path: Path) -> None:
    smear = {"kind": "synthetic", "fps": 10}
    how = ("-c", NO_NAMES)
    with agent(tmp_path, 1883, smear, *how, **{"mqtt.host": "broker.example"}) as running:
        path = tmp_path / "state" / "outbox.sqlite"
        assert running.says("engine onnxruntime")
        assert until(lambda: kept(path) > 3, 60)
        log = running.stop()
    assert "ended without it" not in log
    assert f"{kept(path)} reports wait in" in log
    assert running.last_event()["facts"]["because"] == "done"


def kept(path: Path) -> int:
    """How many reports an outbox holds; none before it has its tables."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute("select count(*) from report").fetchone()[0])
    return 0


@pytest.fixture
def camera() -> Iterator[NetworkCamera]:
    grey = np.full((480, 640, 3), 200, np.uint8)
    with NetworkCamera([cv2.imencode(".jpg", grey)[1].tobytes()], pause_s=0.05) as made:
        yield made


def test_a_camera_that_falls_silent_is_an_alarm_and_a_line_of_the_log_until_it_is_back(
    mosquitto: Broker, subscribe: Open, camera: NetworkCamera, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, f"{tmp_path.name}/v1/lab/scope-1/health")
    lost = "the camera has delivered no frame since "
    with agent(tmp_path, mosquitto.port, {"kind": "camera", "uri": camera.url}) as running:
        told = health_of(listener)
        assert any(now.frames and not now.alarms for now in told)
        camera.silent.set()
        assert any(text.startswith(lost) for now in told for text in now.alarms)
        assert running.says(lost)
        camera.silent.clear()
        assert any(not now.alarms for now in told)
        assert running.says("the camera delivers frames again")
        camera.silent.set()
        assert any(now.alarms for now in told)
        log = running.stop()
    assert "ended without it" not in log


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("?user=admin&pwd=GE7HEIM", {}),
        ("GE7HEIM/stream", {}),
        ("?pwd={password}", {"source.password": "GE7HEIM"}),
        ("", {"source.username": "admin", "source.password": "GE7HEIM"}),
    ],
)
def test_a_camera_s_password_is_in_no_message_no_log_and_no_audit_line(
    mosquitto: Broker, subscribe: Open, camera: NetworkCamera, tmp_path: Path, query: str, settings: dict[str, object]
) -> None:
    heard = subscribe(mosquitto, f"{tmp_path.name}/v1/lab/scope-1/#")
    said, names = "", set[str]()
    with agent(
        tmp_path, mosquitto.port, {"kind": "camera", "uri": camera.url + query}, "-m", "agent", **settings
    ) as running:
        while not {"frame", "health", "status", "slide"} <= names:
            message = heard.next(60)
            names.add(message["topic"].rsplit("/", 1)[-1])
            said += json.dumps(message)
        camera.silent.set()
        assert running.says("the camera has delivered no frame since ")
        said += running.stop()
    said += "".join(file.read_text() for file in (tmp_path / "state" / "audit").iterdir())
    assert "127.0.0.1" in said
    assert "settings" in said, "the audit log has the settings"
    assert "GE7HEIM" not in said


def test_sighup_makes_another_connection_and_the_service_goes_on(
    mosquitto: Broker, subscribe: Open, tmp_path: Path
) -> None:
    """As of a terminal that is closed, or of `systemctl reload`."""
    status, frames = (subscribe(mosquitto, f"{tmp_path.name}/v1/lab/scope-1/{name}") for name in ("status", "frame"))
    with agent(tmp_path, mosquitto.port, {"kind": "synthetic", "fps": 10}) as running:
        assert json.loads(status.next(60)["payload"])["state"] == "online"
        seqs = (json.loads(frames.next(60)["payload"])["seq"] for _ in iter(int, 1))
        for _ in range(3):
            before = next(seqs)
            running.process.send_signal(signal.SIGHUP)
            assert json.loads(status.next(60)["payload"])["state"] == "online"
        assert any(seq > before + 20 for seq in seqs)  # made after the last connection, not left over from before
        log = running.stop()
        assert json.loads(status.next()["payload"])["state"] == "stopped"
    assert "WARNING agent.wire" not in log, log


def test_sighup_takes_a_renewed_password(
    open_mosquitto: Open, subscribe: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The broker has the new one already, and has not ended the connection that was made with the old."""
    passwords, credentials = tmp_path / "passwords", tmp_path / "credentials"
    credentials.mkdir()

    def set_password(word: str) -> None:
        program = str(find_program("mosquitto_passwd"))
        subprocess.run([program, "-c", "-b", str(passwords), "scope", word], check=True)
        (credentials / "mqtt.password").write_text(word)

    set_password("old")
    passwords.chmod(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    lines = ["allow_anonymous false", f"password_file {passwords}"]
    with (
        open_mosquitto(config_lines=lines) as broker,
        agent(tmp_path, broker.port, {"kind": "synthetic", "fps": 10}, **{"mqtt.username": "scope"}) as running,
    ):
        assert running.says("connected to the broker")
        set_password("new")
        os.kill(broker.pid, signal.SIGHUP)
        running.process.send_signal(signal.SIGHUP)
        assert until(lambda: "".join(running.log).count("connected to the broker") >= 2, 60), running.log
        status = subscribe(broker, f"{tmp_path.name}/v1/lab/scope-1/status", "-u", "scope", "-P", "new")
        assert json.loads(status.next(30)["payload"])["state"] == "online"
        running.stop()
