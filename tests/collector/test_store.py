"""The store keeps each report once, and says no more than it has."""

import io
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import tables
from collector.arrivals import Arrival
from collector.database import open_engine
from collector.export import export, status
from collector.store import Outcome, Store
from common.errors import MissingError, StoreError, UsageError
from contract.messages import BoxReport, CellReport, FrameReport, Health, Status

Make = Callable[..., FrameReport]
EPOCH = "0123456789abcdef"
ROOT = "microscopy/v1/lab/scope-1"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
CUT = CellReport(
    cell_id="c",
    box=BoxReport(x=0, y=0, width=9, height=9),
    area_um2=9,
    label="not_judged",
    probability=None,
    flags=["edge"],
)


def frame(payload: FrameReport | bytes, root: str = ROOT) -> Arrival:
    body = payload if isinstance(payload, bytes) else payload.model_dump_json().encode()
    return Arrival(f"{root}/frame", body, NOW)


def health(oldest: int, epoch: str = EPOCH) -> Arrival:
    message = Health(at=NOW, frames=0, refused=0, cells=0, queued=0, engine="", epoch=epoch, oldest=oldest)
    return Arrival(f"{ROOT}/health", message.model_dump_json().encode(), NOW)


def online() -> Arrival:
    return Arrival(f"{ROOT}/status", Status(state="online").model_dump_json().encode(), NOW)


def acks(outcome: Outcome) -> dict[str, int]:
    return {f"{reply.topic} {reply.ack.epoch}": reply.ack.upto for reply in outcome.replies}


def rows(database: str, table: sa.Table) -> list[Any]:
    engine = open_engine(database)
    with engine.connect() as connection:
        found = list(connection.execute(sa.select(table)))
    engine.dispose()
    return found


def upto(outcome: Outcome) -> int:
    [found] = acks(outcome).values()
    return found


def test_stores_reports_with_their_cells_and_acknowledges_the_last(database: str, make_report: Make) -> None:
    with Store(database) as store:
        outcome = store.store([frame(make_report(seq)) for seq in (1, 2, 3)])
    assert (outcome.new, outcome.again, outcome.quarantined) == (3, 0, 0)
    assert acks(outcome) == {f"{ROOT}/ack {EPOCH}": 3}
    stored = rows(database, tables.report)
    assert [(row.device, row.epoch, row.seq) for row in stored] == [("scope-1", EPOCH, seq) for seq in (1, 2, 3)]
    assert FrameReport.model_validate_json(stored[0].body).frame.source == stored[0].source
    assert [(cell.label, cell.width) for cell in rows(database, tables.cell)] == [("normal", 160)] * 3


def test_a_report_that_comes_again_changes_nothing_and_is_acknowledged_again(database: str, make_report: Make) -> None:
    report = make_report(1)
    with Store(database) as store:
        store.store([frame(report)])
        outcome = store.store([frame(report), frame(report)])
        assert (outcome.new, outcome.again, outcome.quarantined, upto(outcome)) == (0, 2, 0, 1)
    assert len(rows(database, tables.report)) == len(rows(database, tables.cell)) == 1


def test_never_acknowledges_over_a_gap(database: str, make_report: Make) -> None:
    with Store(database) as store:
        assert upto(store.store([frame(make_report(seq)) for seq in (1, 2, 4, 5)])) == 2
        assert acks(store.store([frame(make_report(9))])) == {f"{ROOT}/ack {EPOCH}": 2}
        assert upto(store.store([frame(make_report(3))])) == 5
        assert list(store.streams["scope-1", EPOCH].numbers.holes()) == [(6, 8)]


def test_where_the_first_report_is_missing_it_says_that_it_has_none(database: str, make_report: Make) -> None:
    """The word makes the agent send again."""
    with Store(database) as store:
        assert acks(store.store([frame(make_report(7))])) == {f"{ROOT}/ack {EPOCH}": 0}


