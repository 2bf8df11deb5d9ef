"""What a call returns from is stored once, on either database, and what is refused changes nothing."""

import logging
import sqlite3
import stat
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from collector.store import Store
from common.errors import IntegrityError, StoreError, UsageError
from dashboard.reviews.events import Given, ReviewRefusedError
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import CLASSES, KEY, NOON, Desk, cell, three
from tests.postgres import Cluster

CALL = "a-random-call_id-1"


def give(store: ReviewStore, *given: Given, call_id: str = CALL, person: str = "ada") -> list[int]:
    found = store.give(three(), person, "reviewer", "1", given, call_id=call_id, classes=CLASSES)
    return [one.id for one in found]


def test_a_verdict_is_read_back_with_what_the_reviewer_saw(database: str) -> None:
    now = datetime(2026, 1, 31, 13, 0, 0, 123456, tzinfo=timezone.utc)
    with ReviewStore(database, clock=lambda: now) as store:
        Desk(store).begin(three(upto=41))
        given = [Given("r-c1", "correct", "smudge", " torn ")]
        store.give(three(upto=42), "ada", "administrator", "1", given, call_id=CALL, classes=CLASSES)
    with ReviewStore(database) as store:
        [found] = store.log(KEY).verdicts
    assert (found.object_id, found.kind, found.label, found.note) == ("r-c1", "correct", "smudge", "torn")
    assert (found.reviewer, found.role, found.reading, found.call_id) == ("ada", "administrator", "1", CALL)
    assert (found.seen_label, found.seen_probability, found.seen_model_id) == ("normal", 0.03, "blast-8")
    assert (found.seen_cell_id, found.upto, found.undoes, found.at) == ("view-of-r-c1", 42, None, now)


def test_what_was_seen_is_what_was_last_on_the_screen_however_the_record_has_changed_since(store: ReviewStore) -> None:
    Desk(store).begin(three())
    assert give(store, Given("r-c1", "confirm"))
    newer = replace(three(), cells=(cell("r-c1", 0.9),))
    store.give(newer, "ada", "reviewer", "1", [Given("r-c1", "confirm")], call_id="another-call_id")
    assert [one.label for one in store.log(KEY).verdicts] == ["normal", "normal"]
    store.mark_shown(newer, "ada", "reviewer", "1", ["r-c1"])
    store.give(newer, "ada", "reviewer", "1", [Given("r-c1", "confirm")], call_id="a-third-call_id")
    assert store.log(KEY).verdicts[-1].label == "blast"


def test_the_same_call_again_is_stored_once_and_answered_alike(database: str) -> None:
    with ReviewStore(database) as store:
        Desk(store).begin(three())
        first = give(store, Given("r-c1", "confirm"), Given("r-c2", "unsure"))
        assert give(store, Given("r-c2", "unsure"), Given("r-c1", "confirm")) == first
        assert [one.id for one in store.log(KEY).verdicts] == first


@pytest.mark.parametrize(
    "given",
    [
        [Given("r-c1", "unsure")],
        [Given("r-c1", "correct", "blast")],
        [Given("r-c1", "confirm", note="round")],
        [Given("r-c2", "unsure")],
        [Given("r-c1", "confirm"), Given("r-c2", "unsure")],
    ],
)
def test_a_call_id_stands_for_one_call_and_no_other(store: ReviewStore, given: list[Given]) -> None:
    Desk(store).begin(three())
    give(store, Given("r-c1", "confirm"))
    with pytest.raises(ReviewRefusedError, match="another call") as refused:
        give(store, *given)
    assert refused.value.why == "call_id"
    assert len(store.log(KEY).verdicts) == 1


def test_a_correction_by_the_models_own_label_confirms_it_and_its_resend_is_known(store: ReviewStore) -> None:
    Desk(store).begin(three())
    for _ in range(2):
        give(store, Given("r-c3", "correct", "blast"))
    [found] = store.log(KEY).verdicts
    assert (found.kind, found.label) == ("confirm", "blast")


