"""Cells that a later report takes back are gone, and a cell of two names goes on under one."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.amendments import Amendment, Amendments, amendment_of, cell_number
from contract.messages import FrameReport, Join

Make = Callable[..., FrameReport]
NAMES = st.builds("{}-c{}".format, st.sampled_from(["r-s1", "r-s2"]), st.integers(1, 6))
HISTORIES = st.lists(
    st.tuples(st.one_of(st.just(""), NAMES), st.dictionaries(NAMES, NAMES, max_size=3)), max_size=8
).map(lambda told: [Amendment(seq, *said) for seq, said in enumerate(told, start=1)])


def together(history: Sequence[Amendment]) -> Amendments:
    amendments = Amendments()
    for amendment in history:
        amendments.add(amendment)
    return amendments


def one_by_one(history: Sequence[Amendment], name: str, seq: int) -> str | None:
    now: str | None = name
    for amendment in history:
        if amendment.seq > seq and now is not None:
            now = amendment.name(now)
    return now


@given(history=HISTORIES, name=NAMES, seq=st.integers(0, 9))
def test_many_amendments_say_what_each_says_in_turn(history: list[Amendment], name: str, seq: int) -> None:
    assert together(history).name(name, seq) == one_by_one(history, name, seq)


def test_cells_of_the_count_from_the_named_one_on_are_taken_back() -> None:
    amendment = Amendment(3, "r-s1-c9", {})
    names = ["r-s1-c8", "r-s1-c9", "r-s1-c10", "r-s2-c10", "s1-c10"]
    assert [amendment.name(name) for name in names] == ["r-s1-c8", None, None, "r-s2-c10", "s1-c10"]


def test_only_earlier_reports_are_amended() -> None:
    amendments = together([Amendment(3, "r-s1-c1", {}), Amendment(5, "", {"r-s1-c2": "r-s1-c1"})])
    assert [amendments.name("r-s1-c2", seq) for seq in (2, 3, 4, 5, 6)] == [None, *["r-s1-c1"] * 2, *["r-s1-c2"] * 2]


def test_a_cell_is_taken_back_by_the_name_that_it_then_bore() -> None:
    history = [Amendment(3, "", {"r-s1-c7": "r-s1-c1"}), Amendment(4, "r-s1-c5", {})]
    assert together(history).name("r-s1-c7", 2) == "r-s1-c1"
    assert together([Amendment(3, "", {"r-s1-c1": "r-s1-c7"}), history[1]]).name("r-s1-c1", 2) is None


@pytest.mark.parametrize("name", ["", "r", "r-c", "r-cx", "r-c" + "9" * 5000, "r-c\u0663", "c1"])
def test_names_of_another_form_are_left_alone(name: str) -> None:
    assert cell_number(name) is None
    for amendment in (Amendment(5, "r-c1", {}), Amendment(5, name, {})):
        assert amendment.name(name) == together([amendment]).name(name, 1) == name


def test_a_report_that_says_nothing_of_earlier_ones_amends_nothing(make_report: Make) -> None:
    assert amendment_of(make_report(1)) is None
    assert amendment_of(make_report(2, withdraws="r-s1-c1")) == Amendment(2, "r-s1-c1", {})
    joined = Join(part=2, x=0, y=0, same={"r-s1-c2": "r-s1-c1"})
    assert amendment_of(make_report(3, joined=joined)) == Amendment(3, "", joined.same)


def test_a_withdrawal_that_is_said_again_and_again_is_held_once() -> None:
    amendments = together([Amendment(seq, "r-s1-c1", {}) for seq in range(1, 5000)])
    assert list(amendments._withdrawals.values()) == [[(4999, 1)]]
    assert amendments.name("r-s1-c1", 4998) is None
