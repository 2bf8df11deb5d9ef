"""Databases of earlier layouts are used on; later ones, and those of others, are left alone."""

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector import tables
from collector.database import open_engine
from collector.export import export, status
from collector.layouts import make_tables
from collector.queries import cells, reading, report_bodies
from collector.rescue import rescue
from collector.store import Store
from common.errors import UsageError
from contract.messages import BoxReport, CellReport, FrameReport, Join
from tests.storing import NOW, frame, rows, upto

Make = Callable[..., FrameReport]
CUT = CellReport(
    cell_id="c",
    box=BoxReport(x=0, y=0, width=9, height=9),
    area_um2=9,
    label="not_judged",
    probability=None,
    flags=["edge"],
)


def test_tables_of_a_later_layout_are_left_alone_and_told(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.update(tables.meta).values(value="99"))
    engine.dispose()
    with (
        Store(database) as store,
        pytest.raises(UsageError, match=rf"layout 99.*knows {tables.LAYOUT}; install the release that"),
    ):
        store.store([frame(make_report(1))])
    with pytest.raises(UsageError, match="layout 99"):
        list(status(database))
    assert rows(database, tables.report) == []


@pytest.mark.parametrize("layout", range(1, tables.LAYOUT + 1))
def test_a_database_that_an_earlier_release_made_is_used_on(tmp_path: Path, make_report: Make, layout: int) -> None:
    """Whoever changes a table raises the layout, writes the step from the last one, and adds a file for this test."""
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(dumped(f"layout-{layout}.sql"))
    address = f"sqlite:///{path}"
    with reading(address) as connection:
        again, *_ = report_bodies(connection)
    with Store(address) as store:
        outcome = store.store([frame(again.encode()), frame(make_report(3)), frame(b"}")])
    assert (outcome.new, outcome.again, outcome.quarantined, upto(outcome)) == (1, 1, 1, 4)
    line, quarantined, *_ = status(address)
    assert "4 reports up to 4, acknowledged up to 4, missing: none" in line
    assert quarantined == "quarantine: 2 malformed"


def dumped(name: str) -> str:
    """A database of an earlier release, as SQL for SQLite."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def go_back_to(layout: int, connection: sa.Connection) -> None:
    """Make tables of an earlier layout out of empty ones of this, in PostgreSQL."""
    for column in tables.report.c:
        if column.info.get(tables.SINCE, 1) > layout:
            connection.exec_driver_sql(f"alter table report drop column {column.name}")
    if layout < tables.picture.info[tables.SINCE]:
        tables.picture.drop(connection)
    if layout < 2:
        connection.exec_driver_sql("alter table cell alter column probability set not null")
    connection.exec_driver_sql("select setval('report_id_seq', 100)")  # rows with numbers of their own follow
    connection.execute(sa.update(tables.meta).values(value=str(layout)))


def of_layout_1(database: str, tmp_path: Path) -> None:
    """Make the tables of layout 1, with a view of somebody else's on them."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "collector.sqlite")) as earlier:
            earlier.executescript(dumped("layout-1.sql"))
    else:
        with Store(database) as store:
            store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":
            go_back_to(1, connection)
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
        make_tables(connection)
        connection.rollback()
    engine.dispose()
    with Store(database) as store:
        store.open()
    assert [row.value for row in rows(database, tables.meta)] == [str(tables.LAYOUT)]


def test_a_database_of_layout_3_gets_the_table_of_pictures(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(1))])
    engine = open_engine(database)
    with engine.begin() as connection:
        tables.picture.drop(connection)
        connection.execute(sa.update(tables.meta).values(value="3"))
    engine.dispose()
    with Store(database) as store:
        assert upto(store.store([frame(make_report(2))])) == 2
    assert rows(database, tables.picture) == []
    assert [row.value for row in rows(database, tables.meta)] == [str(tables.LAYOUT)]


def of_dump(name: str, table: sa.Table) -> list[dict[str, Any]]:
    """Rows of a table in a database of layout 2."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    columns = [column for column in table.c if column.info.get(tables.SINCE, 1) <= 2]
    with engine.connect() as connection:
        assert connection.connection.driver_connection is not None
        connection.connection.driver_connection.executescript(dumped(name))
        found = [row._asdict() for row in connection.execute(sa.select(*columns))]
    engine.dispose()
    return found


def of_layout_2(database: str, tmp_path: Path) -> None:
    """Make the tables of layout 2, with reports that amend earlier ones."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "collector.sqlite")) as earlier:
            earlier.executescript(dumped("layout-2-amended.sql"))
        return
    with Store(database) as store:
        store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        go_back_to(2, connection)
        for table in (tables.report, tables.cell, tables.stream):
            connection.execute(sa.insert(table), of_dump("layout-2-amended.sql", table))
    engine.dispose()


def names(database: str) -> list[tuple[int, str]]:
    """Report and name of every cell that is exported."""
    with reading(database) as connection:
        return [(row.seq, row.object_id) for row in cells(connection)]


AMENDED = [(1, "r-s1-c1"), (1, "r-s1-c2"), (2, "r-s1-c1"), (2, "r-s1-c4"), (3, "r-s1-c1")]
"""What `microscope-collect export cells` of layout 2 told of that database."""


def test_what_reports_say_of_earlier_ones_is_told_before_the_columns_are_there_and_stands_in_them_after(
    database: str, tmp_path: Path, make_report: Make
) -> None:
    of_layout_2(database, tmp_path)
    assert names(database) == AMENDED
    with Store(database) as store:
        assert upto(store.store([frame(make_report(9))])) == 9
    assert names(database) == [*AMENDED, (9, "")]
    stored = {row.seq: (row.withdraws, row.joined) for row in rows(database, tables.report)}
    joined = stored[3][1]
    assert Join.model_validate_json(joined) == Join(part=2, x=1.5, y=-2, same={"r-s1-c3": "r-s1-c1"})
    assert stored == {
        **dict.fromkeys([1, 2, 4, 7, 9], ("", None)), 3: ("", joined), 5: ("r-s1-c5", None), 6: ("r-s1-c5", None),
        8: ("r-s1-c7", None),
    }  # fmt: skip


def test_a_row_that_a_collector_of_layout_2_stores_beside_this_one_is_read_by_its_body(
    database: str, tmp_path: Path
) -> None:
    """It leaves columns empty that it does not know; but in an SQLite file that has come from layout 2."""
    if not database.startswith("sqlite"):
        of_layout_2(database, tmp_path)
    with Store(database) as store:
        store.open()
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.report))
        for table in (tables.report, tables.cell):
            connection.execute(sa.insert(table), of_dump("layout-2-amended.sql", table))
    engine.dispose()
    assert {row.withdraws for row in rows(database, tables.report)} == {None}
    assert names(database) == AMENDED


def test_tables_of_this_layout_whose_number_damage_has_changed_are_used_on(database: str, make_report: Make) -> None:
    with Store(database) as store:
        store.store([frame(make_report(1, withdraws="r-s1-c1"))])
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.update(tables.meta).values(value="2"))
    engine.dispose()
    with Store(database) as store:
        assert upto(store.store([frame(make_report(2))])) == 2
    assert [row.withdraws for row in rows(database, tables.report)] == ["r-s1-c1", ""]


@pytest.mark.parametrize("name", ["layout-1.sql", "layout-2.sql", "layout-2-amended.sql"])
def test_a_sound_file_of_an_earlier_layout_is_not_rescued(tmp_path: Path, name: str) -> None:
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(dumped(name))
    with pytest.raises(UsageError, match="is sound; nothing was done"):
        list(rescue(f"sqlite:///{path}"))
