"""The subscriber in the terminal counts every report once and tells its end."""

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from common.terminal import printable
from contract.health_messages import Health, Status
from contract.messages import FrameReport, Interval, ModelInfo, Quality, SlideSummary
from contract.topics import Topics
from dashboard.link import Link
from dashboard.phrases import NO_SLIDE, line_of, lines_of, slide_line
from dashboard.table import picture
from dashboard.tally import Numbers, Tally, percentile
from devbroker.broker import Broker, find_program
from mqttlink.settings import BrokerSettings

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture
def seat(request: pytest.FixtureRequest) -> Topics:
    """Topics of this test alone."""
    return Topics(prefix="dash", site="lab", device=str(request.node.name))


def of_seat(seat: Topics, make_report: Make) -> Make:
    """Reports of the agent whose topics these are."""
    return partial(make_report, device=seat.root.rsplit("/", 1)[-1])


class Publisher:
    """A mosquitto_pub for each message, as any other program would."""

    def __init__(self, broker: Broker) -> None:
        self._command = [str(find_program("mosquitto_pub")), "-p", str(broker.port), "-q", "1"]

    def say(self, topic: str, payload: str, *options: str) -> None:
        subprocess.run([*self._command, "-t", topic, "-m", payload, *options], check=True)

    def status(self, topics: Topics, state: Any, *options: str) -> None:
        self.say(topics.status, Status(state=state).model_dump_json(), *options)


