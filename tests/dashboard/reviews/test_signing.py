"""A signature says exactly what was signed, is refused while a cell waits, and tells when it is of an earlier state."""

import hashlib
import json
from dataclasses import replace

import pytest

from dashboard.reviews.events import Act, ReviewRefusedError
from dashboard.reviews.signing import check_signature
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import KEY, NOON, Desk, cell, slide_of, three


def signature(store: ReviewStore, number: int) -> Act:
    return next(act for act in store.log(KEY).acts if act.id == number)


def test_a_reading_can_not_be_signed_while_an_uncertain_cell_has_no_verdict(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c1="confirm")
    with pytest.raises(ReviewRefusedError, match="1 uncertain cell not reviewed: c2;") as refused:
        ada.sign(three())
    assert refused.value.why == "unreviewed"
    ada.say(three(), r_c2="blast").say(three(), r_c2="undo")
    with pytest.raises(ReviewRefusedError, match="c2"):
        ada.sign(three())
    ada.say(three(), r_c2="unsure").sign(three())


def test_a_refusal_names_some_of_many_cells(store: ReviewStore) -> None:
    record = slide_of(*(cell(f"r-c{number}", 0.5) for number in range(9)))
    with pytest.raises(ReviewRefusedError, match=r"9 uncertain cells not reviewed: c0, c1, c2, c3, c4, ..."):
        Desk(store).begin(record).sign(record)


def test_a_signature_states_who_what_and_the_counts(database: str) -> None:
    record = three(upto=17)
    with ReviewStore(database, clock=lambda: NOON) as store:
        ada = Desk(store).begin(record).say(record, r_c1="smudge", r_c2="unsure", r_c3="confirm")
        act = signature(store, ada.sign(record))
    assert hashlib.sha256(act.statement.encode()).hexdigest() == act.digest
    stated = json.loads(act.statement)
    assert stated["slide"] == {"site": "lab", "device": "scope-1", "slide_id": "slide-7"}
    assert (stated["person"], stated["role"], stated["reading"]) == ("ada", "reviewer", "1")
    assert (stated["at"], stated["upto"], act.upto) == ("2026-01-31T12:00:00.000Z", 17, 17)
    assert (stated["cells"], stated["shown"], stated["reviewed"], stated["unsure"]) == (3, 3, 3, 1)
    assert stated["model_counts"]["normal"] == stated["model_counts"]["blast"] == 1
    corrected = stated["corrected_counts"]
    assert (corrected["normal"], corrected["blast"], corrected["uncertain"], corrected["apart"]) == (
        0,
        1,
        1,
        {"smudge": 1},
    )
    assert corrected["blast_fraction"] == 1


def test_a_signed_reading_is_not_changed_until_the_signature_is_withdrawn(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c2="blast")
    number = ada.sign(three())
    with pytest.raises(ReviewRefusedError, match="signed by ada; withdraw"):
        ada.say(three(), r_c2="normal")
    with pytest.raises(ReviewRefusedError, match="withdraw that signature first"):
        ada.sign(three())
    ada.withdraw(number)
    ada.say(three(), r_c2="normal").sign(three())


def test_a_signature_is_withdrawn_by_the_signer_or_an_administrator_with_a_reason_that_is_kept(database: str) -> None:
    with ReviewStore(database) as store:
        ada = Desk(store).begin(three()).say(three(), r_c2="blast")
        number = ada.sign(three())
        with pytest.raises(ReviewRefusedError, match="ada or an administrator"):
            store.withdraw(KEY, number, "bob", "reviewer", reason="wrong", call_id="bobs-call_id")
        with pytest.raises(ReviewRefusedError, match="a reason is needed"):
            store.withdraw(KEY, number, "ada", "reviewer", reason="", call_id="adas-call_id")
        done = store.withdraw(KEY, number, "eve", "administrator", reason="wrong slide", call_id="eves-call_id")
        assert store.withdraw(KEY, number, "eve", "administrator", reason="wrong slide", call_id="eves-call_id") == done
        assert (done.takes_back, done.reason, done.reading) == (number, "wrong slide", "1")
        with pytest.raises(ReviewRefusedError, match="no such signature in force"):
            ada.withdraw(number)
        assert signature(store, number).statement