def test_knows_after_a_restart_what_it_knew(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(seq)) for seq in (1, 2, 4, 5, 9)])
    with Store(database) as store:
        assert upto(store.store([frame(make_report(3))])) == 5
        assert list(store.streams["scope-1", EPOCH].numbers.spans()) == [(1, 5), (9, 9)]


def test_tells_the_agent_how_far_it_has_seen_beside_how_far_all_is_here(database: str, make_report: Make) -> None:
    with Store(database) as store:
        [reply] = store.store([frame(make_report(seq)) for seq in (1, 2, 5)]).replies
    assert (reply.ack.upto, reply.ack.seen) == (2, 5)


def test_what_the_agent_holds_no_more_is_not_waited_for(database: str, make_report: Make) -> None:
    """An agent that forgot 1 to 6 on the broker's word can not send them; from 7 on all are here."""
    with Store(database) as store:
        store.store([frame(make_report(seq)) for seq in (7, 8)])
        assert upto(store.store([health(oldest=7)])) == 8
    with Store(database) as store:
        assert upto(store.store([frame(make_report(9)), frame(make_report(11))])) == 9
        assert upto(store.store([health(oldest=3)])) == 9
    line, _ = status(database)
    assert "4 reports up to 11, acknowledged up to 9, missing: 10, earlier, not here: 1-6; last" in line


def test_of_an_outbox_that_was_lost_the_end_is_known_to_be_missing(database: str, make_report: Make) -> None:
    """The agent's word tells that it gave those numbers, and holds them no more."""
    with Store(database) as store:
        store.store([frame(make_report(1)), health(oldest=4)])
    line, _ = status(database)
    assert "1 report up to 1, acknowledged up to 1, missing: none, gone: 2-3; last" in line


def test_old_reports_may_be_deleted(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(seq)) for seq in (1, 2, 3, 5)])
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.report).where(tables.report.c.seq <= 2))
    engine.dispose()
    assert len(rows(database, tables.cell)) == 2
    line, _ = status(database)
    assert "2 reports up to 5, acknowledged up to 3, missing: 4, earlier, not here: 1-2; last" in line
    with Store(database) as store:
        assert upto(store.store([frame(make_report(4))])) == 5


def test_an_agent_that_comes_online_is_told_where_it_stands(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(seq)) for seq in (1, 2)])
    with Store(database) as store:
        assert acks(store.store([online()])) == {f"{ROOT}/ack {EPOCH}": 2}


def test_several_devices_and_epochs_do_not_mix(database: str, make_report: Make) -> None:
    other = "microscopy/v1/lab/scope-2"
    with Store(database) as store:
        outcome = store.store(
            [
                frame(make_report(1)),
                frame(make_report(1, "later")),
                frame(make_report(1, device="scope-2"), other),
                frame(make_report(2)),
            ]
        )
    assert outcome.new == 4
    assert acks(outcome) == {f"{ROOT}/ack {EPOCH}": 2, f"{ROOT}/ack later": 1, f"{other}/ack {EPOCH}": 1}


def test_a_device_that_moves_to_another_site_counts_nothing_twice(database: str, make_report: Make) -> None:
    """What waited in its outbox comes from the new site, and is answered there."""
    moved = "microscopy/v1/ward/scope-1"
    with Store(database) as store:
        report = make_report(1)
        store.store([frame(report)])
        waited = report.model_copy(update={"site": "ward"})
        outcome = store.store([frame(waited, moved), frame(make_report(2, site="ward"), moved)])
        assert outcome.quarantined == 0
    assert (outcome.new, outcome.again) == (1, 1)
    assert acks(outcome) == {f"{moved}/ack {EPOCH}": 2}


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
        store.open()
        sa.event.listen(store._engine, "commit", commits.append)
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


