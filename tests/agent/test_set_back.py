"""An outbox that is an older copy of itself, or is taken away while it is in use: told, and no number counts twice."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.wire.doubts import Doubts
from agent.wire.outbox import Outbox
from collector.settings import CollectorSettings
from contract.messages import Ack, FrameReport
from contract.topics import Topics
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting, stored
from tests.publishing import acknowledge, health_of, publisher_to
from tests.waiting import until

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


def put(outbox: Outbox, make_report: Make, topics: Topics, *labels: str) -> list[FrameReport]:
    device = topics.root.split("/")[-1]
    made = []
    for label in labels:
        made.append(make_report(outbox.next_seq(), outbox.epoch, device=device, slide_id=label))
        outbox.put(made[-1])
    return made


def keys(outbox: Outbox) -> list[tuple[str, int]]:
    reports = [FrameReport.model_validate_json(body) for _, body in outbox.pending(0, 100)]
    return [(report.epoch, report.seq) for report in reports]


@pytest.mark.parametrize("forget_on", ["consumer", "broker"])
def test_reports_of_an_older_copy_arrive_under_a_new_epoch(
    mosquitto: Broker, topics: Topics, make_report: Make, tmp_path: Path, forget_on: str
) -> None:
    """Two reports wait in the copy; after it the outbox goes on to 7; then the copy takes its place."""
    path, database = tmp_path / "o" / "outbox.sqlite", f"sqlite:///{tmp_path / 'c.sqlite'}"
    device = topics.root.split("/")[-1]
    mqtt = BrokerSettings(port=mosquitto.port, prefix="test")
    settings = CollectorSettings(name=device, device=device, mqtt=mqtt, database=database)
    with collecting(settings) as collector:
        with Outbox(path, max_mb=8) as outbox:
            put(outbox, make_report, topics, "a1", "a2")
        shutil.copytree(tmp_path / "o", tmp_path / "copy")
        with Outbox(path, max_mb=8) as outbox, publisher_to(mosquitto, topics, outbox, forget_on=forget_on):
            first = outbox.epoch
            put(outbox, make_report, topics, *(f"a{number}" for number in range(3, 8)))
            assert until(lambda: collector.totals.new == 7)
        shutil.rmtree(tmp_path / "o")
        shutil.copytree(tmp_path / "copy", tmp_path / "o")
        with (
            Outbox(path, max_mb=8) as outbox,
            publisher_to(mosquitto, topics, outbox, forget_on=forget_on) as publisher,
        ):
            assert outbox.epoch == first
            assert until(lambda: outbox.epoch != first), "the collector's word on `online` tells"
            put(outbox, make_report, topics, "b3", "b4")
            assert until(lambda: collector.totals.new == 9)
            assert "of which 2 have been made" in publisher.alarms(silent_after_s=300)[0]
            publisher.health(health_of(2).model_copy(update={"epoch": outbox.epoch, "oldest": outbox.oldest()}))
            assert until(lambda: outbox.count() == 0)
            second = outbox.epoch
        assert collector.totals.quarantined == 0
    assert stored(database) == sorted(
        [*((device, first, seq) for seq in range(1, 8)), (device, second, 1), (device, second, 2)]
    )


def test_what_was_put_before_a_consumer_told_is_numbered_anew_and_what_waited_keeps_its_number(
    tmp_path: Path, make_report: Make, topics: Topics
) -> None:
    with Outbox(tmp_path / "o", max_mb=8) as outbox:
        put(outbox, make_report, topics, "1", "2")
    with Outbox(tmp_path / "o", max_mb=8) as outbox:
        first = outbox.epoch
        late, *_ = put(outbox, make_report, topics, "3", "4")
        outbox.begin_epoch()
        second = outbox.epoch
        assert keys(outbox) == [(first, 1), (first, 2), (second, 1), (second, 2)]
        outbox.put(late.model_copy(update={"seq": 5}))
        assert keys(outbox)[-1] == (second, 3), "it was made while the new epoch began"
        assert (outbox.oldest(), outbox.oldest_rescued()) == (1, {first: 1})
    with Outbox(tmp_path / "o", max_mb=8) as outbox:
        assert (outbox.epoch, outbox.next_seq()) == (second, 4)
        assert outbox.acknowledge(first, 100) == 2
        outbox.begin_epoch()
        third = outbox.epoch
        assert keys(outbox) == [(second, 1), (second, 2), (second, 3)], "of lives before"
        put(outbox, make_report, topics, "x")
        assert keys(outbox)[-1] == (third, 1)
        assert outbox.acknowledge(second, 3) == 3
        assert outbox.acknowledge(third, 1) == 1


@pytest.mark.parametrize("happens", ["removed", "replaced", "folder-removed", "moved"])
def test_a_file_that_is_taken_away_is_written_again_and_told(
    tmp_path: Path, make_report: Make, topics: Topics, happens: str
) -> None:
    path = tmp_path / "state" / "outbox.sqlite"
    with Outbox(tmp_path / "other", max_mb=8) as other:
        put(other, make_report, topics, "theirs")
    with Outbox(path, max_mb=8) as outbox:
        first = outbox.epoch
        put(outbox, make_report, topics, "1", "2")
        if happens == "replaced":
            shutil.copy(tmp_path / "other", tmp_path / "new")
            (tmp_path / "new").rename(path)
        elif happens == "folder-removed":
            shutil.rmtree(path.parent)
        elif happens == "moved":
            path.parent.rename(tmp_path / "elsewhere")
        else:
            path.unlink()
        put(outbox, make_report, topics, "3")
        second = outbox.epoch
        assert keys(outbox) == [(first, 1), (first, 2), (second, 1)]
        [alarm] = outbox.alarms()
        assert "was removed or replaced while it was in use" in alarm
        assert len(list(path.parent.glob("*.replaced-*"))) == (happens == "replaced")
        assert ("look at it" in alarm) == (happens == "replaced")
        assert outbox.acknowledge(first, 1) == 1
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("pragma integrity_check").fetchone() == ("ok",)
        assert found.execute("select count(*) from report").fetchone() == (2,)
    with Outbox(path, max_mb=8) as outbox:
        assert keys(outbox) == [(first, 2), (second, 1)]


def test_nothing_is_deleted_in_a_file_that_nobody_can_find(tmp_path: Path, make_report: Make, topics: Topics) -> None:
    path = tmp_path / "outbox.sqlite"
    with Outbox(path, max_mb=8) as outbox:
        first = outbox.epoch
        put(outbox, make_report, topics, "1", "2")
        path.unlink()
        assert outbox.acknowledge(first, 1) == 1
        assert path.exists()
        assert keys(outbox) == [(first, 2)]
        path.unlink()
        assert outbox.count() == 1, "health asks now and then"
        assert path.exists()


def test_an_acknowledgement_of_what_can_not_be_is_an_alarm_and_begins_few_epochs(
    mosquitto: Broker, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    epochs = {outbox.epoch}
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer") as publisher:
        put(outbox, make_report, topics, "1", "2")
        assert publisher.drain(10) == 0
        for number in range(1, 4):
            acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 10**number}))
            assert until(lambda: outbox.epoch not in epochs)
            epochs.add(outbox.epoch)
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 100000}))
        assert until(lambda: publisher.ignored_acks == 4)
        epochs.add(outbox.epoch)
        assert len(epochs) == 4
        assert outbox.count() == 2
        assert f"an acknowledgement on {topics.ack} speaks of report 100000" in publisher.alarms(silent_after_s=300)[0]


def test_a_consumer_that_was_set_back_is_told_of_until_it_has_caught_up() -> None:
    doubts = Doubts("t")
    assert not doubts.heard(Ack(epoch="e", upto=50, seen=50), 61)
    assert not doubts.heard(Ack(epoch="e", upto=60, seen=60), 61)
    assert doubts.alarms() == []
    assert not doubts.heard(Ack(epoch="e", upto=20, seen=20), 61)
    [alarm] = doubts.alarms()
    assert "had acknowledged the reports up to 60 acknowledges 20" in alarm
    assert not doubts.heard(Ack(epoch="e", upto=60, seen=60), 61)
    assert doubts.alarms() == []
    assert doubts.heard(Ack(epoch="e", upto=3, seen=61), 61)
