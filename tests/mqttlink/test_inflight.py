"""Each answer of the broker finds who sent the message."""

from collections.abc import Callable

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from mqttlink.inflight import Answer, InFlight, Ticket

YES = ReasonCode(PacketTypes.PUBACK, "Success")
NO = ReasonCode(PacketTypes.PUBACK, "Not authorized")


def named(name: str, heard: list[tuple[str, Ticket, bool]]) -> Callable[[Ticket, Answer], None]:
    return lambda ticket, answer: heard.append((name, ticket, answer.is_failure))


def test_each_ticket_calls_back_who_sent_it_with_its_own_answer() -> None:
    heard: list[tuple[str, Ticket, bool]] = []
    flight = InFlight()
    flight.begin(10)
    first, second = flight.sent(1, named("first", heard)), flight.sent(2, named("second", heard))
    for packet_id, answer in ((2, NO), (1, YES)):
        ticket = flight.answered(packet_id)
        assert ticket is not None
        ticket.settle(answer)
    assert heard == [("second", second, True), ("first", first, False)]
    assert (first.answer, second.answer) == (YES, NO)


def test_no_ticket_is_answered_twice_nor_on_another_connection() -> None:
    flight = InFlight()
    flight.begin(10)
    flight.sent(1)
    flight.sent(2)
    assert flight.answered(1)
    assert not flight.answered(1)
    flight.begin(10)
    assert not flight.answered(2)
