"""`microscope-agent run`, `doctor` and `config` as a user types them, with a real broker."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from agent.broker import Broker, find_program, open_broker
from contract.messages import FrameReport, Health, Status

FRAMES = 12


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Broker]:
    with open_broker(allow=("path", "package")) as broker:
        yield broker


def command(name: str, state: Path, port: int, **settings: object) -> list[str]:
    wanted = {
        "state_dir": state, "site": "lab", "device": "scope-1", "mqtt.host": "127.0.0.1", "mqtt.port": port,
        "mqtt.drain_s": 5, "source.kind": "synthetic", "source.frames": FRAMES,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "agent", name, *pairs]


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


class Listener:
    """mosquitto_sub: a subscriber of another make, in a process of its own."""

    def __init__(self, broker: Broker, topic: str, *more: str) -> None:
        program = find_program("mosquitto_sub")
        assert program, "mosquitto_sub comes with the broker's package"
        self.process = subprocess.Popen(
            [program, "-V", "mqttv5", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic, *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def lines(self) -> list[str]:
        out, _ = self.process.communicate(timeout=60)
        return out.splitlines()


def test_a_subscriber_of_another_make_reads_every_report_valid_against_the_schema(
    mosquitto: Broker, tmp_path: Path
) -> None:
    listener = Listener(mosquitto, "microscopy/v1/lab/scope-1/frame", "-C", str(FRAMES), "-W", "60", "-F", "%C %P %p")
    time.sleep(0.5)
    done = call(command("run", tmp_path, mosquitto.port))
    assert done.returncode == 0, done.stderr
    lines = listener.lines()
    assert len(lines) == FRAMES
    schema = FrameReport.model_json_schema(mode="serialization")
    reports = []
    for line in lines:
        assert line.startswith("application/json schema_version:1 "), line[:80]
        reports.append(json.loads(line[line.index("{") :]))
        jsonschema.validate(reports[-1], schema)
    assert [report["seq"] for report in reports] == list(range(1, FRAMES + 1))


def retained(broker: Broker, name: str) -> str:
    [line] = Listener(broker, f"microscopy/v1/lab/scope-1/{name}", "-C", "1", "-W", "10").lines()
    return line


def test_afterwards_status_says_stopped_and_health_says_what_was_done(mosquitto: Broker, tmp_path: Path) -> None:
    assert call(command("run", tmp_path, mosquitto.port)).returncode == 0
    assert Status.model_validate_json(retained(mosquitto, "status")).state == "stopped"
    health = Health.model_validate_json(retained(mosquitto, "health"))
    assert (health.frames, health.queued, health.engine) == (FRAMES, 0, "onnxruntime-int8")


def test_sigterm_ends_an_endless_run_in_order(mosquitto: Broker, tmp_path: Path) -> None:
    arguments = command("run", tmp_path, mosquitto.port, source__fps=20, source__frames=1_000_000)
    listener = Listener(mosquitto, "microscopy/v1/lab/scope-1/frame", "-C", "3", "-W", "60")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert len(listener.lines()) == 3
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    assert "Traceback" not in log
    assert Status.model_validate_json(retained(mosquitto, "status")).state == "stopped"


def test_reports_that_found_no_broker_are_kept_and_delivered_by_the_next_run(mosquitto: Broker, tmp_path: Path) -> None:
    nowhere = call(command("run", tmp_path, 9, mqtt__drain_s=0.5))
    assert nowhere.returncode == 4
    assert "Traceback" not in nowhere.stderr
    assert f"{FRAMES} reports wait in {tmp_path}" in nowhere.stderr
    assert "127.0.0.1:9" in nowhere.stderr
    listener = Listener(mosquitto, "microscopy/v1/lab/scope-1/frame", "-C", str(2 * FRAMES), "-W", "60")
    time.sleep(0.5)
    assert call(command("run", tmp_path, mosquitto.port)).returncode == 0
    reports = [json.loads(line) for line in listener.lines()]
    assert [report["seq"] for report in reports] == list(range(1, 2 * FRAMES + 1))
    assert len({report["epoch"] for report in reports}) == 1


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"mqtt__prot": 1}, 2, "mqtt.port"),
        ({"bundle": "nowhere"}, 4, "no bundle at"),
        ({"state_dir": "/proc/nowhere"}, 1, "state_dir"),
    ],
)
def test_what_can_not_work_is_refused_at_the_start_in_one_line(
    changed: dict[str, object], code: int, message: str, tmp_path: Path
) -> None:
    done = call(command("run", tmp_path, 9, **changed))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_camera_that_is_not_there_is_a_missing_component(tmp_path: Path) -> None:
    done = call(
        [sys.executable, "-m", "agent", "run", "--set", f"state_dir={tmp_path}", "--set", "source.kind=camera",
         "--set", "source.um_per_pixel=0.1", "--set", "source.uri=http://127.0.0.1:9/none"]
    )  # fmt: skip
    assert done.returncode == 4
    assert "the camera http://127.0.0.1:9/none can not be opened" in done.stderr


def test_the_doctor_finds_a_healthy_machine_healthy(mosquitto: Broker, tmp_path: Path) -> None:
    done = call(command("doctor", tmp_path, mosquitto.port))
    assert done.returncode == 0, done.stdout
    names = [line.split()[1] for line in done.stdout.splitlines()]
    assert names == ["settings", "source", "bundle", "engine", "broker", "disk", "clock", "clashes"]


def test_the_doctor_names_each_ill_and_exits_1(tmp_path: Path) -> None:
    done = call(command("doctor", tmp_path, 9, bundle="nowhere", outbox__max_mb=10**9))
    assert done.returncode == 1
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert failed == {"bundle", "engine", "broker", "disk", "clock"}


def test_config_show_prints_every_setting_with_its_origin(tmp_path: Path) -> None:
    arguments = [*command("config", tmp_path, 1), "--set", "mqtt.password=swordfish"]
    done = call([*arguments[:4], "show", *arguments[4:]])
    assert done.returncode == 0, done.stderr
    assert 'site = "lab"  # command line' in done.stdout
    assert "swordfish" not in done.stdout


def test_config_schema_is_a_json_schema() -> None:
    done = call([sys.executable, "-m", "agent", "config", "schema"])
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))
