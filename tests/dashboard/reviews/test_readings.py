"""Two readings are independent: nobody reads twice, and none sees the other's verdicts before both have signed."""

import pytest

from dashboard.reviews.events import ReviewRefusedError, SlideLog
from dashboard.reviews.readings import Readings, visible
from dashboard.reviews.standing import final_labels
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import KEY, Desk, three


def seen_by(store: ReviewStore, person: str, *, may_review: bool = True) -> SlideLog:
    return visible(store.log(KEY), person, may_review=may_review)


def said_to(store: ReviewStore, person: str, *, may_review: bool = True) -> list[str]:
    return [one.reviewer for one in seen_by(store, person, may_review=may_review).verdicts]


def test_the_first_who_begins_reads_first_and_the_next_second_and_each_keeps_the_reading(database: str) -> None:
    with ReviewStore(database) as store:
        begun = [store.begin(KEY, person, "reviewer", f"call_id-{person}") for person in ("ada", "bob", "ada", "bob")]
        assert begun == ["1", "2", "1", "2"]
        with pytest.raises(ReviewRefusedError, match="held, by ada and bob") as refused:
            store.begin(KEY, "eve", "reviewer", "call_id-eve")
        assert refused.value.why == "taken"


def test_who_holds_no_reading_can_give_no_verdict(store: ReviewStore) -> None:
    Desk(store, "ada").begin(three())
    with pytest.raises(ReviewRefusedError, match="bob does not hold reading 1"):
        Desk(store, "bob", "1").say(three(), r_c1="blast")
    with pytest.raises(ReviewRefusedError, match="bob does not hold reading 2"):
        Desk(store, "bob", "2").look(three())
    with pytest.raises(ReviewRefusedError, match="no reading '3'"):
        Desk(store, "bob", "3").look(three())  # type: ignore[arg-type]


def test_a_second_reader_sees_nothing_of_the_first_until_both_have_signed(store: ReviewStore) -> None:
    record = three()
    ada = Desk(store, "ada").begin(record).say(record, r_c1="blast", r_c2="smudge")
    first = ada.sign(record)
    bob = Desk(store, "bob").begin(record).say(record, r_c2="unsure")
    log = seen_by(store, "bob")
    assert [one.reviewer for one in log.verdicts] == ["bob"]
    assert final_labels(record, log)["r-c1"].source == "model"
    [signature] = [act for act in log.acts if act.kind == "sign"]
    assert (signature.id, signature.person, signature.statement, signature.digest) == (first, "ada", "", "")
    assert said_to(store, "ada") == ["ada", "ada"]
    bob.sign(record)
    assert said_to(store, "bob") == said_to(store, "ada") == ["ada", "ada", "bob"]
    assert all(act.statement for act in seen_by(store, "bob").acts if act.kind == "sign")


def test_what_was_once_revealed_stays_so(store: ReviewStore) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    bob = Desk(store, "bob").begin(record).say(record, r_c2="unsure")
    bob.withdraw(bob.sign(record))
    assert said_to(store, "bob") == ["ada", "bob"]


def test_who_only_reads_sees_what_is_signed_and_nothing_of_what_is_not(store: ReviewStore) -> None:
    record = three()
    ada = Desk(store, "ada").begin(record).say(record, r_c2="blast")
    assert said_to(store, "guest", may_review=False) == []
    ada.sign(record)
    Desk(store, "bob").begin(record).say(record, r_c2="unsure")
    assert said_to(store, "guest", may_review=False) == ["ada"]


def test_who_might_read_second_sees_nothing_until_that_is_given_up(store: ReviewStore) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    assert said_to(store, "bob") == []
    store.unseal(KEY, "bob", "reviewer", "bobs-call_id-1")
    assert store.unseal(KEY, "bob", "reviewer", "bobs-call_id-1") is None
    assert said_to(store, "bob") == ["ada"]
    with pytest.raises(ReviewRefusedError, match="would not be independent") as refused:
        store.begin(KEY, "bob", "reviewer", "bobs-call_id-2")
    assert refused.value.why == "unsealed"


def test_who_holds_a_reading_can_not_look_at_the_other(store: ReviewStore) -> None:
    Desk(store, "ada").begin(three())
    with pytest.raises(ReviewRefusedError, match="ada holds a reading"):
        store.unseal(KEY, "ada", "reviewer", "adas-call_id")


def test_a_released_reading_goes_to_somebody_else_and_its_verdicts_count_no_longer(database: str) -> None:
    record = three()
    with ReviewStore(database) as store:
        Desk(store, "ada").begin(record).say(record, r_c1="blast")
        with pytest.raises(ReviewRefusedError, match="ada or an administrator"):
            store.release(KEY, "1", "bob", "reviewer", reason="ill", call_id="bobs-call_id")
        with pytest.raises(ReviewRefusedError, match="a reason is needed"):
            store.release(KEY, "1", "ada", "reviewer", reason=" ", call_id="adas-call_id")
        with pytest.raises(ReviewRefusedError, match="nobody holds reading 2"):
            store.release(KEY, "2", "ada", "reviewer", reason="ill", call_id="adas-call_id")
        done = store.release(KEY, "1", "eve", "administrator", reason="ada is ill", call_id="eves-call_id")
        assert store.release(KEY, "1", "eve", "administrator", reason="ada is ill", call_id="eves-call_id") == done
        bob = Desk(store, "bob").begin(record)
        assert bob.reading == "1"
        log = store.log(KEY)
        assert len(log.verdicts) == 1
        assert final_labels(record, log)["r-c1"].source == "model"
        bob.say(record, r_c2="blast").sign(record)
        with pytest.raises(ReviewRefusedError, match="withdraw the signature"):
            store.release(KEY, "1", "bob", "reviewer", reason="ill", call_id="bobs-call_id")


def test_nothing_was_done_with_a_slide_that_nobody_has_begun(store: ReviewStore) -> None:
    readings = Readings.of(store.log(KEY).acts)
    assert (readings.holders, readings.signatures, readings.revealed) == ({}, (), None)
    assert not readings.both_signed
