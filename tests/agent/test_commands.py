"""Commands over MQTT: asked by a client of another make, carried out by a real agent, answered and audited."""

import base64
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import load_alone
from agent.service import serve
from agent.wire.snapshot import encoded
from contract.bundle import SHIPPED
from contract.requests import COMMANDS, MAX_REQUEST_BYTES
from contract.topics import Topics
from devbroker.broker import Broker, find_program
from tests.waiting import until
from tests.wire import check_payload

Open = Callable[..., Any]
SHOWN = [
    (name, value, "test")
    for name, value in {
        "mqtt.password": '"********"', "mqtt.port": "1883", "source.fps": "0.5", "engine_rebuild": "false",
        "site_file": "unset", "mqtt.commands": '["config/get", "snapshot"]', "bundle": '"C:\\new "one""',
    }.items()
]  # fmt: skip
"""Settings as `config show` prints them."""
SITE = "command-lab"
REPLY_TO = "answers/technician"


class Rig:
    """An agent in a thread, and a client that commands it."""

    def __init__(self, broker: Broker, device: str, bundle: Path) -> None:
        self.broker, self.bundle = broker, bundle
        self.topics = Topics(prefix="test", site=SITE, device=device)

    def ask(self, command: str, payload: str = "", *, reply_to: str = REPLY_TO) -> dict[str, Any]:
        """What mosquitto_rr gets for an answer."""
        program = str(find_program("mosquitto_rr"))
        where = ["-p", str(self.broker.port), "-t", f"{self.topics.root}/command/{command}", "-e", reply_to]
        marked = ["-D", "PUBLISH", "correlation-data", "c-17", "-V", "mqttv5", "-q", "1", "-W", "40", "-F", "%j"]
        done = subprocess.run([program, *where, *marked, "-m", payload], capture_output=True, text=True, check=False)
        assert done.stdout, f"no answer to {command}: {done.stderr}"
        message: dict[str, Any] = json.loads(done.stdout)
        assert message["properties"]["correlation-data"] == "c-17"
        assert message["properties"]["content-type"] == "application/json"
        answer: dict[str, Any] = json.loads(message["payload"])
        if command in set(COMMANDS):
            check_payload(f"answer_to_{command.replace('/', '_')}", answer)
        assert answer["command"] == command
        return answer

    def error(self, command: str, payload: str = "") -> dict[str, str]:
        answer = self.ask(command, payload)
        assert not answer["ok"]
        assert answer["result"] is None
        error: dict[str, str] = answer["error"]
        return error

    def result(self, command: str, payload: str = "") -> Any:
        answer = self.ask(command, payload)
        assert answer["ok"], answer["error"]
        return answer["result"]