def test_keeps_the_newest_summary_of_each_slide(database: str) -> None:
    bodies = [b'{"slide_id": "s1", "cells": 1}', b'{"slide_id": "s2"}', b'{"slide_id": "s1", "cells": 2}', b""]
    with Store(database) as store:
        store.store([Arrival(f"{ROOT}/slide", body, NOW) for body in bodies])
    assert {row.slide_id: row.body for row in rows(database, tables.slide)} == {
        "s1": '{"slide_id": "s1", "cells": 2}',
        "s2": '{"slide_id": "s2"}',
    }


def test_a_locked_database_is_told_and_what_was_tried_can_be_tried_again(tmp_path: Path, make_report: Make) -> None:
    path = tmp_path / "c.sqlite"
    with Store(f"sqlite:///{path}") as store:
        store.store([frame(make_report(1))])
        intruder = sqlite3.connect(path, isolation_level=None)
        intruder.execute("begin exclusive")
        with pytest.raises(StoreError, match=r"locked.*nothing is acknowledged"):
            store.store([frame(make_report(2))])
        intruder.execute("rollback")
        intruder.close()
        assert upto(store.store([frame(make_report(2))])) == 2


def test_a_server_that_goes_and_comes_back_is_used_again(postgresql: str, database: str, make_report: Make) -> None:
    if database.startswith("sqlite"):
        pytest.skip("a file does not go")
    import psycopg  # noqa: PLC0415

    with Store(database) as store:
        store.store([frame(make_report(1))])
        with psycopg.connect(postgresql, autocommit=True) as connection:
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            connection.execute(f"{others} and datname = 'postgres' and backend_type = 'client backend'")
        with pytest.raises(StoreError, match="can not be used"):
            store.store([frame(make_report(2))])
        assert upto(store.store([frame(make_report(2))])) == 2


def test_an_sqlite_file_is_durable_and_readable_beside_the_collector(tmp_path: Path, make_report: Make) -> None:
    path = tmp_path / "c.sqlite"
    with Store(f"sqlite:///{path}") as store:
        store.store([frame(make_report(1))])
        reader = sqlite3.connect(path)
        assert reader.execute("select count(*) from report").fetchone() == (1,)
        assert reader.execute("pragma journal_mode").fetchone() == ("wal",)
        reader.close()


@pytest.mark.parametrize("address", ["nonsense", "mysql://host/db", "postgresql+nothing://host/db", "oracle://x"])
def test_an_address_that_can_not_be_used_is_refused_with_a_remedy(address: str) -> None:
    with pytest.raises((UsageError, MissingError), match="database"):
        Store(address)


def test_tables_of_a_later_layout_are_left_alone_and_told(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.update(tables.meta).values(value="99"))
    engine.dispose()
    with Store(database) as store, pytest.raises(UsageError, match=r"layout 99.*knows 2; install the release that"):
        store.store([frame(make_report(1))])
    with pytest.raises(UsageError, match="layout 99"):
        list(status(database))
    assert rows(database, tables.report) == []


@pytest.mark.parametrize("layout", range(1, tables.LAYOUT + 1))
def test_a_database_that_an_earlier_release_made_is_used_on(tmp_path: Path, make_report: Make, layout: int) -> None:
    """Whoever changes a table raises the layout, writes the step from the last one, and adds a file for this test."""
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(Path(__file__).with_name(f"layout-{layout}.sql").read_text(encoding="utf-8"))
    address = f"sqlite:///{path}"
    with Store(address) as store:
        again = FrameReport.model_validate_json(rows(address, tables.report)[0].body)
        outcome = store.store([frame(again), frame(make_report(3)), frame(b"}")])
    assert (outcome.new, outcome.again, outcome.quarantined, upto(outcome)) == (1, 1, 1, 4)
    line, quarantined = status(address)
    assert "4 reports up to 4, acknowledged up to 4, missing: none" in line
    assert quarantined == "quarantine: 2 malformed"