@contextmanager
def watching(broker: Broker, topics: Topics, folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A dashboard that is subscribed; its counts will be in ``folder/summary.json``."""
    device = topics.root.rsplit("/", 1)[-1]
    command = [
        *(sys.executable, "-m", "dashboard", "--plain", "--port", str(broker.port), "--prefix", "dash"),
        *("--device", device, "--seconds", "30", "--ready-file", str(folder / "ready")),
        *("--summary", str(folder / "summary.json"), *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while not (folder / "ready").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def summary_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


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
        [sys.executable, "-m", "dashboard", "--port", str(port)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert f"127.0.0.1:{port} can not be reached" in done.stderr


def test_on_a_terminal_it_draws_a_table(mosquitto: Broker, seat: Topics, make_report: Make) -> None:
    screen, terminal = pty.openpty()
    device = seat.root.rsplit("/", 1)[-1]
    command = [sys.executable, "-m", "dashboard", "--port", str(mosquitto.port), "--prefix", "dash"]
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


@given(st.lists(st.integers(1, 30)))
def test_numbers_are_counted_once_in_any_order(numbers: list[int]) -> None:
    seen, known = Numbers(), set[int]()
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)
    if known:
        assert seen.gaps == max(known) - min(known) + 1 - len(known)


@given(st.lists(st.integers(1, 40), unique=True))
def test_of_numbers_far_apart_few_are_kept_and_every_hole_is_counted(numbers: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dashboard.tally._STRAGGLERS", 3)
        seen = Numbers()
        added = [number for number in numbers if seen.add(number)]
    assert len(seen.others) <= 3
    if added:
        assert seen.gaps == max(added) - min(added) + 1 - len(added)


def test_one_agent_can_not_fill_the_memory_with_epochs(make_report: Make) -> None:
    tally = Tally()
    for number in range(300):
        assert take(tally, make_report(1).model_copy(update={"epoch": f"e{number}"})) == "new"
    [device] = tally.devices.values()
    assert tally.received == 300
    assert list(device.epochs) == [f"e{number}" for number in range(200, 300)]


def test_the_same_number_of_another_epoch_or_device_is_another_report(make_report: Make) -> None:
    tally = Tally()
    for changes in ({}, {"epoch": "another"}, {"device": "scope-2"}, {"site": "elsewhere"}, {}):
        report = make_report(1).model_copy(update=changes)
        take(tally, report)
    assert (tally.received, tally.summary()["duplicates"]) == (4, 1)


def test_cells_that_are_taken_back_count_no_more(make_report: Make) -> None:
    tally, cell = Tally(), make_report().cells[0].model_copy(update={"object_id": "r-s1-c1"})
    wrong = make_report(2, quality=Quality(accepted=False, reasons=["wrong_scale"]), cells=[])
    for report in (make_report(1, cells=[cell]), wrong.model_copy(update={"withdraws": "r-s1-c1"})):
        take(tally, report)
    assert (tally.summary()["cells"], tally.summary()["taken_back"]) == (0, 1)
    assert "; 1 taken back" in lines_of(tally.summary())


def take(tally: Tally, report: FrameReport, received_at: datetime = NOW) -> str:
    topic = f"p/v1/{report.site}/{report.device}/frame"
    return tally.take(topic, report.model_dump_json().encode(), received_at=received_at, retained=False)


@pytest.mark.parametrize("name", ["frame", "slide", "status"])
@pytest.mark.parametrize("word", ["la+b", "lab\x1b[2J", "lab\u202e", "x" * 65, ""])
def test_who_has_no_name_is_not_shown(name: str, word: str) -> None:
    tally = Tally()
    for topic in (f"p/v1/{word}/scope-1/{name}", f"p/v1/lab/{word}/{name}"):
        body = Status(state="online").model_dump_json().encode()
        assert tally.take(topic, body, received_at=NOW, retained=False) == "malformed"
    assert (tally.malformed, tally.devices) == (2, {})


def test_a_report_that_names_another_than_its_topic_is_malformed(make_report: Make) -> None:
    tally, body = Tally(), make_report(1).model_dump_json().encode()
    for topic in ("p/v1/lab/scope-2/frame", "p/v1/ward/scope-1/frame"):
        assert tally.take(topic, body, received_at=NOW, retained=False) == "malformed"
    assert (tally.received, tally.devices) == (0, {})


@pytest.mark.parametrize("epoch", ["e+", "e\0", "e\x1b[2J", "e\u202e", "x" * 65, ""])
def test_a_report_or_health_of_an_epoch_that_is_none_is_malformed(make_report: Make, epoch: str) -> None:
    tally, topic = Tally(), "p/v1/lab/scope-1/"
    health = Health(at=NOW, frames=1, refused=0, cells=0, queued=3, engine="x", epoch="e")
    messages: dict[str, dict[str, Any]] = {
        "frame": {**json.loads(make_report(1).model_dump_json()), "epoch": epoch},
        "health": {**json.loads(health.model_dump_json()), "rescued": {epoch: 1}},
    }
    for name, tree in messages.items():
        assert tally.take(topic + name, json.dumps(tree).encode(), received_at=NOW, retained=False) == "malformed"
    assert (tally.received, tally.malformed) == (0, 2)


def test_no_name_reaches_the_terminal_as_it_came(make_report: Make) -> None:
    """Of files, slides and people's words, that only their length bounds."""
    odd = "\x1b]0;x\x07\x1b[2J\nlab/scope-9 #1\u202e"
    tally, report = Tally(), make_report(1, slide_id=odd)
    report = report.model_copy(update={
        "frame": report.frame.model_copy(update={"source": odd}),
        "quality": Quality(accepted=False, reasons=["empty"], detail=odd), "cells": [],
    })  # fmt: skip
    take(tally, report)
    tally.take(
        "p/v1/lab/scope-1/slide", slide_of(slide_id=odd).model_dump_json().encode(), received_at=NOW, retained=True
    )
    drawn = Console(width=300, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    text = drawn.export_text() + printable(line_of(report, None)) + printable(slide_line(slide_of(slide_id=odd)))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert not any(line.startswith("lab/scope-9") for line in text.splitlines())


def said_of(reports: list[FrameReport]) -> list[str]:
    """What the plain dashboard says of each."""
    return [line_of(report, before) for report, before in zip(reports, [None, *reports[:-1]], strict=True)]


def test_what_to_do_about_a_fault_is_said_once_while_it_lasts(make_report: Make) -> None:
    blurred = Quality(accepted=False, reasons=["out_of_focus"], detail="sharpness 0.51: focus again")
    worse = blurred.model_copy(update={"detail": "sharpness 0.50: focus again"})
    empty = Quality(accepted=False, reasons=["empty"], detail="move to the cells")
    both = Quality(accepted=False, reasons=["empty", "out_of_focus"], detail="move to the cells; focus again")
    qualities = [blurred, worse, both, empty, Quality(accepted=True), blurred]
    lines = said_of([make_report(k, quality=seen) for k, seen in enumerate(qualities, start=1)])
    assert ["focus again" in line or "move to" in line for line in lines] == [True, False, True, False, False, True]
    assert lines[1].endswith("not judged (out_of_focus)")


def test_frames_that_belong_to_no_slide_are_told_once_in_lines_and_always_in_the_table(make_report: Make) -> None:
    tally, reports = Tally(), [make_report(1)]
    reports += [make_report(k).model_copy(update={"slide_id": ""}) for k in (2, 3)]
    assert [NO_SLIDE in line for line in said_of(reports)] == [False, True, False]
    for report, warned in zip(reports, (False, True, True), strict=True):
        take(tally, report)
        drawn = Console(width=120, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        assert (NO_SLIDE in drawn.export_text()) == warned


def test_latency_is_measured_from_capture_to_receipt(make_report: Make) -> None:
    tally = Tally()
    for seq, delay_ms in enumerate((10, 20, 30, 400), start=1):
        report = make_report(seq)
        received_at = report.frame.captured_at + timedelta(milliseconds=delay_ms)
        take(tally, report, received_at)
    summary = tally.summary()
    assert summary["latency_p50_ms"] == pytest.approx(20, abs=1)
    assert summary["latency_p99_ms"] == pytest.approx(400, abs=1)


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 99) == 3.0
    assert percentile(range(1, 101), 99) == 99


def test_fields_of_a_later_version_are_no_fault(make_report: Make) -> None:
    tally = Tally()
    later = json.dumps({**json.loads(make_report(1).model_dump_json()), "stain": "new"})
    assert tally.take("p/v1/lab/scope-1/frame", later.encode(), received_at=NOW, retained=False) == "new"


def test_a_time_without_a_zone_is_a_malformed_report_and_nothing_worse(make_report: Make) -> None:
    report = json.loads(make_report(1).model_dump_json())
    report["frame"]["captured_at"] = "2026-01-31T12:00:00"
    tally = Tally()
    kind = tally.take("p/v1/lab/scope-1/frame", json.dumps(report).encode(), received_at=NOW, retained=False)
    assert (kind, tally.malformed, tally.received) == ("malformed", 1, 0)


def test_names_are_text_and_no_markup(make_report: Make) -> None:
    tally = Tally()
    report = make_report(1, site="[red]x", device="[b]y")
    take(tally, report)
    drawn = Console(width=200, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    assert drawn.export_text().count("[red]x/[b]y") == 2


def test_the_table_says_in_full_what_is_wrong_with_an_agents_last_frame_until_one_is_judged(make_report: Make) -> None:
    tally, why = Tally(), "the sharpness is 0.51 per um, and 1.35 is the least: focus again, and clean the objective"
    blurred = Quality(accepted=False, reasons=["out_of_focus"], detail=why)
    for report, said in ((make_report(1, quality=blurred, cells=[]), True), (make_report(2), False)):
        take(tally, report)
        drawn = Console(width=80, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        assert (why in " ".join(drawn.export_text().split())) == said


@pytest.mark.parametrize("option", [("--prefix", "a#b"), ("--site", "a/b"), ("--device", "")])
def test_what_can_be_no_word_of_a_topic_is_refused(option: tuple[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "dashboard", *option], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{option[1]!r} is no word of a topic" in done.stderr


def test_a_ready_file_that_can_not_be_made_is_named(mosquitto: Broker, tmp_path: Path) -> None:
    ready = tmp_path / "nowhere" / "ready"
    command = [sys.executable, "-m", "dashboard", "--plain", "--port", str(mosquitto.port), "--ready-file", str(ready)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert f"--ready-file: {ready} can not be made" in done.stderr
    assert "Traceback" not in done.stderr


def slide_of(**changes: Any) -> SlideSummary:
    summary = SlideSummary(
        slide_id="s7", count_id="r-s1", state="open", started_at=NOW, at=NOW, frames=40, refused=1, cells=50,
        normal=39, blasts=9, uncertain=0, not_judged=2, blast_fraction=0.1875,
        blast_interval=Interval(low=0.102, high=0.319, level=0.95), jumps=1,
        model=ModelInfo(id="blast-1", sha256="", engine="none"),
    )  # fmt: skip
    return summary.model_copy(update=changes)


def test_the_slide_is_shown_with_its_interval() -> None:
    tally, topic = Tally(), "p/v1/lab/scope-1/slide"
    body = slide_of().model_dump_json().encode()
    assert tally.take(topic, body, received_at=NOW, retained=True) == "slide"
    assert tally.take(topic, b"{}", received_at=NOW, retained=True) == "malformed"
    console = Console(file=io.StringIO(), width=80)
    console.print(picture(tally))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "19% (10 to 32%)" in shown
    assert [line.split() for line in shown.splitlines() if "uncertain" in line] == [
        ["agent", "slide", "frames", "normal", "blast", "uncertain", "judged", "blasts", "(95", "%)"]
    ], "one table, with one count"
    assert "40     39     9         0      2" in shown
    assert "\u2026" not in shown, "80 characters show every heading in full"
    assert "9 blast, 0 uncertain, 2 not judged; blasts 18.8 % (10.2 % to 31.9 %)" in slide_line(slide_of())
    assert slide_line(slide_of(blast_interval=None)).endswith("blasts -")
    told = lines_of(tally.summary(), tally.slides())
    assert "cells      slide s7 (open): 40 frames; 50 cells, each counted once: 39 normal" in told
    assert "in every frame" not in told


def test_the_share_corrected_for_a_known_error_is_shown_with_whether_enough_was_seen() -> None:
    between = Interval(low=0.08, high=0.31, level=0.95)
    slide = slide_of(corrected_fraction=0.1774, corrected_interval=between, enough_cells="no")
    words = "corrected for the model's known error 17.7 % (95 % interval 8.0 % to 31.0 %); enough cells seen: no"
    assert slide_line(slide).endswith(f"blasts 18.8 % (10.2 % to 31.9 %), {words}")
    tally, console = Tally(), Console(file=io.StringIO(), width=160)
    tally.take("p/v1/lab/scope-1/slide", slide.model_dump_json().encode(), received_at=NOW, retained=True)
    console.print(picture(tally))
    assert isinstance(console.file, io.StringIO)
    assert f"lab/scope-1 s7: blasts {words}" in console.file.getvalue()


def test_an_alarm_is_shown_while_it_lasts_and_said_once(make_report: Make) -> None:
    tally, said = Tally(), []
    take(tally, make_report(1))
    for alarms in (["the disk is full"], ["the disk is full", "no consumer"], []):
        health = Health(at=NOW, frames=1, refused=0, cells=0, queued=3, engine="x", alarms=alarms)
        body = health.model_dump_json().encode()
        assert tally.take("p/v1/lab/scope-1/health", body, received_at=NOW, retained=False) == "health"
        said += tally.fresh_alarms("p/v1/lab/scope-1/health")
        drawn = Console(width=120, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        text = drawn.export_text()
        assert ("lab/scope-1 alarm: the disk is full" in text) == bool(alarms)
        assert "3 reports wait in its outbox" in text
    assert said == ["lab/scope-1 alarm: the disk is full", "lab/scope-1 alarm: no consumer"]


def test_the_table_says_when_each_agent_was_last_heard_and_what_its_health_is() -> None:
    tally, topic = Tally(), "p/v1/lab/scope-1/"
    health = Health(
        at=NOW, frames=9, refused=0, cells=0, queued=1, engine="x", broker="online", frame_age_s=0.4,
        dropped={"skipped": 1}, temperatures_c={"cpu": 41.2}, alarms=["\x1b[2J"],
    )  # fmt: skip
    online, body = Status(state="online").model_dump_json().encode(), health.model_dump_json().encode()
    for name, message, retained, heard in (
        ("status", online, True, "online, not heard"),
        ("health", body, False, "online, 30 s ago"),
    ):
        tally.take(topic + name, message, received_at=NOW, retained=retained)
        drawn = Console(width=80, file=io.StringIO(), record=True)
        drawn.print(picture(tally, NOW + timedelta(seconds=30)))
        text = " ".join(drawn.export_text().split())
        assert heard in text
    assert "health at 12:00:00 UTC: last frame 0 s before, 1 report waits in its outbox, broker online" in text
    assert "1 frame skipped, 41 \N{DEGREE SIGN}C" in text
    assert "\x1b[2J" not in text
    assert r"alarm: \x1b[2J" in text


def test_missing_reports_are_told(make_report: Make) -> None:
    tally = Tally()
    for seq in (1, 4):
        take(tally, make_report(seq))
    drawn = Console(width=120, file=io.StringIO(), record=True)
    drawn.print(picture(tally))
    assert "lab/scope-1 2 reports are missing between those that came" in drawn.export_text()


def test_how_it_stands_with_the_broker_is_always_shown(open_mosquitto: Open) -> None:
    with open_mosquitto() as broker:
        settings = BrokerSettings(port=broker.port)
        with Link(settings, "p/v1/+/+/#") as link:
            link.wait_subscribed(10)
            assert link.words() == f"broker 127.0.0.1:{broker.port}: connected; nothing heard yet"
            Publisher(broker).say("p/v1/lab/scope-1/status", "{}")
            assert link.arrivals.get(timeout=10).topic == "p/v1/lab/scope-1/status"
            assert "connected; last heard 0 s ago" in link.words()
            os.kill(broker.pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            while not link.trouble and time.monotonic() < deadline:
                time.sleep(0.05)
            assert f"127.0.0.1:{broker.port}" in link.trouble
            with open_mosquitto(port=broker.port):
                while link.trouble and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert not link.trouble
