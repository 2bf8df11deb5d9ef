"""What programs ask for again and again is counted in the audit log, and not forgotten."""

from collections.abc import Mapping

import pytest

from agent.wire.often import EVERY_S, MOST_ASKERS, OftenAsked, shortened
from common.errors import AuditError
from contract.requests import GetPictures

REQUEST = GetPictures(kind="cell", ids=tuple(f"c-{number}" for number in range(100)))
SHORT = ["c-0", "c-1", "c-2", "c-3", "and 96 more"]


class Book:
    """An audit log in memory, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Mapping[str, object]]] = []
        self.now = 0.0
        self.often = OftenAsked(lambda event, facts: self.notes.append((event, facts)), lambda: self.now)

    def ask(self, reply_to: str = "r") -> bool:
        return self.often.note("picture/get", reply_to, REQUEST)


def test_one_is_noted_each_minute_with_the_count_of_those_between() -> None:
    book = Book()
    assert [book.ask() for _ in range(10)] == [True, *[False] * 9]
    book.now += EVERY_S
    assert book.ask()
    assert [(event, facts["counted_before"]) for event, facts in book.notes] == [("command", 0), ("command", 9)]
    assert book.notes[0][1]["request"] == {
        "kind": "cell", "ids": SHORT, "max_kb": 256, "offset": 0, "annotated": False
    }  # fmt: skip


def test_each_asker_is_noted_and_their_number_is_bounded() -> None:
    book = Book()
    for _ in range(3):
        book.ask("first")
    assert all(book.ask(f"r{number}") for number in range(MOST_ASKERS))
    assert ("commands_counted", {"command": "picture/get", "reply_to": "first", "times": 2}) in book.notes
    assert book.ask("first")


def test_at_the_end_what_was_counted_is_told() -> None:
    book = Book()
    for _ in range(5):
        book.ask()
    book.often.close()
    assert book.notes[-1] == ("commands_counted", {"command": "picture/get", "reply_to": "r", "times": 4})


def test_what_can_not_be_noted_is_not_carried_out() -> None:
    def full(_event: str, _facts: Mapping[str, object]) -> None:
        raise AuditError("full")

    with pytest.raises(AuditError):
        OftenAsked(full, lambda: 0.0).note("picture/get", "r", REQUEST)


def test_long_lists_are_shortened() -> None:
    assert shortened(REQUEST)["ids"] == SHORT
