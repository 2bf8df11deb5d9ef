"""Each cell counts once, under the label that stands, whatever it was called and however often it was judged."""

from dataclasses import replace

import pytest

from collector.queries import reading
from contract.messages import Join
from dashboard.records import Counts, SlideKey, SlideRecord, slide_record
from dashboard.reviews.agreement import agreement
from dashboard.reviews.events import ReviewRefusedError
from dashboard.reviews.standing import CorrectedCounts, Names, corrected_counts, final_labels, standing
from dashboard.reviews.store import ReviewStore
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.reviews.conftest import KEY, Desk, cell, slide_of, three


def counted(store: ReviewStore, record: SlideRecord | None = None) -> CorrectedCounts:
    record = record or three()
    return corrected_counts(record, final_labels(record, store.log(KEY)))


def labels(store: ReviewStore, record: SlideRecord | None = None) -> dict[str, tuple[str, str]]:
    return {name: final[:2] for name, final in final_labels(record or three(), store.log(KEY)).items()}


def test_without_a_verdict_a_cell_is_what_the_model_says(store: ReviewStore) -> None:
    assert set(labels(store).values()) == {("normal", "model"), ("uncertain", "model"), ("blast", "model")}
    assert counted(store) == CorrectedCounts(three().counts, {}, 0)


def test_classes_of_the_laboratory_are_counted_apart_and_leave_the_share(store: ReviewStore) -> None:
    Desk(store).begin(three()).say(three(), r_c1="smudge", r_c2="blast", r_c3="artefact")
    found = counted(store)
    assert found == CorrectedCounts(Counts(blast=1), {"artefact": 1, "smudge": 1}, 0)
    assert found.counts.fraction == 1
    assert three().counts.fraction == 0.5


def test_two_readings_that_agree_are_the_label_and_two_that_differ_are_uncertain_until_settled(
    store: ReviewStore,
) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c1="blast", r_c2="blast").sign(record)
    Desk(store, "bob").begin(record).say(record, r_c1="blast", r_c2="unsure", r_c3="normal").sign(record)
    assert labels(store) == {
        "r-c1": ("blast", "readings"), "r-c2": ("uncertain", "disputed"), "r-c3": ("normal", "reading"),
    }  # fmt: skip
    assert counted(store) == CorrectedCounts(Counts(normal=1, blast=1, uncertain=1), {}, 1)


def test_a_third_person_settles_a_disagreement(store: ReviewStore) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    Desk(store, "bob").begin(record).say(record, r_c2="normal").sign(record)
    eve = Desk(store, "eve", "adjudication").look(record).say(record, r_c2="smudge")
    assert labels(store)["r-c2"] == ("smudge", "adjudication")
    eve.say(record, r_c2="undo")
    assert labels(store)["r-c2"] == ("uncertain", "disputed")


def test_two_readers_settle_a_disagreement_only_together(store: ReviewStore) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    Desk(store, "bob").begin(record).say(record, r_c2="normal").sign(record)
    Desk(store, "ada", "adjudication").look(record).say(record, r_c2="normal")
    assert labels(store)["r-c2"] == ("uncertain", "disputed")
    bob = Desk(store, "bob", "adjudication").look(record).say(record, r_c2="blast")
    assert labels(store)["r-c2"] == ("uncertain", "disputed")
    bob.say(record, r_c2="normal")
    assert labels(store)["r-c2"] == ("normal", "adjudication")
    Desk(store, "eve", "adjudication").look(record).say(record, r_c2="blast")
    assert labels(store)["r-c2"] == ("blast", "adjudication")


def test_an_adjudicated_cell_keeps_that_label_also_where_the_readings_agree(store: ReviewStore) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    Desk(store, "bob").begin(record).say(record, r_c2="blast").sign(record)
    Desk(store, "eve", "adjudication").look(record).say(record, r_c2="smudge")
    assert labels(store)["r-c2"] == ("smudge", "adjudication")


def test_a_verdict_follows_a_cell_to_its_new_name(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c3="smudge")
    record = replace(slide_of(cell("r-c1"), cell("r-c2", 0.5)), renamed={"r-c3": "r-c1"})
    assert labels(store, record)["r-c1"] == ("smudge", "reading")
    assert counted(store, record) == CorrectedCounts(Counts(uncertain=1), {"smudge": 1}, 0)
    ada.say(record, r_c1="undo")
    assert labels(store, record)["r-c1"] == ("normal", "model")


def joined(upto: int = 9) -> SlideRecord:
    """The third cell of ``three`` has turned out to be the first one, by row 5."""
    plain = slide_of(cell("r-c1"), cell("r-c2", 0.5), upto=upto)
    return replace(plain, renamed={"r-c3": "r-c1"}, joined={"r-c1": 5})


@pytest.mark.parametrize("order", [("r_c3", "r_c1"), ("r_c1", "r_c3")])
def test_what_one_person_said_differently_of_two_cells_that_are_one_is_disputed_until_it_is_looked_at_again(
    store: ReviewStore, order: tuple[str, str]
) -> None:
    ada = Desk(store).begin(three())
    for name, label in zip(order, ("smudge", "blast"), strict=True):
        ada.say(three(), **{name: label})
    assert labels(store, joined())["r-c1"] == ("uncertain", "disputed")
    assert counted(store, joined()) == CorrectedCounts(Counts(uncertain=2), {}, 1)
    ada.say(joined(), r_c2="normal")
    with pytest.raises(ReviewRefusedError, match="1 uncertain cell not reviewed: c1"):
        ada.sign(joined())
    ada.look(joined()).say(joined(), r_c1="blast")
    assert labels(store, joined())["r-c1"] == ("blast", "reading")
    ada.sign(joined())


