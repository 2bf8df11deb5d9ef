"""`microscope-agent run`, `doctor` and `config` as a user types them, with a real broker."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jsonschema
import pytest

from contract.health_messages import Health, Status
from contract.messages import FrameReport
from devbroker.broker import Broker, open_broker

FRAMES = 12


class Subscriber(Protocol):
    """The subscriber of the fixture ``subscribe``."""

    def next(self) -> dict[str, Any]: ...

    def take(self, count: int) -> list[dict[str, Any]]: ...


Subscribe = Callable[..., Subscriber]


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


def test_a_subscriber_of_another_make_reads_every_report_valid_against_the_schema(
    mosquitto: Broker, subscribe: Subscribe, tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, "microscopy/v1/lab/scope-1/frame")
    done = call(command("run", tmp_path, mosquitto.port))
    assert done.returncode == 0, done.stderr
    schema = FrameReport.model_json_schema(mode="serialization")
    reports = []
    for message in listener.take(FRAMES):
        assert message["properties"]["content-type"] == "application/json"
        assert message["properties"]["user-properties"] == {"schema_version": "2"}
        reports.append(json.loads(message["payload"]))
        jsonschema.validate(reports[-1], schema)
    assert [report["seq"] for report in reports] == list(range(1, FRAMES + 1))


def retained(listener: Subscriber) -> str:
    return str(listener.next()["payload"])


def test_afterwards_status_says_stopped_and_health_says_what_was_done(
    mosquitto: Broker, subscribe: Subscribe, tmp_path: Path
) -> None:
    assert call(command("run", tmp_path, mosquitto.port)).returncode == 0
    assert (
        Status.model_validate_json(retained(subscribe(mosquitto, "microscopy/v1/lab/scope-1/status"))).state
        == "stopped"
    )
    health = Health.model_validate_json(retained(subscribe(mosquitto, "microscopy/v1/lab/scope-1/health")))
    assert (health.frames, health.queued, health.engine) == (FRAMES, 0, "onnxruntime-int8")


def test_sigterm_ends_an_endless_run_in_order(mosquitto: Broker, subscribe: Subscribe, tmp_path: Path) -> None:
    arguments = command("run", tmp_path, mosquitto.port, source__fps=20, source__frames=1_000_000)
    listener = subscribe(mosquitto, "microscopy/v1/lab/scope-1/frame")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        listener.take(3)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    assert "Traceback" not in log
    assert (
        Status.model_validate_json(retained(subscribe(mosquitto, "microscopy/v1/lab/scope-1/status"))).state
        == "stopped"
    )


def test_reports_that_found_no_broker_are_kept_and_delivered_by_the_next_run(
    mosquitto: Broker, subscribe: Subscribe, tmp_path: Path
) -> None:
    nowhere = call(command("run", tmp_path, 9, mqtt__drain_s=0.5))
    assert nowhere.returncode == 4
    assert "Traceback" not in nowhere.stderr
    assert f"{FRAMES} reports wait in {tmp_path}" in nowhere.stderr
    assert "127.0.0.1:9" in nowhere.stderr
    listener = subscribe(mosquitto, "microscopy/v1/lab/scope-1/frame")
    assert call(command("run", tmp_path, mosquitto.port)).returncode == 0
    reports = [json.loads(message["payload"]) for message in listener.take(2 * FRAMES)]
    assert [report["seq"] for report in reports] == list(range(1, 2 * FRAMES + 1))
    assert len({report["epoch"] for report in reports}) == 1


KILL_THE_COURIER = """
import ctypes, sys, threading, time
from agent.__main__ import main

def kill():
    while not (found := [t for t in threading.enumerate() if t.name == "publisher" and t.ident]):
        time.sleep(0.05)
    while found[0].is_alive():  # what is raised within a callback is lost
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(found[0].ident), ctypes.py_object(SystemExit))
        time.sleep(0.5)

threading.Thread(target=kill).start()
sys.exit(main(sys.argv[1:]))
"""


def test_an_agent_whose_publisher_died_ends_with_an_error(mosquitto: Broker, tmp_path: Path) -> None:
    arguments = command("run", tmp_path, mosquitto.port, source__fps=20, source__frames=1_000_000)
    done = call([sys.executable, "-c", KILL_THE_COURIER, *arguments[3:]])
    assert done.returncode == 4
    assert "the publisher's thread is gone" in done.stderr


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


def test_the_doctor_finds_a_healthy_machine_healthy(mosquitto: Broker, tmp_path: Path) -> None:
    done = call(command("doctor", tmp_path, mosquitto.port))
    assert done.returncode == 0, done.stdout
    names = [line.split()[1] for line in done.stdout.splitlines()]
    before, after = (
        ["settings", "source", "site", "scale", "bundle", "engine", "broker"],
        ["disk", "rights", "clock", "clashes"],
    )
    assert names == [*before, "access", *after]
    assert "\nwarn access " in done.stdout, "this broker is open to all"


def test_run_and_doctor_warn_that_a_rendered_smear_is_no_slide(mosquitto: Broker, tmp_path: Path) -> None:
    warning = "every cell is drawn, and so is every blast: set source.kind to "
    ran = call(command("run", tmp_path, mosquitto.port)).stderr
    assert f"reports will tell of a rendered smear: {warning}" in next(
        line for line in ran.splitlines() if "WARNING" in line
    )
    said = call(command("doctor", tmp_path, mosquitto.port)).stdout
    assert warning in next(line for line in said.splitlines() if " source " in line)
    assert "\nwarn source " in said


def test_the_doctor_names_each_ill_and_exits_1(tmp_path: Path) -> None:
    done = call(command("doctor", tmp_path, 9, bundle="nowhere", outbox__max_mb=10**9))
    assert done.returncode == 1
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert failed == {"bundle", "engine", "broker", "disk", "clock"}
    assert "\nwarn access    who else may use the broker is not known" in done.stdout


def test_the_doctor_finds_a_state_dir_that_can_be_no_folder(mosquitto: Broker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (("file", "Not a directory"), ("x" * 300, "File name too long")):
        done = call(command("doctor", tmp_path / name, mosquitto.port))
        [line] = [line for line in done.stdout.splitlines() if line.startswith("FAIL disk")]
        assert why in line
        assert "set `state_dir`" in line


@pytest.mark.parametrize(("setting", "code"), [("mqtt.tls.ca", 2), ("bundle", 4)])
def test_a_path_that_the_system_will_not_even_look_at_is_named(setting: str, code: int, tmp_path: Path) -> None:
    odd = str(tmp_path / ("x" * 300))
    done = call([*command("run", tmp_path, 9), "--set", f"{setting}={odd}"])
    assert done.returncode == code, done.stderr
    seen = call([*command("doctor", tmp_path, 9), "--set", f"{setting}={odd}"])
    assert seen.returncode == 1
    for said in (done.stderr, seen.stdout):
        assert odd in said
    assert "Traceback" not in done.stderr + seen.stderr


def test_config_show_prints_every_setting_with_its_origin(tmp_path: Path) -> None:
    arguments = [*command("config", tmp_path, 1), "--set", "mqtt.password=swordfish"]
    done = call([*arguments[:4], "show", *arguments[4:]])
    assert done.returncode == 0, done.stderr
    assert 'site = "lab"  # command line' in done.stdout
    assert "swordfish" not in done.stdout


def test_config_schema_is_a_json_schema() -> None:
    done = call([sys.executable, "-m", "agent", "config", "schema"])
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
