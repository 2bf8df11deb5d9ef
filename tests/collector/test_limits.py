"""What may come and what may go: long messages, a frugal broker, a database that holds everything up."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.arrivals import Arrival
from collector.settings import CollectorSettings
from collector.store import Store
from contract.messages import LARGEST_MESSAGE, FrameReport
from devbroker.broker import Broker, find_program
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting, stored, until
from tests.storing import NOW
from tests.strict import strict_broker

Make = Callable[..., FrameReport]
LONG = 3 * LARGEST_MESSAGE // 2


def settings_at(port: int, folder: Path, name: str, **changes: Any) -> CollectorSettings:
    mqtt = BrokerSettings(port=port, prefix="limits", version=changes.pop("version", "5"))
    database = f"sqlite:///{folder / 'c.sqlite'}"
    return CollectorSettings(name=name, device=changes.pop("device", "+"), mqtt=mqtt, database=database, **changes)


def say(broker: Broker, topic: str, file: Path) -> None:
    program = [str(find_program("mosquitto_pub")), "-p", str(broker.port), "-q", "1", "-V", "mqttv5"]
    subprocess.run([*program, "-t", topic, "-f", file], check=True)


def quarantined(folder: Path) -> list[tuple[str, str, int]]:
    database = sqlite3.connect(folder / "c.sqlite")
    found = database.execute("select cause, error, length(payload) from quarantine").fetchall()
    database.close()
    return found


@pytest.mark.parametrize("at_once", [1, 10])
def test_it_says_no_more_at_once_than_the_broker_takes(make_report: Make, tmp_path: Path, at_once: int) -> None:
    settings = settings_at(1, tmp_path, "frugal")
    with Store(settings.database) as store:
        for number in range(30):
            body = make_report(1, device=f"d{number}").model_dump_json().encode()
            store.store([Arrival(f"limits/v1/lab/d{number}/frame", body, NOW)])
    with strict_broker(at_once=at_once, answer_after_s=0.02) as (broker, port):
        with collecting(settings_at(port, tmp_path, "frugal")):
            assert until(lambda: len(broker.topics) == 30)
        assert (broker.connects, broker.thrown_out, len(set(broker.topics))) == (1, 0, 30)
        assert broker.most <= at_once


def test_a_broker_that_answers_none_of_its_words_is_told_of_and_tried_again(
    make_report: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mqttlink.inflight.ANSWER_WITHIN_S", 0.5)
    settings = settings_at(1, tmp_path, "unanswered")
    with Store(settings.database) as store:
        store.store([Arrival("limits/v1/lab/d/frame", make_report(1, device="d").model_dump_json().encode(), NOW)])
    with strict_broker(answer_after_s=None) as (broker, port), collecting(settings_at(port, tmp_path, "unanswered")):
        assert until(lambda: broker.connects >= 2)
        assert until(lambda: len(broker.topics) >= 2), "the word is said again"
    assert set(broker.topics) == {"limits/v1/lab/d/ack"}
    assert "answers none of them" in caplog.text


def test_an_acknowledgement_that_is_larger_than_the_broker_takes_is_told_of_and_ends_no_connection(
    open_mosquitto: Callable[..., Any], make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = "d" * 60
    with Store(settings_at(1, tmp_path, "large").database) as store:
        body = make_report(1, device=device).model_dump_json().encode()
        store.store([Arrival(f"limits/v1/lab/{device}/frame", body, NOW)])
    with (
        open_mosquitto(config_lines=["max_packet_size 150"]) as broker,
        collecting(settings_at(broker.port, tmp_path, "large")) as collector,
    ):
        words = f"the broker does not take what is said on limits/v1/lab/{device}/ack"
        assert until(lambda: words in caplog.text)
        assert not until(lambda: not collector.ready, 1)
    assert caplog.text.count("connected to the broker") <= 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_message_that_is_too_long_neither_fills_the_memory_nor_stops_what_follows(
    mosquitto: Broker, make_report: Make, tmp_path: Path, version: str
) -> None:
    """MQTT 5 tells the broker the bound; in 3.1.1 the rest is read and thrown away, and the beginning kept."""
    root = f"limits/v1/lab/long-{version}"
    (tmp_path / "long").write_bytes(b" " * LONG)
    (tmp_path / "report").write_text(make_report(1, device=f"long-{version}").model_dump_json())
    settings = settings_at(mosquitto.port, tmp_path, f"long-{version}", version=version, device=f"long-{version}")
    with collecting(settings) as collector:
        since = collector._contact._since
        say(mosquitto, f"{root}/frame", tmp_path / "long")
        say(mosquitto, f"{root}/frame", tmp_path / "report")
        assert until(lambda: collector.totals.new == 1)
        assert collector._contact._since == since, "it is the same connection"
        assert collector._held_bytes == 0
    with collecting(settings) as collector:
        assert not until(lambda: collector.totals.quarantined, 1), "it does not come again"
    found = quarantined(tmp_path)
    assert len(found) == (version == "3.1.1")
    assert all("longer than" in error and size == 65536 for _, error, size in found)


def test_what_waits_for_the_database_is_bounded_and_comes_again(
    mosquitto: Broker, make_report: Make, tmp_path: Path
) -> None:
    device, number = "held", 24
    root = f"limits/v1/lab/{device}"
    settings = settings_at(mosquitto.port, tmp_path, device, device=device)
    with collecting(settings) as collector:
        assert until(lambda: collector._store.is_open)
        intruder = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
        intruder.execute("begin exclusive")
        most = 0
        for seq in range(1, number + 1):
            tree = json.loads(make_report(seq, device=device).model_dump_json())
            (tmp_path / "report").write_text(json.dumps({**tree, "later": "x" * (4_000_000)}))
            say(mosquitto, f"{root}/frame", tmp_path / "report")
            most = max(most, collector._held_bytes)
        assert most < 80_000_000
        intruder.execute("rollback")
        intruder.close()
        assert until(lambda: collector.totals.new == number, 60)
        assert collector._held_bytes == 0
    assert [seq for *_, seq in stored(settings.database)] == list(range(1, number + 1))


def test_one_that_may_not_acknowledge_has_nothing_to_do_between_messages(
    mosquitto: Broker, make_report: Make, tmp_path: Path
) -> None:
    device = "mute"
    (tmp_path / "report").write_text(make_report(1, device=device).model_dump_json())
    settings = settings_at(mosquitto.port, tmp_path, device, device=device, acknowledge=False)
    with collecting(settings) as collector:
        say(mosquitto, f"limits/v1/lab/{device}/frame", tmp_path / "report")
        assert until(lambda: collector.totals.new == 1)
        assert until(lambda: not collector._held)
        assert not collector._has_work()
