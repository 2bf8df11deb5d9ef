"""What is sent again where consumers acknowledge, and when."""

from pathlib import Path

from agent.wire.delivery import Delivery
from agent.wire.outbox import Outbox
from tests.deliveries import Clock, Make, send


def test_a_silent_consumer_is_sent_everything_again_ever_more_rarely(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="consumer", window=20, clock=clock)
    for again_after_s in (30, 60, 120):
        for seq in send(delivery):
            delivery.accepted(1000 + seq)
        clock.now += again_after_s - 1
        assert send(delivery) == []
        clock.now += 2
    assert send(delivery) == list(range(1, 11))


def test_a_consumer_that_repeats_itself_is_sent_everything_again_soon_but_ever_more_rarely(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="consumer", window=20, clock=clock)
    delivery.acknowledged(filled.epoch, 2)
    for again_after_s in (1, 2, 4, 8):
        for place in send(delivery):
            delivery.accepted(1000 + place)
        delivery.acknowledged(filled.epoch, 2)
        clock.now += again_after_s - 0.1
        assert send(delivery) == []
        clock.now += 0.2
    delivery.acknowledged(filled.epoch, 3)
    assert send(delivery) == []


def test_a_consumer_that_has_seen_nothing_further_lacks_nothing_that_is_not_on_its_way(filled: Outbox) -> None:
    """It repeats itself because reports came twice; to send all of them once more would make it worse."""
    clock = Clock()
    delivery = Delivery(filled, forget_on="consumer", window=20, clock=clock)
    for place in send(delivery):
        delivery.accepted(1000 + place)
    delivery.acknowledged(filled.epoch, 2, 2)
    for _ in range(25):
        delivery.acknowledged(filled.epoch, 2, 2)
        clock.now += 1
        assert send(delivery) == []
    delivery.acknowledged(filled.epoch, 2, 7)
    clock.now += 1.1
    assert send(delivery) == [3, 4, 5, 6, 7, 8, 9, 10], "it has seen 7, and so it has missed 3"


def test_a_consumer_s_silence_counts_from_its_last_word_or_from_the_first_report_after_it(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="consumer", window=20, clock=clock)
    send(delivery)
    clock.now += 50
    assert delivery.silence_s() is None, "the broker has taken nothing yet"
    for place in (1, 2, 3):
        delivery.accepted(1000 + place)
        clock.now += 10
    assert delivery.silence_s() == 30
    delivery.acknowledged(filled.epoch, 2)
    clock.now += 5
    delivery.acknowledged(filled.epoch, 2)
    assert delivery.silence_s() == 5, "to repeat itself is no progress"
    delivery.reconnected()
    send(delivery)
    assert delivery.silence_s() == 5, "and a new connection is none"
    delivery.acknowledged(filled.epoch, 3)
    assert delivery.silence_s() is None, "what the broker did not take is not the consumer's"
    clock.now += 100
    delivery.accepted(1004)
    assert delivery.silence_s() == 0


def test_an_answer_of_the_broker_that_comes_after_the_consumer_s_begins_no_silence(filled: Outbox) -> None:
    clock = Clock()
    delivery = Delivery(filled, forget_on="consumer", window=9, clock=clock)
    send(delivery)
    delivery.acknowledged(filled.epoch, 9)
    delivery.accepted(1009)
    clock.now += 31
    [ten] = send(delivery)
    delivery.accepted(1000 + ten)
    assert delivery.silence_s() == 0


def test_where_the_broker_s_word_counts_no_consumer_owes_one(filled: Outbox) -> None:
    delivery = Delivery(filled, forget_on="broker", window=20)
    send(delivery)
    delivery.accepted(1001)
    assert delivery.silence_s() is None


def test_reports_that_go_on_do_not_put_off_what_a_consumer_lacks(tmp_path: Path, make_report: Make) -> None:
    """One that came late has missed the first; it says so with every report that it stores."""
    clock, sent = Clock(), list[int]()
    with Outbox(tmp_path / "outbox", max_mb=8) as outbox:
        delivery = Delivery(outbox, forget_on="consumer", window=20, clock=clock)
        for seq in range(1, 81):
            outbox.put(make_report(seq, outbox.epoch))
            for place in send(delivery):
                sent.append(place)
                delivery.accepted(1000 + place)
            delivery.acknowledged(outbox.epoch, 0)
            clock.now += 0.05
        assert sent.count(1) == 3, "at first, after 1 s, and after 2 s more"