def test_verdicts_alike_on_two_cells_that_are_one_stand(store: ReviewStore) -> None:
    Desk(store).begin(three()).say(three(), r_c3="blast").say(three(), r_c1="blast")
    assert labels(store, joined())["r-c1"] == ("blast", "reading")


def test_a_page_that_still_shows_two_cells_can_not_settle_what_they_are_as_one(store: ReviewStore) -> None:
    ada = Desk(store).begin(three())
    ada.say(joined(upto=4), r_c3="smudge").say(joined(upto=4), r_c1="blast")
    assert labels(store, joined())["r-c1"] == ("uncertain", "disputed")
    ada.say(joined(), r_c1="smudge").say(joined(), r_c3="blast")
    assert labels(store, joined())["r-c1"] == ("uncertain", "disputed")


def test_readers_agree_on_no_cell_that_one_of_them_called_differently_in_its_parts(store: ReviewStore) -> None:
    for person, first in (("ada", "blast"), ("bob", "normal")):
        Desk(store, person).begin(three()).say(three(), r_c1=first, r_c2="blast").say(three(), r_c3="blast").sign(
            three()
        )
    found = agreement(joined(), store.log(KEY))
    assert found is not None
    assert (found.cells, found.agreed, found.only_first) == (1, 1, 1)
    assert labels(store, joined())["r-c1"] == ("uncertain", "disputed")
    eve = Desk(store, "eve", "adjudication").look(joined())
    with pytest.raises(ReviewRefusedError, match="1 cell of which verdicts differ: c1"):
        eve.sign(joined())
    eve.say(joined(), r_c1="normal").sign(joined())
    assert labels(store, joined())["r-c1"] == ("normal", "adjudication")


def test_what_a_page_still_calls_by_its_former_name_is_stored_and_follows(store: ReviewStore) -> None:
    ada = Desk(store).begin(three())
    record = replace(slide_of(cell("r-c1"), cell("r-c2", 0.5)), renamed={"r-c3": "r-c1"})
    ada.say(record, r_c3="smudge")
    assert labels(store, record)["r-c1"] == ("smudge", "reading")
    ada.say(record, r_c1="confirm")
    assert labels(store, record)["r-c1"] == ("normal", "reading")


def test_one_call_can_not_name_one_cell_by_two_names(store: ReviewStore) -> None:
    ada = Desk(store).begin(three())
    record = replace(slide_of(cell("r-c1"), cell("r-c2", 0.5)), renamed={"r-c3": "r-c1"})
    with pytest.raises(Exception, match="stands twice"):
        ada.say(record, r_c3="smudge", r_c1="blast")


@pytest.mark.parametrize("renamed", [{"r-c3": None}, {}])
def test_verdicts_on_cells_that_are_gone_stay_in_the_log_and_count_nowhere(
    store: ReviewStore, renamed: dict[str, str | None]
) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c3="smudge")
    record = replace(slide_of(cell("r-c1"), cell("r-c2", 0.5)), renamed=renamed)
    ada.say(record, r_c3="artefact")
    assert len(store.log(KEY).verdicts) == 2
    assert {one.object_id for one in standing(record, store.log(KEY)).gone} == {"r-c3"}
    assert counted(store, record) == CorrectedCounts(record.counts, {}, 0)


def test_names_are_known_by_every_name_of_a_cell() -> None:
    names = Names(replace(three(), renamed={"a": "r-c1", "b": "r-c1", "c": None}))
    assert names.every("a") == names.every("r-c1") == ["r-c1", "a", "b"]
    assert (names.every("c"), names.every("new")) == (["c"], ["new"])
    assert (names.present("b"), names.present("c"), names.present("new")) == ("r-c1", None, "new")


def test_verdicts_follow_the_cells_of_a_collectors_store_through_joins_and_withdrawals(
    store: ReviewStore, keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    def record(address: str) -> SlideRecord:
        with reading(address) as connection:
            found = slide_record(connection, SlideKey("lab", "scope-1", "slide-7"))
        assert found
        return found

    first = [
        make_report(1, cells=[make_cell("f1-1", "r-s1-c1", 0.1)]),
        make_report(2, cells=[make_cell("f2-1", "r-s1-c2", 0.9), make_cell("f2-2", "r-s1-c3", 0.2)]),
    ]
    before = record(keep(first))
    Desk(store).begin(before).say(before, r_s1_c2="smudge", r_s1_c3="blast", r_s1_c1="confirm")
    third = make_report(3, cells=[], joined=Join(part=2, x=0, y=0, same={"r-s1-c2": "r-s1-c1"}), withdraws="r-s1-c3")
    after = record(keep([third]))
    finals = final_labels(after, store.log(KEY))
    assert {name: final[:2] for name, final in finals.items()} == {"r-s1-c1": ("uncertain", "disputed")}
    Desk(store).look(after).say(after, r_s1_c1="normal")
    assert final_labels(after, store.log(KEY))["r-s1-c1"][:2] == ("normal", "reading")
    assert [one.object_id for one in standing(after, store.log(KEY)).gone] == ["r-s1-c3"]
