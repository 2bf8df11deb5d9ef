"""The publisher against brokers and cables that break: nothing is lost."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from agent.wire.outbox import Outbox
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker
from tests.cable import Cable
from tests.publishing import acknowledge, publisher_apart, publisher_to, put, seqs_of
from tests.waiting import free_port, until

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


def test_waits_for_a_broker_that_is_not_there_yet(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    port = free_port()
    with publisher_to(port, topics, outbox) as publisher:
        put(outbox, make_report, 3)
        assert not publisher.wait_connected(0.3)
        assert "nothing listens" in publisher.trouble
        assert publisher.drain(0.1) == 3
        with open_mosquitto(port=port):
            assert publisher.wait_connected(20)
            assert publisher.drain(10) == 0
            assert publisher.trouble == ""


def test_an_agent_may_end_while_the_broker_is_away(topics: Topics, outbox: Outbox, make_report: Make) -> None:
    with publisher_to(free_port(), topics, outbox):
        put(outbox, make_report, 3)
    assert outbox.count() == 3


def test_what_a_killed_broker_had_not_answered_is_sent_to_the_next_one(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    """The broker hangs with a full window in flight, dies, and comes back empty."""
    with ExitStack() as house, Cable() as cable:
        first = house.enter_context(open_mosquitto())
        cable.plug_into(first.port)
        publisher = house.enter_context(publisher_to(cable.port, topics, outbox, window=16))
        assert publisher.wait_connected(10)
        os.kill(first.pid, signal.SIGSTOP)
        seqs = put(outbox, make_report, 50)
        assert publisher.drain(0.5) == 50
        cable.pull_out()
        os.kill(first.pid, signal.SIGKILL)
        with open_mosquitto() as second:
            listener = subscribe(second, topics.frame)
            cable.plug_into(second.port)
            messages = listener.take(50)
            assert seqs_of(messages) == seqs
            assert publisher.drain(10) == 0
        assert outbox.count() == 0


def test_a_cable_pulled_again_and_again_loses_nothing(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with Cable() as cable:
        cable.plug_into(mosquitto.port)
        with publisher_to(cable.port, topics, outbox) as publisher:
            for _ in range(4):
                assert until(partial(publisher.wait_connected, 0))
                put(outbox, make_report, 100)
                cable.pull_out()
                cable.plug_into(mosquitto.port)
            assert publisher.drain(20) == 0
    seen: set[int] = set()
    while len(seen) < 400:
        seen.update(seqs_of([listener.next()]))
    assert seen == set(range(1, 401))


def test_with_acknowledging_consumers_neither_agent_nor_broker_can_lose_a_report(
    open_mosquitto: Open, subscribe: Open, topics: Topics, device: str, make_report: Make, tmp_path: Path
) -> None:
    """Agent and broker are killed in turn; the consumer acknowledges what it has without gaps, and gets all."""
    total, port, seen = 600, free_port(), set[int]()
    file, pattern = tmp_path / "o", make_report(device=device)
    epoch = ""
    for death in ("agent", "broker", "agent", "broker", "none"):
        with open_mosquitto(port=port) as broker:
            listener = subscribe(broker, topics.frame)
            with publisher_apart(broker, file, pattern, total=total, forget_on="consumer") as process:
                goal = total if death == "none" else min(total, len(seen) + 100)
                while len(seen) < goal:
                    report = json.loads(listener.next()["payload"])
                    seen.add(report["seq"])
                    epoch = report["epoch"]
                if death == "broker":
                    os.kill(broker.pid, signal.SIGKILL)
                upto = next(number for number in range(total + 1) if number + 1 not in seen)
                if death != "broker":
                    acknowledge(broker, topics, json.dumps({"epoch": epoch, "upto": upto}))
                process.kill()
            listener.close()
    assert seen == set(range(1, total + 1))


def test_a_consumers_acknowledgement_empties_the_outbox(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer") as publisher:
        put(outbox, make_report, 20)
        listener.take(20)
        assert publisher.drain(10) == 0
        assert outbox.count() == 20
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 15}))
        assert until(lambda: outbox.count() == 5)


def test_acknowledgements_of_others_and_nonsense_change_nothing(
    mosquitto: Broker, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer") as publisher:
        put(outbox, make_report, 5)
        assert publisher.drain(10) == 0
        acknowledge(mosquitto, topics, json.dumps({"epoch": "another", "upto": 5}))
        acknowledge(mosquitto, topics, "not json")
        before = outbox.epoch
        acknowledge(mosquitto, topics, json.dumps({"epoch": before, "upto": 10**9}))
        assert until(lambda: outbox.epoch != before), "as where the outbox was set back"
        assert outbox.count() == 5
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 2}))
        assert until(lambda: outbox.count() == 3)
        assert publisher.ignored_acks == 3
        assert publisher.alive


def test_what_no_consumer_acknowledged_is_sent_again_after_a_restart(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer") as publisher:
        put(outbox, make_report, 5)
        assert publisher.drain(10) == 0
    listener = subscribe(mosquitto, topics.frame)
    with publisher_to(mosquitto, topics, outbox, forget_on="consumer"):
        assert seqs_of(listener.take(5)) == [1, 2, 3, 4, 5]
