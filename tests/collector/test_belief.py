"""What arrives is believed as far as its topic, and no further: the broker's access list guards nothing else."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from collector import tables
from collector.arrivals import Arrival
from collector.database import open_engine
from collector.export import status
from collector.store import Store
from contract.health_messages import Health
from contract.messages import LARGEST_MESSAGE, FrameReport
from tests.storing import EPOCH, ROOT, acks, frame, health, rows, upto

Make = Callable[..., FrameReport]
NO_WORDS = {
    "wildcard": "la+b",
    "all": "#",
    "slash": "a/b",
    "nul": "lab\0x",
    "escape": "lab\x1b[2J",
    "line": "lab\nx",
    "c1": "lab\x9b2J",
    "bidi": "lab\u202ex",
    "zero width": "la\u200bb",
    "mark": "\ufefflab",
    "no character": "lab\ufffe",
    "no character, high": "lab\U0001ffff",
    "separator": "la\u2028b",
    "space": "la b",
    "dollar": "$SYS",
    "empty": "",
    "long": "x" * 65,
}


def told(report: FrameReport, **changes: Any) -> bytes:
    return json.dumps({**json.loads(report.model_dump_json()), **changes}).encode()


@pytest.mark.parametrize("key", ["site", "device", "epoch"])
@pytest.mark.parametrize("word", NO_WORDS.values(), ids=NO_WORDS.keys())
def test_a_name_that_is_no_word_of_a_topic_is_never_stored(
    database: str, make_report: Make, key: str, word: str
) -> None:
    with Store(database) as store:
        outcome = store.store([frame(told(make_report(1), **{key: word})), frame(make_report(1))])
        assert (outcome.new, outcome.quarantined) == (1, 1)
        assert list(store.streams) == [("scope-1", EPOCH)]


@pytest.mark.parametrize("escape", ['"lab\\ud800"', '"lab\\udc00x"'])
def test_half_a_character_is_no_name(database: str, make_report: Make, escape: str) -> None:
    body = make_report(1).model_dump_json().replace('"lab"', escape.replace("\\\\", "\\"))
    with Store(database) as store:
        assert store.store([frame(body.encode())]).quarantined == 1


@pytest.mark.parametrize("word", [word for word in NO_WORDS.values() if "/" not in word], ids=repr)
@pytest.mark.parametrize("name", ["frame", "health", "slide", "status"])
def test_a_topic_of_such_a_name_is_answered_by_nobody(database: str, make_report: Make, word: str, name: str) -> None:
    message = Arrival(f"microscopy/v1/lab/{word}/{name}", make_report(1, device="x").model_dump_json().encode(), now())
    with Store(database) as store:
        outcome = store.store([message])
        assert (outcome.quarantined, outcome.replies) == (1, [])


def test_a_report_that_names_another_than_its_topic_is_kept_apart_and_the_true_one_stored(
    database: str, make_report: Make
) -> None:
    forged = [make_report(seq, slide_id="forged") for seq in range(5, 9)]
    with Store(database) as store:
        outcome = store.store([frame(report, "microscopy/v1/lab/scope-2") for report in forged])
        assert (outcome.new, outcome.quarantined, outcome.replies) == (0, 4, [])
        outcome = store.store([frame(make_report(1), "microscopy/v1/ward/scope-1")])
        assert (outcome.new, outcome.quarantined) == (0, 1)
        outcome = store.store([frame(make_report(seq)) for seq in range(1, 10)])
        assert (outcome.new, outcome.quarantined, upto(outcome)) == (9, 0, 9)
    assert {row.cause for row in rows(database, tables.quarantine)} == {"malformed"}
    assert {row.slide_id for row in rows(database, tables.report)} == {"slide-7"}


def test_streams_that_an_earlier_release_kept_under_such_a_name_are_passed_over(
    database: str, make_report: Make
) -> None:
    with Store(database) as store:
        store.store([frame(make_report(1))])
    engine = open_engine(database)
    with engine.begin() as connection:
        for site, device, epoch in (("la+b", "scope-2", "e"), ("lab", "sc\x1b", "e"), ("lab", "scope-1", "e\n")):
            row = {"site": site, "device": device, "epoch": epoch, "upto": 1, "floor": 0, "received_at": now()}
            connection.execute(sa.insert(tables.stream), row)
    engine.dispose()
    with Store(database) as store:
        assert acks(store.store([frame(make_report(2))])) == {f"{ROOT}/ack {EPOCH}": 2}
        assert list(store.streams) == [("scope-1", EPOCH)]


def test_a_floor_that_no_agent_can_have_reached_is_not_believed(
    database: str, make_report: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Else all that the agent reports from here on would be taken for settled, and what is missing for safe."""
    with Store(database) as store:
        store.store([frame(make_report(seq)) for seq in (1, 2, 3)])
        with caplog.at_level(logging.WARNING):
            for oldest in (10**9, 2 * 10**9):
                assert upto(store.store([health(oldest=oldest)])) == 3
        assert caplog.text.count("this is not believed") == 1
        assert upto(store.store([frame(make_report(5))])) == 3
        assert upto(store.store([frame(make_report(4)), health(oldest=5)])) == 5
    with Store(database) as store:
        assert upto(store.store([frame(make_report(7))])) == 5
    assert "acknowledged up to 5, missing: 6;" in next(status(database))


