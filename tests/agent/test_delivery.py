"""The publisher's books: what is sent next, what is done with."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.aside import Large
from agent.wire.delivery import Delivery
from agent.wire.outbox import Outbox
from tests.deliveries import Clock, Make, send


def held(outbox: Outbox) -> list[int]:
    return [seq for seq, _ in outbox.pending(0, 100)]


def test_sends_in_order_and_never_more_than_the_window(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=4)
    assert send(delivery) == [1, 2, 3, 4]
    assert send(delivery) == []
    delivery.accepted(1002)
    assert send(delivery) == [5]


def test_forgets_what_the_broker_accepted_and_only_that(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=4)
    send(delivery)
    assert delivery.accepted(1003)
    delivery.settle()
    assert len(held(filled)) == 10, "one is not worth a transaction while others are on their way"
    delivery.settle(now=True)
    assert held(filled) == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert delivery.unsent() == 9


def test_a_ticket_that_is_none_of_ours_changes_nothing(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=4)
    send(delivery)
    assert not delivery.accepted(7)
    assert not delivery.refused(7)
    assert delivery.unsent() == 10


def test_refused_reports_stop_the_line_and_then_go_first(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="broker", window=4, clock=clock)
    send(delivery)
    delivery.refused(1002)
    delivery.refused(1004)
    delivery.accepted(1001)
    assert send(delivery) == []
    clock.now += 1.1
    assert send(delivery) == [2, 4, 5]


def test_the_line_stops_for_longer_while_refusals_go_on(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="broker", window=1, clock=clock)
    waits = []
    for _ in range(10):
        assert send(delivery) == [1]
        delivery.refused(1001)
        since = clock.now
        while not delivery.next_batch(1000):
            clock.now += 0.5
        waits.append(clock.now - since)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, 60.0)


def test_after_the_broker_has_taken_one_the_line_stops_for_as_short_as_at_first(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="broker", window=1, clock=clock)
    for _ in range(5):
        send(delivery)
        delivery.refused(1001)
        clock.now += 60
    send(delivery)
    delivery.accepted(1001)
    delivery.settle()
    assert send(delivery) == [2]
    delivery.refused(1002)
    clock.now += 0.9
    assert send(delivery) == []
    clock.now += 0.2
    assert send(delivery) == [2]


def test_accepted_reports_stay_until_a_consumer_speaks(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="consumer", window=20)
    for seq in send(delivery):
        delivery.accepted(1000 + seq)
    delivery.settle()
    assert len(held(filled)) == 10
    assert delivery.unsent() == 0
    assert delivery.acknowledged(filled.epoch, 7)
    assert held(filled) == [8, 9, 10]


def test_an_acknowledgement_of_what_was_never_made_is_refused(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="consumer", window=20)
    assert not delivery.acknowledged(filled.epoch, 11)
    assert len(held(filled)) == 10


def test_an_acknowledgement_of_another_epoch_is_refused(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="consumer", window=20)
    assert not delivery.acknowledged("another", 3)
    assert len(held(filled)) == 10


def test_an_old_acknowledgement_changes_nothing(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="consumer", window=20)
    delivery.acknowledged(filled.epoch, 5)
    assert delivery.acknowledged(filled.epoch, 3)
    assert held(filled) == [6, 7, 8, 9, 10]
    assert send(delivery) == [6, 7, 8, 9, 10]


def test_a_new_connection_brings_again_what_consumers_left_open_and_what_was_on_its_way(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="consumer", window=5)
    send(delivery)
    for seq in (1, 2, 3, 4):
        delivery.accepted(1000 + seq)
    delivery.acknowledged(filled.epoch, 2)
    delivery.reconnected()
    assert send(delivery) == [3, 4, 5, 6, 7]


def test_a_new_connection_brings_again_only_what_was_on_its_way_where_the_brokers_word_counts(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=5)
    send(delivery)
    delivery.accepted(1001)
    delivery.accepted(1004)
    delivery.reconnected()
    assert send(delivery) == [2, 3, 5, 6, 7]


def test_never_sends_more_than_the_broker_has_room_for(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=4)
    assert [place for place, _ in delivery.next_batch(1)] == [1]
    assert delivery.next_batch(0) == []


@pytest.mark.parametrize("forget_on", ["broker", "consumer"])
def test_what_stands_aside_is_passed_over_told_and_not_forgotten(filled: Outbox, forget_on: Any) -> None:
    delivery = Delivery(filled, forget_on=forget_on, window=20)
    delivery.set_aside(2, Large(5000, "report 2 (a.png)"))
    delivery.set_aside(7, Large(9000, "report 7 (b.png)"))
    assert send(delivery) == [1, 3, 4, 5, 6, 8, 9, 10]
    for place in (1, 3, 4, 5, 6, 8, 9, 10):
        delivery.accepted(1000 + place)
    delivery.settle(now=True)
    delivery.acknowledged(filled.epoch, 10)
    assert (held(filled), delivery.unsent(), filled.count(), filled.oldest()) == ([], 0, 2, 11)
    [alarm] = filled.alarms()
    assert "report 2 (a.png) has 5000 bytes, more than the broker takes, and so have 1 others" in alarm
    assert filled.bring_back(4999) == 0
    assert filled.bring_back(5000) == 1
    delivery.reconnected()
    assert (send(delivery), filled.oldest()) == ([2], 2)
    delivery.accepted(1002)
    delivery.settle(now=True)
    delivery.acknowledged(filled.epoch, 10)
    assert filled.count() == 1


def test_what_stands_aside_does_so_in_the_next_life(tmp_path: Path, make_report: Make) -> None:
    with Outbox(tmp_path / "outbox", max_mb=8) as outbox:
        for seq in (1, 2, 3):
            outbox.put(make_report(seq, outbox.epoch))
        outbox.set_aside(2, Large(5000, "report 2 (a.png)"))
    with Outbox(tmp_path / "outbox", max_mb=8) as outbox:
        assert held(outbox) == [1, 3]
        assert len(outbox.alarms()) == 1


ANSWERS = st.lists(
    st.tuples(st.sampled_from(["accept", "refuse", "ack", "rewind", "wait"]), st.integers(1, 10)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(answers=ANSWERS, consumer=st.booleans(), window=st.integers(1, 12))
def test_whatever_the_broker_answers_every_report_is_delivered_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    make_report: Make,
    answers: list[tuple[str, int]],
    consumer: bool,  # noqa: FBT001 - hypothesis draws it
    window: int,
) -> None:
    clock = Clock()
    with Outbox(tmp_path_factory.mktemp("delivery") / "o", max_mb=8) as outbox:
        for seq in range(1, 11):
            outbox.put(make_report(seq, outbox.epoch))
        delivery = Delivery(outbox, forget_on="consumer" if consumer else "broker", window=window, clock=clock)
        stored: set[int] = set()
        flying: set[int] = set()
        for answer, seq in [*answers, *[("wait", 1)] * 30]:
            batch = send(delivery)
            assert not flying & set(batch)
            flying |= set(batch)
            assert len(flying) <= window
            if answer == "refuse" and seq in flying:
                delivery.refused(1000 + seq)
                flying.remove(seq)
            elif answer == "rewind":
                delivery.reconnected()
                flying.clear()
            elif answer == "ack" and consumer:
                delivery.acknowledged(outbox.epoch, upto_of(stored))
            else:
                for number in flying:
                    delivery.accepted(1000 + number)
                stored |= flying
                flying.clear()
                delivery.settle()
                clock.now += 61
        assert stored == set(range(1, 11))
        assert consumer or held(outbox) == []


def upto_of(stored: set[int]) -> int:
    """The last number of the run that starts at 1."""
    return next(number for number in range(12) if number + 1 not in stored)
