"""Spans of numbers behave as a set does."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector.numbers import Numbers, shown

SPANS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1] - 1)))


@given(spans=SPANS)
def test_covers_what_a_set_of_the_same_numbers_holds(spans: list[tuple[int, int]]) -> None:
    numbers, model = Numbers(), set[int]()
    for low, high in spans:
        numbers.cover(low, high)
        model |= set(range(low, high + 1))
        held = [n for first, last in numbers.spans() for n in range(first, last + 1)]
        assert held == sorted(model)
        missing = [n for first, last in numbers.holes() for n in range(first, last + 1)]
        assert missing == sorted(set(range(1, max(model, default=0) + 1)) - model)
        assert numbers.upto == next(n for n in range(100) if n + 1 not in model)
        assert numbers.highest == max(model, default=0)
    assert list(numbers.copy().spans()) == list(numbers.spans())


@given(spans=SPANS)
def test_spans_never_touch(spans: list[tuple[int, int]]) -> None:
    held = list(Numbers(spans).spans())
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(held))


def test_a_thousand_holes_are_told_in_a_few_words() -> None:
    numbers = Numbers((n, n) for n in range(2, 2002, 2))
    assert shown(numbers.holes(), most=2) == "1, 3 and 998 more spans"
    assert shown([(17, 19)]) == "17-19"
    assert shown([]) == ""