@pytest.mark.parametrize("call_id", ["", "short", "x" * 65, "with space in it", "ümlaut-call_id"])
def test_a_call_id_that_no_page_makes_is_refused(store: ReviewStore, call_id: str) -> None:
    Desk(store).begin(three())
    with pytest.raises(ReviewRefusedError, match="8 to 64"):
        give(store, Given("r-c1", "confirm"), call_id=call_id)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (Given("r-c2", "confirm"), "uncertain"),
        (Given("r-c2", "correct", "uncertain"), "label"),
        (Given("r-c2", "correct", "dragon"), "label"),
        (Given("r-c2", "correct"), "label"),
        (Given("r-c2", "shout", "blast"), "label"),  # type: ignore[arg-type]
        (Given("r-c2", "undo"), "nothing_to_undo"),
        (Given("r-c9", "correct", "blast"), "not_shown"),
        (Given("r-c2", "unsure", note="x" * 2001), "note"),
        (Given("r-c2", "unsure", note="a\0b"), "note"),
        (Given("r-c1", "unsure"), "twice"),
    ],
)
def test_of_many_cells_none_is_stored_if_one_is_refused(database: str, given: Given, why: str) -> None:
    with ReviewStore(database) as store:
        Desk(store).begin(three())
        with pytest.raises(ReviewRefusedError) as refused:
            give(store, Given("r-c1", "confirm"), given)
        assert refused.value.why == why
        assert store.log(KEY).verdicts == ()


def test_a_cell_that_was_on_another_reviewers_screen_was_not_on_this_one(store: ReviewStore) -> None:
    Desk(store, "ada").begin(three())
    store.begin(KEY, "bob", "reviewer", "bobs-call_id")
    with pytest.raises(ReviewRefusedError) as refused:
        store.give(three(), "bob", "reviewer", "2", [Given("r-c1", "confirm")], call_id=CALL)
    assert refused.value.why == "not_shown"


def test_an_undo_takes_back_the_latest_verdict_and_the_one_before_stands_again(store: ReviewStore) -> None:
    ada = Desk(store).begin(three()).say(three(), r_c1="blast").say(three(), r_c1="smudge").say(three(), r_c1="undo")
    ada.say(three(), r_c1="undo")
    found = store.log(KEY).verdicts
    assert [one.undoes for one in found] == [None, None, found[1].id, found[0].id]
    with pytest.raises(ReviewRefusedError, match="no verdict on r-c1"):
        ada.say(three(), r_c1="undo")


def test_what_was_shown_and_when_is_kept_and_does_not_count_as_a_change(database: str) -> None:
    times = iter([NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=2), NOON + timedelta(hours=3)])
    with ReviewStore(database, clock=lambda: next(times)) as store:
        store.begin(KEY, "ada", "reviewer", CALL)
        version = store.version(KEY)
        assert store.mark_shown(three(), "ada", "reviewer", "1", ["r-c1", "r-c2", "r-c9"]) == 2
        assert store.mark_shown(three(), "ada", "reviewer", "1", ["r-c2"]) == 1
        assert store.shown_to(KEY, "ada", "1") == {"r-c1", "r-c2"}
        assert store.shown_to(KEY, "bob", "1") == frozenset()
        assert store.version(KEY) == version


def test_the_version_rises_with_each_verdict_and_act(store: ReviewStore) -> None:
    assert (store.version(KEY), store.log(KEY).version) == (0, 0)
    ada = Desk(store).begin(three())
    before = store.version(KEY)
    ada.say(three(), r_c2="unsure")
    assert store.version(KEY) == store.log(KEY).version > before


def test_reviewed_slides_are_told_with_their_readers(database: str) -> None:
    with ReviewStore(database, clock=lambda: NOON) as store:
        assert store.reviewed_slides() == []
        Desk(store).begin(three()).say(three(), r_c2="unsure").sign(three())
        Desk(store, "bob").begin(three())
        [found] = store.reviewed_slides()
    assert (found.key, found.holders, found.signed) == (KEY, (("1", "ada"), ("2", "bob")), (("1", "ada"),))
    assert found.last_at == NOON


