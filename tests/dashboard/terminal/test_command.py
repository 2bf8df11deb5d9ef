"""The command counts every report once and tells its end."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from contract.messages import FrameReport, Quality
from contract.topics import Topics
from devbroker.broker import Broker
from tests.watching import Publisher, summary_in, watching

Make = Callable[..., FrameReport]


@pytest.fixture
def seat(request: pytest.FixtureRequest) -> Topics:
    """Topics of this test alone."""
    return Topics(prefix="dash", site="lab", device=str(request.node.name))


def of_seat(seat: Topics, make_report: Make) -> Make:
    """Reports of the agent whose topics these are."""
    return partial(make_report, device=seat.root.rsplit("/", 1)[-1])


def test_counts_reports_and_cells_until_the_agent_has_stopped(
    mosquitto: Broker, seat: Topics, tmp_path: Path, make_report: Make
) -> None:
    publisher = Publisher(mosquitto)
    cell, make_report = make_report().cells[0], of_seat(seat, make_report)
    reports = [
        make_report(1),
        make_report(2, cells=[cell.model_copy(update={"label": "blast"})] * 3),
        make_report(2, cells=[cell] * 100),
        make_report(3, cells=[cell.model_copy(update={"label": "not_judged", "probability": None, "flags": ["edge"]})]),
        make_report(5, quality=Quality(accepted=False, reasons=["empty"], detail="move to the cells"), cells=[]),
        make_report(4),
    ]
    with watching(mosquitto, seat, tmp_path, "--until-stopped") as process:
        publisher.status(seat, "online")
        for report in reports:
            publisher.say(seat.frame, report.model_dump_json())
        publisher.say(seat.frame, "{}")
        publisher.status(seat, "stopped")
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    found = summary_in(tmp_path)
    latencies = found.pop("latency_p50_ms"), found.pop("latency_p99_ms")
    assert 0 < latencies[0] <= latencies[1]
    assert found == {
        "received": 5, "frames": 5, "refused": 1, "cells": 6, "normal": 2, "blast": 3, "uncertain": 0,
        "not_judged": 1,
        "taken_back": 0, "duplicates": 1, "gaps": 0, "malformed": 1,
    }  # fmt: skip
    assert "received   5 reports" in said
    assert "6, each counted in every frame that shows it: 2 normal, 3 blast" in said
    assert "%" not in said, "a share of blasts is the slide's to tell, which counts each cell once"
    assert "not judged (empty): move to the cells" in said
    assert "research use only" in said


def test_a_retained_stopped_of_yesterday_does_not_end_it(
    mosquitto: Broker, seat: Topics, tmp_path: Path, make_report: Make
) -> None:
    publisher = Publisher(mosquitto)
    publisher.status(seat, "stopped", "-r")
    with watching(mosquitto, seat, tmp_path, "--until-stopped", "--frames", "1") as process:
        time.sleep(0.5)
        assert process.poll() is None
        publisher.say(seat.frame, of_seat(seat, make_report)().model_dump_json())
        process.communicate(timeout=20)
    assert summary_in(tmp_path)["received"] == 1


def test_ends_after_so_many_frames_or_seconds(
    mosquitto: Broker, seat: Topics, tmp_path: Path, make_report: Make
) -> None:
    publisher = Publisher(mosquitto)
    with watching(mosquitto, seat, tmp_path, "--frames", "2") as process:
        for seq in (1, 2):
            publisher.say(seat.frame, of_seat(seat, make_report)(seq).model_dump_json())
        process.communicate(timeout=20)
    assert summary_in(tmp_path)["received"] == 2
    (tmp_path / "ready").unlink()
    with watching(mosquitto, seat, tmp_path, "--seconds", "0.2") as process:
        process.communicate(timeout=20)
    assert summary_in(tmp_path)["received"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_summary(
    mosquitto: Broker, seat: Topics, tmp_path: Path, number: signal.Signals
) -> None:
    with watching(mosquitto, seat, tmp_path) as process:
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert summary_in(tmp_path)["received"] == 0


def test_without_a_broker_the_exit_code_is_4() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "dashboard.terminal", "--port", str(port)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert f"127.0.0.1:{port} can not be reached" in done.stderr


def test_on_a_terminal_it_draws_a_table(mosquitto: Broker, seat: Topics, make_report: Make) -> None:
    screen, terminal = pty.openpty()
    device = seat.root.rsplit("/", 1)[-1]
    command = [sys.executable, "-m", "dashboard.terminal", "--port", str(mosquitto.port), "--prefix", "dash"]
    environment = {**os.environ, "COLUMNS": "140", "LINES": "40", "TERM": "xterm"}
    Publisher(mosquitto).say(seat.frame, make_report(7, device=device).model_dump_json(), "-r")
    with subprocess.Popen(
        [*command, "--device", device, "--frames", "1"], stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        drawn = b"".join(iter(lambda: read_some(screen), b"")).decode()
    os.close(screen)
    assert process.returncode == 0
    assert "microscope agents" in drawn
    assert "smear-00007.png" in drawn


def read_some(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # how Linux says that the other end of a terminal is closed
        return b""


@pytest.mark.parametrize("option", [("--prefix", "a#b"), ("--site", "a/b"), ("--device", "")])
def test_what_can_be_no_word_of_a_topic_is_refused(option: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dashboard.terminal", *option], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{option[1]!r} is no word of a topic" in done.stderr


def test_a_ready_file_that_can_not_be_made_is_named(mosquitto: Broker, tmp_path: Path) -> None:
    ready = tmp_path / "nowhere" / "ready"
    command = [
        sys.executable,
        "-m",
        "dashboard.terminal",
        "--plain",
        "--port",
        str(mosquitto.port),
        "--ready-file",
        str(ready),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert f"--ready-file: {ready} can not be made" in done.stderr
    assert "Traceback" not in done.stderr
