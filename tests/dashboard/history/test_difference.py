"""The difference of two shares has the interval that was published for it."""

import pytest

from dashboard.history.difference import difference


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_the_interval_is_that_of_newcombes_table(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    """Table II, method 10, of Statistics in Medicine 17, 1998, 873-890."""
    found = difference(*counts)
    assert found is not None
    assert [found.low, found.high] == pytest.approx([low, high], abs=6e-5)
    assert found.low <= found.value <= found.high


def test_to_exchange_the_two_turns_the_sign() -> None:
    here, there = difference(12, 80, 30, 90), difference(30, 90, 12, 80)
    assert here is not None
    assert there is not None
    assert (here.value, here.low, here.high) == pytest.approx((-there.value, -there.high, -there.low))


@pytest.mark.parametrize("counts", [(0, 0, 3, 10), (3, 10, 0, 0), (0, 0, 0, 0)])
def test_a_share_of_nothing_differs_from_no_other(counts: tuple[int, int, int, int]) -> None:
    assert difference(*counts) is None
