"""The store keeps each report once, and says no more than it has."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector import tables
from collector.arrivals import Arrival
from collector.database import open_engine
from collector.export import status
from collector.store import Store
from common.errors import MissingError, StoreError, UsageError
from contract.messages import FrameReport
from tests.storing import EPOCH, NOW, ROOT, acks, frame, health, online, rows, upto

Make = Callable[..., FrameReport]


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


def test_a_password_is_never_shown() -> None:
    pytest.importorskip("psycopg")
    store = Store("postgresql://lab:hush@127.0.0.1:1/db")
    assert "hush" not in store.where
    with pytest.raises(StoreError) as error:
        store.open()
    assert "hush" not in str(error.value)