def test_a_floor_above_all_that_has_come_counts_once_a_report_as_high_has(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(1)), health(oldest=10)])
        assert upto(store.store([frame(make_report(8))])) == 1
        assert upto(store.store([frame(make_report(9))])) == 9
    with Store(database) as store:
        assert upto(store.store([frame(make_report(10))])) == 10


def test_health_of_epochs_that_nobody_has_reported_makes_no_streams(database: str) -> None:
    message = Health(at=now(), frames=0, refused=0, cells=0, queued=0, engine="", epoch="a", oldest=5)
    rescued = {f"{number:016x}": 2 for number in range(256)}
    arrivals = [
        Arrival(f"{ROOT}/health", told_health(message, rescued), now()),
        Arrival(f"{ROOT}/health", told_health(message, {**rescued, "x": 2}), now()),
    ]
    with Store(database) as store:
        assert store.store(arrivals).quarantined == 1, "no agent speaks of so many epochs"
        assert store.streams == {}
    assert rows(database, tables.stream) == []


def told_health(message: Health, rescued: dict[str, int]) -> bytes:
    return json.dumps({**json.loads(message.model_dump_json()), "rescued": rescued}).encode()


def test_one_device_can_not_begin_epochs_without_end(database: str, make_report: Make) -> None:
    other = "microscopy/v1/lab/scope-2"
    with Store(database, most_epochs=3) as store:
        outcome = store.store([frame(make_report(1, f"e{number}")) for number in range(5)])
        assert (outcome.new, outcome.quarantined) == (3, 2)
        outcome = store.store([frame(make_report(2, "e1")), frame(make_report(1, device="scope-2"), other)])
        assert (outcome.new, outcome.quarantined) == (2, 0)


def test_of_a_long_message_only_what_is_known_is_kept(database: str, make_report: Make) -> None:
    report = make_report(1)
    with Store(database) as store:
        store.store([frame(told(report, later="x")), frame(told(make_report(2), later="x" * 100_000))])
    short, long = rows(database, tables.report)
    assert json.loads(short.body)["later"] == "x"
    assert "later" not in json.loads(long.body)
    assert FrameReport.model_validate_json(long.body).seq == 2


def test_a_summary_that_is_long_and_none_is_not_kept(database: str) -> None:
    padded = json.dumps({"slide_id": "s", "count_id": "c", "later": "x" * 100_000}).encode()
    with Store(database) as store:
        assert store.store([Arrival(f"{ROOT}/slide", padded, now())]).quarantined == 1
    assert rows(database, tables.slide) == []


def test_a_message_that_is_too_long_is_kept_in_quarantine_by_its_beginning(database: str, make_report: Make) -> None:
    body = make_report(1).model_dump_json().encode() + b" " * LARGEST_MESSAGE
    with Store(database) as store:
        assert store.store([frame(body)]).quarantined == 1
    [kept] = rows(database, tables.quarantine)
    assert (len(kept.payload), "longer than" in kept.error) == (65536, True)


def now() -> datetime:
    return datetime.now(timezone.utc)