@contextmanager
def running(broker: Broker, device: str, folder: Path, **more: str) -> Iterator[Rig]:
    bundle = folder / "bundle"
    shutil.copytree(SHIPPED, bundle)
    wanted = {
        "site": SITE,
        "device": device,
        "bundle": str(bundle),
        "state_dir": str(folder / "state"),
        "mqtt.port": str(broker.port),
        "mqtt.prefix": "test",
        "mqtt.password": "hunter2hunter2",
        "source.kind": "synthetic",
        "source.fps": "10",
        "source.width": "320",
        "source.height": "240",
        "engine": "onnxruntime",
    }
    ours, stop = load_alone({**wanted, **more}), threading.Event()
    thread = threading.Thread(target=lambda: serve(ours, stop, shown=SHOWN))
    thread.start()
    rig = Rig(broker, device, bundle)
    try:
        yield rig
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def rig(mosquitto: Broker, subscribe_once: Open, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An agent that has reported a frame."""
    with running(mosquitto, "scope-1", tmp_path_factory.mktemp("rig")) as rig:
        subscribe_once(rig)
        yield rig


@pytest.fixture(scope="session")
def subscribe_once() -> Open:
    """Wait for the first report."""

    def wait(rig: Rig) -> None:
        program = str(find_program("mosquitto_sub"))
        where = ["-p", str(rig.broker.port), "-t", rig.topics.frame, "-C", "1", "-W", "30"]
        subprocess.run([program, *where], check=True, capture_output=True)

    return wait


def test_a_slide_is_started_and_stopped(rig: Rig, subscribe: Open) -> None:
    listener = subscribe(rig.broker, rig.topics.frame)
    begun = rig.result("slide/start", '{"slide_id": "B-7"}')
    assert (begun["slide_id"], begun["state"]) == ("B-7", "open")
    while json.loads(listener.next()["payload"])["slide_id"] != "B-7":
        pass
    ended = rig.result("slide/stop", "{}")
    assert (ended["slide_id"], ended["state"], ended["count_id"]) == ("B-7", "closed", begun["count_id"])
    assert ended["frames"] >= 1
    assert rig.result("slide/stop") is None


def typed(rig: Rig, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """What a person types on another machine, who has the broker's address and the agent's name."""
    device = rig.topics.root.rsplit("/", 1)[-1]
    wanted = {"site": SITE, "device": device, "mqtt.prefix": "test", "mqtt.port": str(rig.broker.port)} | {
        name.replace("__", "."): value for name, value in more.items()
    }
    pairs = [part for name, value in wanted.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "agent", "slide", *words, *pairs]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_person_starts_and_stops_a_slide_by_a_command(rig: Rig, subscribe: Open) -> None:
    begun = typed(rig, "start", "B-9")
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout.startswith("slide B-9 is open: what follows is counted for it as ")
    subscribe(rig.broker, rig.topics.frame).take(2)
    ended = typed(rig, "stop")
    assert re.fullmatch(
        r"slide B-9 is closed: \d+ frames, \d+ of them not judged; \d+ cells?, each counted once: .*\n", ended.stdout
    )
    assert typed(rig, "stop").stdout == "no slide was open\n"


def test_why_a_slide_is_not_started_is_said(rig: Rig, mosquitto: Broker, tmp_path: Path) -> None:
    nobody = typed(rig, "start", "B-9", device="another")
    assert (nobody.returncode, "nobody listens on test/v1/command-lab/another/command" in nobody.stderr) == (4, True)
    old = typed(rig, "stop", mqtt__version="3.1.1")
    assert (old.returncode, "no agent can answer" in old.stderr) == (2, True)
    name = typed(rig, "start", "B/9")
    assert (name.returncode, "'B/9' is no name of a slide" in name.stderr) == (2, True)
    with running(mosquitto, "strict", tmp_path, **{"mqtt.commands": '["snapshot"]'}) as strict:
        until(lambda: typed(strict, "stop").returncode != 4, timeout_s=60)
        refused = typed(strict, "stop")
    assert (refused.returncode, "is not in the setting mqtt.commands" in refused.stderr) == (1, True)


def test_the_settings_are_told_without_secrets(rig: Rig) -> None:
    told = rig.result("config/get")["settings"]
    assert told["mqtt.password"] == {"value": "********", "origin": "test"}
    assert {name: setting["value"] for name, setting in told.items()} == {
        "mqtt.password": "********", "mqtt.port": 1883, "source.fps": 0.5, "engine_rebuild": False, "site_file": None,
        "mqtt.commands": ["config/get", "snapshot"], "bundle": 'C:\\new "one"',
    }  # fmt: skip


def test_a_restarted_source_begins_anew(rig: Rig, subscribe: Open) -> None:
    listener = subscribe(rig.broker, rig.topics.frame)
    before = json.loads(listener.next()["payload"])["frame"]["id"].partition("-")[0]
    assert rig.result("source/restart") == {"source": "synthetic"}
    ids = [json.loads(message["payload"])["frame"]["id"] for message in listener.take(20)]
    assert next(name for name in ids if not name.startswith(before)).endswith("-00000001")


def test_a_reload_counts_an_open_slide_anew_under_the_new_model(rig: Rig) -> None:
    before = rig.result("slide/start", '{"slide_id": "B-8"}')
    assert rig.result("model/reload") == before["model"]
    after = rig.result("slide/stop")
    assert after["slide_id"] == "B-8"
    assert after["count_id"] != before["count_id"]


def test_a_bundle_that_was_changed_is_refused_and_the_old_model_goes_on(rig: Rig, subscribe: Open) -> None:
    manifest = rig.bundle / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b"0", b"1", 1))
    error = rig.error("model/reload")
    manifest.write_bytes(whole)
    assert error["code"] == "integrity"
    assert str(rig.bundle) in error["text"]
    subscribe(rig.broker, rig.topics.frame).take(2)
    assert rig.result("model/reload")["id"]


@pytest.mark.parametrize("part", ["whole", "centre"])
def test_a_snapshot_shows_the_newest_picture_and_report(rig: Rig, part: str) -> None:
    shot = rig.result("snapshot", json.dumps({"part": part, "max_side_px": 160, "annotated": part == "whole"}))
    image = cv2.imdecode(np.frombuffer(base64.b64decode(shot["jpeg_base64"]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[:2] == (shot["height"], shot["width"])
    assert max(image.shape) <= 160
    assert shot["report"]["frame"]["id"] == shot["frame_id"]
    assert shot["um_per_pixel"] == pytest.approx(0.1 if part == "centre" else 0.2)


@given(side=st.integers(64, 4096), kb=st.integers(16, 64), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_no_picture_is_larger_than_asked_for(side: int, kb: int, seed: int) -> None:
    """Noise is what JPEG packs worst."""
    noise = np.random.default_rng(seed).integers(0, 256, (700, 900, 3)).astype(np.uint8)
    text, image = encoded(noise, max_side_px=side, max_chars=kb * 1024)
    assert len(text) <= kb * 1024
    assert max(image.shape[:2]) <= side


@pytest.mark.parametrize(
    ("command", "payload", "code", "word"),
    [
        ("coffee", "", "unknown", "slide/start"),
        ("slide/start/now", "", "unknown", "there is no command"),
        ("slide/start", "", "malformed", "slide_id"),
        ("slide/start", "not json", "malformed", "Invalid JSON"),
        ("slide/start", '{"slide_id": "a/b"}', "malformed", "slide_id: must have 1 to 64 characters, no"),
        ("slide/start", '{"slide": "a"}', "malformed", "slide: there is no such key; the nearest is slide_id"),
        ("slide/stop", '{"slide_id": "a"}', "malformed", "slide_id: there is no such key; this command takes none"),
        ("snapshot", '{"max_kb": 100000}', "malformed", "max_kb"),
        ("config/get", "x" * (MAX_REQUEST_BYTES + 1), "too_large", "65536"),
    ],
)
def test_what_is_unknown_or_malformed_is_answered_with_an_error(
    rig: Rig, command: str, payload: str, code: str, word: str
) -> None:
    error = rig.error(command, payload)
    assert error["code"] == code
    assert word in error["text"]


def test_a_retained_command_is_refused_at_every_connect_and_said_so(
    mosquitto: Broker, subscribe: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topics = Topics(prefix="test", site=SITE, device="retained")
    topic, answers = f"{topics.root}/command/source/restart", subscribe(mosquitto, "answers/retained")
    where = ["-p", str(mosquitto.port), "-V", "mqttv5", "-q", "1", "-t", topic]
    retain = [str(find_program("mosquitto_pub")), *where, "-r"]
    subprocess.run([*retain, "-D", "PUBLISH", "response-topic", "answers/retained", "-m", "{}"], check=True)
    try:
        with running(mosquitto, "retained", tmp_path):
            assert json.loads(answers.next(30)["payload"])["error"]["code"] == "retained"
            subprocess.run([*retain, "-D", "PUBLISH", "response-topic", "answers/retained", "-m", "{}"], check=True)
            assert json.loads(answers.next(30)["payload"])["error"]["code"] == "retained"
    finally:
        subprocess.run([*retain, "-n"], check=True)
    assert "clear the topic" in caplog.text


def test_a_command_that_is_switched_off_is_not_allowed(mosquitto: Broker, subscribe_once: Open, tmp_path: Path) -> None:
    with running(mosquitto, "few", tmp_path, **{"mqtt.commands": "config/get"}) as rig:
        subscribe_once(rig)
        assert rig.error("snapshot")["code"] == "not_allowed"
        assert rig.result("config/get")


def test_an_answer_that_the_broker_does_not_take_is_replaced_and_no_connection_is_lost(
    open_mosquitto: Open, subscribe_once: Open, tmp_path: Path
) -> None:
    with open_mosquitto(config_lines=["max_packet_size 4000"]) as broker, running(broker, "small", tmp_path) as rig:
        subscribe_once(rig)
        assert rig.error("snapshot")["code"] == "too_large"
        assert rig.result("slide/stop")["slide_id"] == "unnamed"


def test_a_response_topic_that_the_access_list_denies_harms_nobody(
    open_mosquitto: Open, subscribe: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    root = Topics(prefix="test", site=SITE, device="denied").root
    rules.write_text(f"topic readwrite {root}/#\n")
    with open_mosquitto(config_lines=[f"acl_file {rules}"]) as broker, running(broker, "denied", tmp_path) as rig:
        listener = subscribe(broker, rig.topics.frame)
        listener.take(1)
        asked = ["-V", "mqttv5", "-q", "1", "-D", "PUBLISH", "response-topic", "secret/place"]
        command = [str(find_program("mosquitto_pub")), "-p", str(broker.port), "-t", f"{root}/command/config/get"]
        subprocess.run([*command, *asked, "-m", "{}"], check=True)
        assert until(lambda: "secret/place" in caplog.text.rpartition("access list")[0])
        listener.take(3)


def test_with_mqtt_3_1_1_commands_are_carried_out_and_nobody_is_answered(
    mosquitto: Broker, subscribe: Open, subscribe_once: Open, tmp_path: Path
) -> None:
    with running(mosquitto, "old", tmp_path, **{"mqtt.version": "3.1.1"}) as rig:
        subscribe_once(rig)
        slides = subscribe(mosquitto, rig.topics.slide)
        answers = subscribe(mosquitto, "answers/old")
        where = ["-p", str(mosquitto.port), "-t", f"{rig.topics.root}/command/slide/stop", "-V", "mqttv5", "-q", "1"]
        asked = [str(find_program("mosquitto_pub")), *where, "-D", "PUBLISH", "response-topic", "answers/old"]
        subprocess.run([*asked, "-m", "{}"], check=True)
        while json.loads(slides.next()["payload"])["state"] != "closed":
            pass
        with pytest.raises(queue.Empty):
            answers.next(0.5)