def test_a_signature_that_is_sent_again_is_one(store: ReviewStore) -> None:
    Desk(store).begin(three()).say(three(), r_c2="blast")
    first = store.sign(three(), "ada", "reviewer", "1", call_id="sign-call_id")
    assert store.sign(three(), "ada", "reviewer", "1", call_id="sign-call_id") == first
    with pytest.raises(ReviewRefusedError, match="another call"):
        store.withdraw(KEY, first.id, "ada", "reviewer", reason="x", call_id="sign-call_id")


def test_a_signature_holds_on_the_verdicts_that_were_signed(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c2="blast")
    act = signature(store, ada.sign(three()))
    log = store.log(KEY)
    assert check_signature(act, three(), log) == (True, True, 0)
    forged = [one._replace(label="normal") for one in log.verdicts]
    assert not check_signature(act, three(), replace(log, verdicts=forged)).is_whole
    assert not check_signature(act, three(), replace(log, verdicts=())).is_whole
    text = act._replace(statement=act.statement.replace('"person":"ada"', '"person":"eve"'))
    assert not check_signature(text, three(), log).is_whole


def test_verdicts_after_a_withdrawal_and_the_other_readings_leave_a_signature_whole(store: ReviewStore) -> None:
    record = three()
    ada = Desk(store, "ada").begin(record).say(record, r_c2="blast")
    number = ada.sign(record)
    Desk(store, "bob").begin(record).say(record, r_c2="unsure")
    ada.withdraw(number)
    ada.say(record, r_c2="normal")
    assert check_signature(signature(store, number), record, store.log(KEY)).is_whole


def test_a_signature_tells_when_cells_have_come_or_changed_since(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c2="blast")
    act, log = signature(store, ada.sign(three())), store.log(KEY)
    assert check_signature(act, three(upto=99), log).is_current
    more = replace(three(), cells=(*three().cells, cell("r-c4")))
    assert check_signature(act, more, log) == (True, False, 1)
    other = replace(three(), cells=(cell("r-c1", 0.9), *three().cells[1:]))
    assert check_signature(act, other, log) == (True, False, 0)


def test_only_the_holder_signs_a_reading(store: ReviewStore) -> None:
    Desk(store).begin(three()).say(three(), r_c2="blast")
    with pytest.raises(ReviewRefusedError, match="bob does not hold reading 1"):
        Desk(store, "bob", "1").sign(three())


def test_an_adjudication_is_signed_when_every_disagreement_is_settled_and_then_holds_the_readings(
    store: ReviewStore,
) -> None:
    record = three()
    Desk(store, "ada").begin(record).say(record, r_c2="blast").sign(record)
    eve = Desk(store, "eve", "adjudication")
    with pytest.raises(ReviewRefusedError, match="when both readings are signed"):
        eve.look(record)
    with pytest.raises(ReviewRefusedError, match="when both readings are signed"):
        eve.sign(record)
    bob = Desk(store, "bob").begin(record).say(record, r_c2="normal")
    number = bob.sign(record)
    with pytest.raises(ReviewRefusedError, match="1 cell of which verdicts differ: c2"):
        eve.sign(record)
    settled = eve.look(record).say(record, r_c2="normal").sign(record)
    assert check_signature(signature(store, settled), record, store.log(KEY)).is_whole
    with pytest.raises(ReviewRefusedError, match="signed by eve"):
        eve.say(record, r_c2="blast")
    with pytest.raises(ReviewRefusedError, match="the adjudication is signed"):
        bob.withdraw(number)
    eve.withdraw(settled)
    bob.withdraw(number)