def of_layout_1(database: str, tmp_path: Path) -> None:
    """Make the tables of layout 1, with a view of somebody else's on them."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "collector.sqlite")) as earlier:
            earlier.executescript(Path(__file__).with_name("layout-1.sql").read_text(encoding="utf-8"))
    else:
        with Store(database) as store:
            store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":
            connection.exec_driver_sql("alter table cell alter column probability set not null")
            connection.execute(sa.update(tables.meta).values(value="1"))
        connection.exec_driver_sql("create view theirs as select label from cell")
    engine.dispose()


def test_cells_that_an_earlier_release_stored_as_uncertain_though_the_border_cuts_them_are_not_judged(
    database: str, tmp_path: Path, make_report: Make
) -> None:
    """Exports say so before the collector has brought the tables to this layout, and after."""
    of_layout_1(database, tmp_path)
    whole = make_report(5)
    cell = {"cell_id": "c", "object_id": "", "x": 1, "y": 1, "width": 1, "height": 1, "area_um2": 1.0}
    engine = open_engine(database)
    with engine.begin() as connection:
        report = rows_of_report(whole)
        connection.execute(sa.insert(tables.report), report)
        for number, flags in enumerate(["", "edge", "other edge", "edges"], start=1):
            said = {"label": "uncertain", "probability": 0.5, "flags": flags, "report_id": report["id"]}
            connection.execute(sa.insert(tables.cell), {**cell, **said, "number": number})
    engine.dispose()
    wanted = [("uncertain", 0.5), ("not_judged", None), ("not_judged", None), ("uncertain", 0.5)]
    assert told_of_cells(database)[-4:] == wanted
    with Store(database) as store:
        store.store([frame(make_report(6, cells=[CUT]))])
    told = told_of_cells(database)
    assert sorted(told[-5:], key=str) == sorted([*wanted, ("not_judged", None)], key=str)
    stored = [(row.label, row.probability) for row in rows(database, tables.cell)]
    assert sorted(stored, key=str) == sorted(told, key=str)
    assert {row.value for row in rows(database, tables.meta)} == {str(tables.LAYOUT)}
    engine = open_engine(database)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from theirs where label = 'not_judged'").scalar_one() == 3
        if engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("pragma integrity_check").scalar_one() == "ok"
    engine.dispose()


def rows_of_report(report: FrameReport) -> dict[str, Any]:
    """A row of the table, as every layout has it."""
    return {
        "id": 99, "device": report.device, "epoch": report.epoch, "seq": report.seq, "site": report.site,
        "slide_id": report.slide_id, "frame_id": report.frame.id, "source": "", "captured_at": NOW, "received_at": NOW,
        "accepted": True, "reasons": "", "model_id": "", "engine": "", "cells": 4, "body": report.model_dump_json(),
    }  # fmt: skip


def told_of_cells(database: str) -> list[tuple[str, float | None]]:
    """Label and probability of every cell that is exported."""
    out = io.StringIO()
    export(database, "cells", form="jsonl", slide_id=None, out=out)
    return [(row["label"], row["probability"]) for row in map(json.loads, out.getvalue().splitlines())]


def test_another_programs_tables_are_left_alone_and_told(database: str) -> None:
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table slide (title text)")
        connection.exec_driver_sql("create table meta (name text)")
    with Store(database) as store, pytest.raises(UsageError, match="tables meta, slide are another program's"):
        store.open()
    with engine.begin() as connection:
        assert sorted(sa.inspect(connection).get_table_names()) == ["meta", "slide"]
    engine.dispose()


def test_tables_are_made_whole_or_not_at_all(database: str) -> None:
    """Whoever is killed while it makes them leaves an empty database behind."""
    engine = open_engine(database)
    with engine.connect() as connection:
        tables.make_tables(connection)
        connection.rollback()
    engine.dispose()
    with Store(database) as store:
        store.open()
    assert [row.value for row in rows(database, tables.meta)] == [str(tables.LAYOUT)]


def test_a_password_is_never_shown() -> None:
    pytest.importorskip("psycopg")
    store = Store("postgresql://lab:hush@127.0.0.1:1/db")
    assert "hush" not in store.where
    with pytest.raises(StoreError) as error:
        store.open()
    assert "hush" not in str(error.value)


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
