"""What of an agent's life stands in its audit log, of runs as a user starts them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from agent.ops.audit import FOLDER, files_of, verify
from agent.rollback_guard import remember
from contract.bundle import SHIPPED
from contract.health_messages import Health
from devbroker.broker import find_program


class Broker(Protocol):
    """What is asked of the fixture ``mosquitto``."""

    port: int


def command(state: Path, port: int, **settings: object) -> list[str]:
    wanted = {
        "state_dir": state, "device": "scope-audit", "mqtt.host": "127.0.0.1", "mqtt.port": port,
        "mqtt.password": "swordfish", "mqtt.username": "scope", "mqtt.drain_s": 5, "source.frames": 3,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "agent", "run", *pairs]


def ran(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def running(arguments: Sequence[str], *, stderr: int = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    """An agent that a test that fails does not wait for."""
    with subprocess.Popen(arguments, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def entries(state: Path) -> list[dict[str, Any]]:
    verify(state)
    lines = b"".join(path.read_bytes() for path in files_of(state / FOLDER)).splitlines()
    return [json.loads(line) for line in lines]


def events(state: Path) -> list[str]:
    return [entry["event"] for entry in entries(state)]


def facts(state: Path, event: str) -> dict[str, Any]:
    [found] = [entry["facts"] for entry in entries(state) if entry["event"] == event]
    assert isinstance(found, dict)
    return found


def test_a_run_leaves_its_start_its_model_its_slide_and_its_end(mosquitto: Broker, tmp_path: Path) -> None:
    done = ran(command(tmp_path, mosquitto.port, slide__id="slide-7"))
    assert done.returncode == 0, done.stderr
    assert events(tmp_path) == [
        "start", "settings_changed", "model_opened", "engine_fallback", "slide_started", "slide_stopped", "stop",
    ]  # fmt: skip
    model = facts(tmp_path, "model_opened")
    assert (model["id"], model["gate"], model["engine"]) == (SHIPPED.name, "passed", "onnxruntime-int8")
    assert len(model["sha256"]) == 64
    assert len(model["key"]) == 16
    assert facts(tmp_path, "slide_started")["slide_id"] == "slide-7"
    assert facts(tmp_path, "slide_stopped")["frames"] == 3
    assert facts(tmp_path, "stop") == {"because": "done"}


def test_settings_are_noted_when_they_change_and_secrets_never(mosquitto: Broker, tmp_path: Path) -> None:
    for slide in ("", "", "slide-8"):
        assert ran(command(tmp_path, mosquitto.port, slide__id=slide)).returncode == 0
    noted = [
        entry["facts"]["values"]["slide.id"] for entry in entries(tmp_path) if entry["event"] == "settings_changed"
    ]
    assert noted == ['""', '"slide-8"']
    assert "swordfish" not in "".join(path.read_text() for path in files_of(tmp_path / FOLDER))


def test_the_hash_in_the_health_message_is_found_in_the_log(mosquitto: Broker, subscribe: Any, tmp_path: Path) -> None:
    assert ran(command(tmp_path, mosquitto.port)).returncode == 0
    payload = subscribe(mosquitto, "microscopy/v1/lab/scope-audit/health").next()["payload"]
    head = Health.model_validate(json.loads(payload)).audit
    assert head is not None
    assert verify(tmp_path, sought=head.sha256).found_at == head.lines


def test_a_model_that_is_refused_is_on_record(tmp_path: Path) -> None:
    assert ran(command(tmp_path, 9, trust__keys="0" * 64)).returncode == 5
    stop = facts(tmp_path, "stop")
    assert (stop["because"], stop["exit_code"]) == ("IntegrityError", 5)
    assert "not trusted here" in stop["error"]


def test_an_older_model_that_is_allowed_is_on_record(mosquitto: Broker, tmp_path: Path) -> None:
    remember("blast", 9, tmp_path)
    assert ran(command(tmp_path, mosquitto.port)).returncode == 5
    assert ran(command(tmp_path, mosquitto.port, trust__allow_rollback="true")).returncode == 0
    assert facts(tmp_path, "rollback_allowed")["newest"] == 9


def test_an_outbox_that_was_rescued_is_on_record(mosquitto: Broker, tmp_path: Path) -> None:
    assert ran(command(tmp_path, mosquitto.port)).returncode == 0
    outbox = tmp_path / "outbox.sqlite"
    content = bytearray(outbox.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    outbox.write_bytes(content)
    assert ran(command(tmp_path, mosquitto.port)).returncode == 0
    assert facts(tmp_path, "outbox_rescued")["kept_aside"]


def test_an_agent_that_is_killed_leaves_no_end_and_a_whole_log(mosquitto: Broker, tmp_path: Path) -> None:
    arguments = command(tmp_path, mosquitto.port, source__fps=20, source__frames=1_000_000)
    with running(arguments) as process:
        assert process.stderr is not None
        while "connected to the broker" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert "stop" not in events(tmp_path)
    assert ran(command(tmp_path, mosquitto.port)).returncode == 0
    assert events(tmp_path)[-1] == "stop"


def test_every_command_is_on_record(mosquitto: Broker, subscribe: Any, tmp_path: Path) -> None:
    arguments = command(tmp_path, mosquitto.port, device="scope-asked", source__fps=20, source__frames=1_000_000)
    root = "microscopy/v1/lab/scope-asked"
    statuses, answers = subscribe(mosquitto, f"{root}/status"), subscribe(mosquitto, "answers")
    with running(arguments, stderr=subprocess.DEVNULL) as process:
        assert "online" in statuses.next(30)["payload"]
        for name, payload in (("slide/start", '{"slide_id": "slide-9"}'), ("nonsense", "{}")):
            ask = ["-t", f"{root}/command/{name}", "-m", payload, "-D", "publish", "response-topic", "answers"]
            publish = [str(find_program("mosquitto_pub")), "-V", "mqttv5", "-p", str(mosquitto.port), *ask]
            subprocess.run(publish, check=True)
            answers.next(30)
        process.terminate()
        assert process.wait(30) == 0
    noted = events(tmp_path)
    assert noted.count("slide_started") == 2
    assert facts(tmp_path, "command")["request"] == {"slide_id": "slide-9"}
    assert noted.index("command") < noted.index("command_done") < noted.index("command_failed")
    assert facts(tmp_path, "command_failed")["code"] == "unknown"


def test_a_second_agent_in_one_folder_is_refused(mosquitto: Broker, tmp_path: Path) -> None:
    arguments = command(tmp_path, mosquitto.port, source__fps=20, source__frames=1_000_000)
    with running(arguments) as process:
        assert process.stderr is not None
        while "connected to the broker" not in process.stderr.readline():
            assert process.poll() is None
        second = ran(arguments)
        assert second.returncode == 1
        assert "another agent" in second.stderr
        process.terminate()
        process.communicate(timeout=30)
