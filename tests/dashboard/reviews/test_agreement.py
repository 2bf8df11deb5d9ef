"""Agreement is what the signed verdicts say, with an interval whose figures can be followed by hand."""

import math

import pytest

from dashboard.records import SlideRecord
from dashboard.reviews.agreement import Agreement, agreement, cohens_kappa
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import KEY, Desk, cell, slide_of

RECORD = slide_of(*(cell(f"r-c{number}") for number in range(6)))


def of(store: ReviewStore, record: SlideRecord = RECORD) -> Agreement | None:
    return agreement(record, store.log(KEY))


def both(store: ReviewStore, first: dict[str, str], second: dict[str, str]) -> tuple[Desk, Desk]:
    desks = []
    for person, labels in (("ada", first), ("bob", second)):
        desks.append(Desk(store, person).begin(RECORD).say(RECORD, **labels))
        desks[-1].sign(RECORD)
    return desks[0], desks[1]


def test_kappa_and_its_interval_are_those_computed_by_hand() -> None:
    """Shares 0.4, 0.1, 0.2, 0.3: seen 0.7, by chance 0.5; the error by equation 13 is sqrt(0.0504 / (50 * 0.0625))."""
    found = cohens_kappa(
        {("blast", "blast"): 20, ("blast", "normal"): 5, ("normal", "blast"): 10, ("normal", "normal"): 15}
    )
    assert found
    error = math.sqrt((0.01156 + 0.01587 + 0.09 * (0.121 + 0.162) - 0.0025) / 50) / 0.25
    assert error == pytest.approx(0.1269961, abs=1e-6)
    assert found.value == pytest.approx(0.4)
    assert [found.low, found.high] == pytest.approx([0.4 - 1.959964 * error, 0.4 + 1.959964 * error])
    assert found.level == 0.95


def test_kappa_of_three_labels_is_that_computed_by_hand() -> None:
    """Of 10 cells 7 alike; chance 0.5 * 0.4 + 0.3 * 0.4 + 0.2 * 0.2 = 0.36."""
    pairs = {("a", "a"): 4, ("a", "b"): 1, ("b", "b"): 2, ("b", "c"): 1, ("c", "b"): 1, ("c", "c"): 1}
    found = cohens_kappa(pairs)
    assert found
    assert found.value == pytest.approx((0.7 - 0.36) / (1 - 0.36))
    assert -1 <= found.low < found.value < found.high <= 1


def test_kappa_is_one_of_readers_who_differ_in_nothing_and_below_zero_of_those_who_always_do() -> None:
    alike = cohens_kappa({("blast", "blast"): 5, ("normal", "normal"): 5})
    apart = cohens_kappa({("blast", "normal"): 5, ("normal", "blast"): 5})
    assert alike
    assert (alike.value, alike.low, alike.high) == (1, 1, 1)
    assert apart
    assert [apart.value, apart.low] == pytest.approx([-1, -1])


def test_kappa_is_not_defined_without_cells_or_with_one_label_alone() -> None:
    assert cohens_kappa({}) is None
    assert cohens_kappa({("normal", "normal"): 9}) is None


def test_there_is_no_agreement_until_both_have_signed(store: ReviewStore) -> None:
    assert of(store) is None
    Desk(store, "ada").begin(RECORD).say(RECORD, r_c0="blast").sign(RECORD)
    bob = Desk(store, "bob").begin(RECORD).say(RECORD, r_c0="blast")
    assert of(store) is None
    bob.sign(RECORD)
    assert of(store)


def test_agreement_is_of_the_cells_that_both_have_judged(store: ReviewStore) -> None:
    both(
        store,
        {"r_c0": "blast", "r_c1": "blast", "r_c2": "normal", "r_c3": "unsure", "r_c4": "smudge"},
        {"r_c0": "blast", "r_c1": "normal", "r_c2": "normal", "r_c3": "unsure", "r_c5": "smudge"},
    )
    found = of(store)
    assert found
    assert found.readers == ("ada", "bob")
    assert (found.cells, found.agreed, found.share) == (4, 3, 0.75)
    assert (found.only_first, found.only_second) == (1, 1)
    assert found.interval is not None
    assert found.interval.low < 0.75 < found.interval.high
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx((0.75 - 0.3125) / (1 - 0.3125))
    [apart] = found.disagreements
    assert (apart.object_id, apart.first.label, apart.second.label) == ("r-c1", "blast", "normal")
    assert apart.final.source == "disputed"
    assert found.pairs == {
        ("blast", "blast"): 1, ("blast", "normal"): 1, ("normal", "normal"): 1, ("uncertain", "uncertain"): 1,
    }  # fmt: skip


def test_a_disagreement_stays_in_the_table_with_its_final_label_when_it_is_settled(store: ReviewStore) -> None:
    both(store, {"r_c1": "blast"}, {"r_c1": "normal"})
    Desk(store, "eve", "adjudication").look(RECORD).say(RECORD, r_c1="blast")
    found = of(store)
    assert found
    assert [(one.object_id, one.final.label, one.final.source) for one in found.disagreements] == [
        ("r-c1", "blast", "adjudication")
    ]
    assert found.is_independent


def test_readings_that_were_changed_after_both_were_seen_are_not_independent(store: ReviewStore) -> None:
    ada, bob = both(store, {"r_c1": "blast"}, {"r_c1": "normal"})
    found = of(store)
    assert found
    assert found.is_independent
    bob.withdraw(max(act.id for act in store.log(KEY).acts))
    assert of(store) is None
    bob.say(RECORD, r_c1="blast").sign(RECORD)
    found = of(store)
    assert found
    assert (found.agreed, found.is_independent) == (1, False)
    assert ada.person == "ada"


def test_readings_without_a_common_cell_have_no_share(store: ReviewStore) -> None:
    both(store, {"r_c1": "blast"}, {"r_c2": "normal"})
    found = of(store)
    assert found
    assert (found.cells, found.share, found.interval, found.kappa) == (0, None, None, None)
