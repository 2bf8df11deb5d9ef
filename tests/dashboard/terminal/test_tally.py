"""What has arrived is counted once."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.health_messages import Health, Status
from contract.messages import FrameReport, Quality
from dashboard.terminal.phrases import lines_of
from dashboard.terminal.tally import Numbers, Tally, percentile
from tests.tallying import NOW, take

Make = Callable[..., FrameReport]


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
        patched.setattr("dashboard.terminal.tally._STRAGGLERS", 3)
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
