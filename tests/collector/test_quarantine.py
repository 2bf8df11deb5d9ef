"""What can not be stored is kept apart, and stops nothing else."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import tables
from collector.arrivals import Arrival
from collector.store import Store
from contract.messages import FrameReport
from tests.storing import NOW, ROOT, frame, rows, upto

Make = Callable[..., FrameReport]


MALFORMED = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"seq": 1}', b'{"a": ' * 5000, b"9" * 10_000]


@pytest.mark.parametrize("payload", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_report_goes_into_quarantine_and_the_rest_is_stored(
    database: str, make_report: Make, payload: bytes
) -> None:
    with Store(database) as store:
        outcome = store.store([frame(make_report(1)), frame(payload), frame(make_report(2))])
    assert (outcome.new, outcome.quarantined, upto(outcome)) == (2, 1, 2)
    [kept] = rows(database, tables.quarantine)
    assert (kept.cause, kept.topic, kept.payload) == ("malformed", f"{ROOT}/frame", payload)
    assert kept.error
    assert kept.last_at is not None


@pytest.mark.parametrize("changes", [{"seq": 2**63}, {"seq": 10**40}, {"epoch": "e" * 65}, {"slide_id": "s" * 256}])
def test_what_no_database_could_have_does_not_stop_the_rest(
    database: str, make_report: Make, changes: dict[str, Any]
) -> None:
    poison = json.loads(make_report(1).model_dump_json()) | changes
    with Store(database) as store:
        outcome = store.store([frame(make_report(1)), frame(json.dumps(poison).encode()), frame(make_report(2))])
        assert (outcome.new, outcome.quarantined, upto(outcome)) == (2, 1, 2)
    assert [row.cause for row in rows(database, tables.quarantine)] == ["malformed"]


def test_what_the_database_will_not_have_costs_one_transaction_and_no_other_report(
    database: str, make_report: Make
) -> None:
    """A moment before the year 1 in UTC; each transaction waits for the disk."""
    early = "0001-01-01T00:00:00+14:00"
    arrivals = [frame(make_report(seq)) for seq in range(1, 201)]
    for seq in (17, 18, 120):
        tree = json.loads(arrivals[seq - 1].payload)
        tree["frame"]["captured_at"] = early
        arrivals[seq - 1] = frame(json.dumps(tree).encode())
    commits = list[object]()
    with Store(database) as store:
        sa.event.listen(store.open().engine, "commit", commits.append)
        outcome = store.store(arrivals)
    assert (outcome.new, outcome.quarantined, upto(outcome)) == (197, 3, 16)
    assert [row.cause for row in rows(database, tables.quarantine)] == ["refused"] * 3
    assert len(commits) == 1


def test_text_with_a_nul_is_stored_or_kept_in_quarantine_but_never_stops_the_rest(
    database: str, make_report: Make
) -> None:
    """PostgreSQL has no such text, SQLite has."""
    with Store(database) as store:
        outcome = store.store([frame(make_report(1)), frame(make_report(2, slide_id="a\0b")), frame(make_report(3))])
    assert outcome.new + outcome.quarantined == 3
    assert outcome.new >= 2


def test_the_same_key_with_another_content_is_kept_and_told(database: str, make_report: Make) -> None:
    """A copied outbox gives numbers twice; the second report must not vanish."""
    with Store(database, quarantine_rows=1) as store:
        store.store([frame(make_report(1))])
        impostor = make_report(1, slide_id="another")
        assert store.store([frame(impostor)]).quarantined == 1
        twins = [frame(make_report(2)), frame(make_report(2, slide_id="another"))]
        assert store.store([*twins, frame(b"x"), frame(b"y")]).quarantined == 3
    kept = rows(database, tables.quarantine)
    assert sorted(row.cause for row in kept) == ["conflict", "conflict", "malformed"]
    assert FrameReport.model_validate_json(kept[0].payload).slide_id == impostor.slide_id


def test_the_quarantine_is_bounded_and_holds_the_same_message_once(database: str) -> None:
    with Store(database, quarantine_rows=5) as store:
        for number in range(12):
            store.store([frame(b"%d" % number), frame(b"%d" % number)])
    kept = rows(database, tables.quarantine)
    assert sorted(int(row.payload) for row in kept) == [7, 8, 9, 10, 11]
    assert {row.times for row in kept} == {2}


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400]),
    st.floats(),
    st.text(),
    st.sampled_from(["\0", "\x7f", "s" * 300, "\U0010ffff", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a message."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [above, *[way for key, value in inner for way in places(value, (*above, key))]]


def put_in(tree: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[way[0]] = put_in(tree[way[0]], way[1:], value)
    return copy


@pytest.fixture
def opened(database: str) -> Iterator[Store]:
    with Store(database) as store:
        yield store


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_message_can_stop_the_next(opened: Store, make_report: Make, data: st.DataObject) -> None:
    """A report with any of its values replaced is stored, or kept in quarantine; the one after it is stored."""
    tree = json.loads(make_report(1).model_dump_json())
    way = data.draw(st.sampled_from(places(tree)))
    odd = frame(json.dumps(put_in(tree, way, data.draw(ODD))).encode())
    sound = make_report(1, epoch=secrets.token_hex(8))
    outcome = opened.store([odd, frame(sound)])
    assert opened.store([frame(sound)]).again == 1
    assert outcome.new + outcome.again + outcome.quarantined >= 2


@given(payload=st.binary(max_size=200), topic=st.text(max_size=20), name=st.sampled_from(["frame", "health", "slide"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_on_any_topic_can_stop_it(opened: Store, payload: bytes, topic: str, name: str) -> None:
    opened.store([Arrival(place, payload, NOW) for place in (topic, name, f"{ROOT}/{name}", f"{topic}/{name}")])
