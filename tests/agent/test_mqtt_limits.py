"""What a broker takes at once, how long a message may be, and what the publisher does where the broker is frugal."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector.settings import CollectorSettings
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, find_program
from mqttlink.inflight import ANSWER_WITHIN_S, InFlight
from mqttlink.properties import message_properties, packet_bytes
from mqttlink.refusals import REMEDIES
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting, stored
from tests.publishing import acknowledge, health_of, publisher_to, put, seqs_of
from tests.strict import strict_broker
from tests.waiting import until

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
LARGE = {"slide_id": "s" * 255, "withdraws": "w" * 255}
"""Makes a report longer by 503 bytes."""


def size_of(report: FrameReport, topics: Topics) -> int:
    return packet_bytes(topics.frame, report.model_dump_json().encode(), message_properties(BrokerSettings()))


def put_one_large(outbox: Outbox, make_report: Make, topics: Topics, *, total: int, large: int) -> int:
    """Reports of which one is larger; a bound between their sizes."""
    *_, site, device = topics.root.split("/")
    sizes = []
    for seq in range(1, total + 1):
        changes = {"site": site, "device": device, **(LARGE if seq == large else {})}
        report = make_report(seq, outbox.epoch, **changes)
        outbox.put(report)
        sizes.append(size_of(report, topics))
    return max(size for size in sizes if size != max(sizes))


def state_of(publisher: Publisher) -> str:
    return publisher.state


@pytest.mark.parametrize("at_once", [1, 3, 10])
def test_all_that_is_under_way_together_is_no_more_than_the_broker_takes(
    topics: Topics, outbox: Outbox, make_report: Make, at_once: int
) -> None:
    with strict_broker(at_once=at_once, answer_after_s=0.02) as (broker, port):
        put(outbox, make_report, 20)
        with publisher_to(port, topics, outbox) as publisher:
            publisher.speaker("homeassistant/device/x/config")(b"{}")
            publisher.health(health_of(1))
            assert publisher.drain(60) == 0, publisher.trouble
        assert (broker.connects, broker.thrown_out) == (1, 0)
        assert broker.most <= at_once
        assert broker.topics[0] == broker.topics[-1] == topics.status
        assert broker.topics.count(topics.frame) == 20
        assert {topics.health, "homeassistant/device/x/config"} <= set(broker.topics)


def test_a_real_broker_that_takes_one_at_a_time_gets_everything(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with open_mosquitto(config_lines=["max_inflight_messages 1"]) as broker:
        listener = subscribe(broker, f"{topics.root}/#")
        with publisher_to(broker, topics, outbox) as publisher:
            put(outbox, make_report, 30)
            assert publisher.drain(30) == 0
        names = [message["topic"].rsplit("/", 1)[-1] for message in listener.take(32)]
    assert names == ["status", *["frame"] * 30, "status"]


def test_a_broker_that_answers_nothing_is_left_told_of_and_tried_again(
    topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with strict_broker(answer_after_s=None) as (broker, port):
        put(outbox, make_report, 5)
        with publisher_to(port, topics, outbox) as publisher:
            assert until(lambda: publisher.state == "unanswered", ANSWER_WITHIN_S + 30)
            assert "answers none of them" in publisher.trouble
            assert publisher.alarms(silent_after_s=300) == [publisher.trouble]
            assert until(lambda: broker.connects == 2)
            assert until(lambda: broker.topics.count(topics.frame) == 10)
            assert state_of(publisher) == "unanswered", "a welcome is no answer"
            broker.answer_after_s = 0.0
            assert publisher.drain(30) == 0
            assert state_of(publisher) == "online"
            assert publisher.alarms(silent_after_s=300) == []


def overdue(flight: InFlight) -> bool:
    return flight.overdue


def test_what_waits_for_an_answer_is_overdue_only_while_none_comes() -> None:
    now = [0.0]
    flight = InFlight(lambda: now[0])
    assert (flight.room, overdue(flight)) == (0, False)
    flight.begin(2)
    flight.sent(1)
    now[0] = ANSWER_WITHIN_S
    flight.sent(2)
    assert (flight.room, overdue(flight)) == (0, False)
    flight.answered(2)
    now[0] += ANSWER_WITHIN_S
    assert (flight.room, overdue(flight)) == (1, False)
    now[0] += 0.1
    assert overdue(flight)
    flight.answered(99)
    assert overdue(flight), "what it was never sent is no answer"
    flight.answered(1)
    assert not overdue(flight)
    flight.sent(3)
    flight.begin(2)
    assert (flight.room, overdue(flight)) == (2, False)


@pytest.mark.parametrize("forget_on", ["broker", "consumer"])
def test_a_report_that_is_too_large_stands_aside_and_leaves_when_a_broker_takes_it(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make, forget_on: str
) -> None:
    bound = put_one_large(outbox, make_report, topics, total=7, large=3)
    with open_mosquitto(config_lines=[f"max_packet_size {bound}"]) as broker:
        listener = subscribe(broker, topics.frame)
        with publisher_to(broker, topics, outbox, forget_on=forget_on) as publisher:
            assert seqs_of(listener.take(6)) == [1, 2, 4, 5, 6, 7]
            assert until(lambda: outbox.aside.places)
            assert publisher.state == "online"
            [alarm] = outbox.alarms()
            assert f"report 3 (smear-00003.png) has {bound + 503} bytes, more than the broker takes" in alarm
            assert publisher.drain(10) == 1
            acknowledge(broker, topics, json.dumps({"epoch": outbox.epoch, "upto": 7}))
            assert until(lambda: outbox.count() == 1)
            assert outbox.oldest() == 8, "consumers need not wait for it"
    with open_mosquitto() as broker:
        listener = subscribe(broker, topics.frame)
        with publisher_to(broker, topics, outbox, forget_on=forget_on) as publisher:
            assert seqs_of(listener.take(1)) == [3]
            assert publisher.drain(10) == 0
            assert outbox.alarms() == []
            acknowledge(broker, topics, json.dumps({"epoch": outbox.epoch, "upto": 7}))
            assert until(lambda: outbox.count() == 0)


def test_the_bound_is_kept_to_the_byte(open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make) -> None:
    """One byte less, and a real broker would end the connection."""
    *_, site, device = topics.root.split("/")
    report = make_report(1, outbox.epoch, site=site, device=device)
    outbox.put(report)
    lines = [f"max_packet_size {size_of(report, topics)}"]
    with open_mosquitto(config_lines=lines) as broker, publisher_to(broker, topics, outbox) as publisher:
        assert publisher.drain(10) == 0


def test_a_consumer_does_not_wait_for_what_stands_aside(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make, tmp_path: Path
) -> None:
    bound = put_one_large(outbox, make_report, topics, total=9, large=4)
    *_, device = topics.root.split("/")
    with open_mosquitto(config_lines=[f"max_packet_size {bound}"]) as broker:
        database = f"sqlite:///{tmp_path / 'c.sqlite'}"
        mqtt = BrokerSettings(port=broker.port, prefix="test")
        settings = CollectorSettings(name="aside", device=device, mqtt=mqtt, database=database)
        with collecting(settings), publisher_to(broker, topics, outbox, forget_on="consumer") as publisher:
            assert until(lambda: outbox.aside.places)

            def told() -> bool:
                message = health_of(9).model_copy(update={"epoch": outbox.epoch, "oldest": outbox.oldest()})
                publisher.health(message)
                return outbox.count() == 1

            assert until(told)
        assert [seq for *_, seq in stored(database)] == [1, 2, 3, 5, 6, 7, 8, 9]


def test_what_is_retained_and_too_large_is_left_out_and_told_and_the_rest_is_said(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with open_mosquitto(config_lines=["max_packet_size 2500"]) as broker:
        listener = subscribe(broker, topics.frame)
        with publisher_to(broker, topics, outbox) as publisher:
            publisher.speaker("homeassistant/device/x/config")(b"x" * 3000)
            publisher.health(health_of(1).model_copy(update={"alarms": ["y" * 3000]}))
            put(outbox, make_report, 5)
            listener.take(5)
            assert publisher.drain(10) == 0
            assert until(lambda: len(publisher.alarms(silent_after_s=300)) == 2)
            told = " ".join(publisher.alarms(silent_after_s=300))
            assert "the message for homeassistant/device/x/config has 3" in told
            assert f"the message for {topics.health} has 3" in told
            publisher.health(health_of(2))
            assert json.loads(subscribe(broker, topics.health).next()["payload"])["frames"] == 2
            assert len(publisher.alarms(silent_after_s=300)) == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_message_of_any_length_to_the_agent_is_passed_over(
    mosquitto: Broker, topics: Topics, outbox: Outbox, make_report: Make, tmp_path: Path, version: Any
) -> None:
    (tmp_path / "long").write_bytes(b" " * 3_000_000)
    program = [str(find_program("mosquitto_pub")), "-p", str(mosquitto.port), "-q", "1", "-t", topics.ack]
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer", version=version) as publisher:
        put(outbox, make_report, 3)
        assert publisher.drain(20) == 0
        age = publisher._contact._since
        subprocess.run([*program, "-f", tmp_path / "long"], check=True)
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 3}))
        assert until(lambda: outbox.count() == 0)
        assert publisher._contact._since == age, "it is the same connection"


@pytest.mark.parametrize(
    ("line", "code", "remedy"), [("retain_available false", 154, "retain_available"), ("max_qos 0", 155, "max_qos 1")]
)
def test_a_broker_without_what_we_need_is_named_as_such(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make, line: str, code: int, remedy: str
) -> None:
    put(outbox, make_report, 2)
    with open_mosquitto(config_lines=[line]) as broker, publisher_to(broker, topics, outbox) as publisher:
        assert until(lambda: publisher.state == "refused")
        assert f"({code})" in publisher.trouble
        assert remedy in publisher.trouble
    assert remedy in REMEDIES[code][1]
