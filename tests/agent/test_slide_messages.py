"""The slide on the wire, with a real broker."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

from contract.messages import FrameReport, SlideSummary
from devbroker.broker import Broker

FRAMES = 12


def run_agent(port: int, state: Path, slide: str, **more: object) -> "subprocess.CompletedProcess[str]":
    settings = {
        "state_dir": state, "site": "lab", "device": f"slides-{slide or 'none'}", "mqtt.port": port, "mqtt.drain_s": 5,
        "source.frames": FRAMES, "source.overlap": 0.5,
        **{key.replace("__", "."): value for key, value in more.items()},
    }  # fmt: skip
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "agent", "run", *pairs, "--slide", slide]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def heard(listener: Any, count: int) -> list[Any]:
    return [json.loads(message["payload"]) for message in listener.take(count)]


def test_the_slide_is_said_when_it_starts_and_when_it_ends_and_stays_retained(
    mosquitto: Broker, subscribe: Callable[..., Any], tmp_path: Path
) -> None:
    live = subscribe(mosquitto, "microscopy/v1/lab/slides-s7/slide")
    done = run_agent(mosquitto.port, tmp_path, "s7")
    assert done.returncode == 0, done.stderr
    said = heard(live, 1)
    while said[-1]["state"] == "open":  # on a slow machine it is said again meanwhile
        said += heard(live, 1)
    first, closed = said[0], said[-1]
    assert (first["state"], closed["state"]) == ("open", "closed")
    after = subscribe(mosquitto, "microscopy/v1/lab/slides-s7/slide").next()
    assert after["retain"] == 1
    last = SlideSummary.model_validate_json(after["payload"])
    jsonschema.validate(json.loads(after["payload"]), SlideSummary.model_json_schema(mode="serialization"))
    assert first["count_id"] == closed["count_id"] == last.count_id
    assert (last.slide_id, last.state, last.frames) == ("s7", "closed", FRAMES)
    assert last.cells == last.normal + last.blasts + last.uncertain + last.not_judged > 0


def test_without_a_slide_reports_belong_to_none(
    mosquitto: Broker, subscribe: Callable[..., Any], tmp_path: Path
) -> None:
    listener = subscribe(mosquitto, "microscopy/v1/lab/slides-none/#")
    assert run_agent(mosquitto.port, tmp_path, "").returncode == 0
    messages = [m for m in listener.take(FRAMES + 2) if m["topic"].endswith("/frame")]
    reports = [FrameReport.model_validate_json(message["payload"]) for message in messages]
    assert {report.slide_id for report in reports} == {""}
    assert {cell.object_id for report in reports for cell in report.cells} == {""}
    assert not any(message["topic"].endswith("/slide") for message in messages)