def test_the_file_is_this_users_alone_and_written_ahead(tmp_path: Path) -> None:
    file = tmp_path / "new" / "reviews.sqlite"
    with ReviewStore(f"sqlite:///{file}") as store:
        store.open()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with sqlite3.connect(file) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


def test_the_collectors_database_is_refused_and_stays_as_it_is(database: str) -> None:
    with Store(database) as collector:
        collector.open()
    with ReviewStore(database) as store, pytest.raises(UsageError, match=r"another program's.*for the reviews alone"):
        store.log(KEY)
    with Store(database) as collector:
        collector.open()


def test_the_reviews_database_is_none_for_a_collector(database: str) -> None:
    with ReviewStore(database) as store:
        store.log(KEY)
    with Store(database) as collector, pytest.raises(UsageError, match=r"another program's.*for the collector alone"):
        collector.open()


def test_a_later_layout_is_refused_in_words(tmp_path: Path, store: ReviewStore) -> None:
    with sqlite3.connect(tmp_path / "reviews.sqlite") as connection:
        connection.execute("update meta set value = '2'")
    connection.close()
    with (
        ReviewStore(str(store._engine.url)) as later,
        pytest.raises(UsageError, match=r"layout 2.*of the reviews knows 1"),
    ):
        later.log(KEY)


def test_a_damaged_file_is_told_in_words_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "reviews.sqlite"
    file.write_bytes(b"no database at all" * 100)
    with (
        ReviewStore(f"sqlite:///{file}") as store,
        pytest.raises(IntegrityError, match=r"damaged.*put the newest back-up"),
    ):
        store.log(KEY)
    assert file.read_bytes() == b"no database at all" * 100


def test_a_file_that_was_removed_is_made_again_and_that_is_said(
    tmp_path: Path, store: ReviewStore, caplog: pytest.LogCaptureFixture
) -> None:
    ada = Desk(store).begin(three())
    for file in tmp_path.glob("reviews.sqlite*"):
        file.unlink()
    with pytest.raises(StoreError, match="no such table"):
        ada.say(three(), r_c2="unsure")
    with caplog.at_level(logging.ERROR):
        assert store.log(KEY).verdicts == ()
    assert "are gone" in caplog.text


def test_a_server_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    address = f"postgresql://ada:secret@/reviews?host={tmp_path}"
    with ReviewStore(address) as store, pytest.raises(StoreError, match="can not be used") as failed:
        store.log(KEY)
    assert "secret" not in str(failed.value)


def test_a_server_that_was_started_again_is_used_again_by_itself(cluster: Cluster) -> None:
    with ReviewStore(cluster.url) as store:
        ada = Desk(store).begin(three())
        cluster.stop("immediate")
        with pytest.raises(StoreError):
            ada.say(three(), r_c2="unsure")
        cluster.start()
        ada.say(three(), r_c2="unsure")
        cluster.stop("fast")
        cluster.start()
        ada.say(three(), r_c2="blast")
        assert [one.label for one in store.log(KEY).verdicts] == ["uncertain", "blast"]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="address can not be read"):
        ReviewStore("reviews")


def test_threads_that_write_at_once_lose_nothing_and_double_nothing(database: str) -> None:
    record = three()
    with ReviewStore(database) as one, ReviewStore(database) as two:
        desks = Desk(one, "ada").begin(record), Desk(two, "bob").begin(record)

        def work(desk: Desk) -> None:
            for _ in range(20):
                desk.say(record, r_c1="blast", r_c3="artefact")

        threads = [threading.Thread(target=work, args=(desk,)) for desk in (*desks, *desks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = one.log(KEY).verdicts
    assert len(found) == 4 * 20 * 2
    assert len({one.call_id for one in found}) == 4 * 20
