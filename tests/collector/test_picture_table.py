"""The table of pictures: what is wanted, what is given back, and its bounds."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from collector import tables
from collector.export import status
from collector.picture_rows import PictureBox, frame_picture, frame_pictures_of, picture, picture_counts, pictures_of
from collector.picture_store import MOST_WANTED, Fetched, PictureTable, Wanted
from collector.queries import reading
from collector.rescue import rescue
from collector.store import Store
from common.errors import StoreError, UsageError
from contract.messages import BoxReport, FrameReport, Quality
from contract.requests import PictureInfo
from tests.collector.test_layouts import dumped
from tests.storing import frame, rows

Make = Callable[..., FrameReport]
Open = Callable[..., PictureTable]
INFO = PictureInfo(
    media_type="image/png", width=8, height=9, um_per_pixel=0.2, box=BoxReport(x=1, y=2, width=3, height=4)
)
NOW = datetime.now(timezone.utc).replace(microsecond=0)
MB = 2**20


@pytest.fixture
def open_table(database: str) -> Iterator[Open]:
    opened: list[PictureTable] = []

    def start(**changes: Any) -> PictureTable:
        with Store(database) as store:
            store.open()
        opened.append(PictureTable(database, **{"max_mb": 4, "days": 365, **changes}))
        return opened[-1]

    yield start
    for table in opened:
        table.close()


def cell(name: str, at: datetime = NOW, size: int = 100) -> Fetched:
    return Fetched(Wanted("cell", name, at), INFO, name.encode().ljust(size, b"."))


def put(database: str, *reports: FrameReport) -> None:
    with Store(database) as store:
        arrivals = [frame(report, f"microscopy/v1/lab/{report.device}") for report in reports]
        assert store.store(arrivals).quarantined == 0


def names(wanted: list[Wanted]) -> list[str]:
    return [f"{one.kind} {one.name}" for one in wanted]


def test_a_fetched_picture_is_read_as_it_was_kept(database: str, open_table: Open) -> None:
    table = open_table()
    shot = Fetched(Wanted("frame", "f", NOW), INFO.model_copy(update={"box": None, "media_type": "image/jpeg"}), b"jpg")
    table.keep("scope-1", [cell("c"), shot, Fetched(Wanted("cell", "gone", NOW))])
    with reading(database) as connection:
        found = picture(connection, "c")
        assert found is not None
        assert (found.device, found.data, found.media_type) == ("scope-1", b"c".ljust(100, b"."), "image/png")
        assert (found.width, found.height, found.um_per_pixel) == (8, 9, 0.2)
        assert found.box == PictureBox(1, 2, 3, 4)
        assert found.captured_at == NOW
        seen = frame_picture(connection, "f")
        assert seen is not None
        assert (seen.data, seen.media_type, seen.box) == (b"jpg", "image/jpeg", None)
        assert (picture(connection, "f"), picture(connection, "gone"), frame_picture(connection, "c")) == (None,) * 3
        assert pictures_of(connection, ["c", "gone", "f", *map(str, range(2000))]) == {"c"}
        assert frame_pictures_of(connection, ["c", "f"]) == {"f"}
        assert pictures_of(connection, []) == set()
        assert picture_counts(connection) == (2, 103)


def test_two_agents_may_give_the_same_name(database: str, open_table: Open) -> None:
    table = open_table()
    for device in ("a", "b"):
        table.keep(device, [Fetched(Wanted("cell", "c", NOW), INFO, device.encode())])
    with reading(database) as connection:
        found = [picture(connection, "c", device=device) for device in ("a", "b")]
        assert [one and one.data for one in found] == [b"a", b"b"]
        assert picture(connection, "c", device="other") is None


def test_wanted_is_what_reports_speak_of_and_is_not_here_the_newest_first(
    database: str, open_table: Open, make_report: Make
) -> None:
    at = {"captured_at": NOW}
    silent = Quality(accepted=False, reasons=["stale"])
    reports = [make_report(seq) for seq in (1, 2, 3, 4)]
    reports = [one.model_copy(update={"frame": one.frame.model_copy(update=at)}) for one in reports]
    reports[3] = reports[3].model_copy(update={"quality": silent, "cells": []})
    put(database, *reports, make_report(1, device="other"))
    table = open_table()
    assert names(table.wanted("scope-1", 1, 99)) == [
        "cell run-00000003-1", "cell run-00000002-1", "cell run-00000001-1",
        "frame run-00000003", "frame run-00000002", "frame run-00000001",
    ]  # fmt: skip
    assert names(table.wanted("scope-1", 2, 2)) == ["cell run-00000002-1", "frame run-00000002"]
    table.keep("scope-1", [cell("run-00000003-1"), Fetched(Wanted("cell", "run-00000002-1", NOW))])
    table.keep("other", [cell("run-00000001-1")])
    assert names(table.wanted("scope-1", 1, 99))[0] == "cell run-00000001-1"
    assert table.devices() == {"scope-1": "lab", "other": "lab"}
    assert table.newest() == 5


def test_what_is_older_than_the_days_is_deleted_and_not_wanted(
    database: str, open_table: Open, make_report: Make
) -> None:
    table = open_table(days=2)
    put(database, _of(make_report(1), NOW - timedelta(days=3)), _of(make_report(2), NOW))
    table.keep("scope-1", [cell("old", NOW - timedelta(days=3)), cell("young", NOW - timedelta(days=1))])
    table.tidy()
    assert [row.name for row in rows(database, tables.picture)] == ["young"]
    assert names(table.wanted("scope-1", 1, 99)) == ["cell run-00000002-1", "frame run-00000002"]


def _of(report: FrameReport, at: datetime) -> FrameReport:
    return report.model_copy(update={"frame": report.frame.model_copy(update={"captured_at": at})})


def test_the_pictures_stay_within_their_megabytes_the_oldest_go_and_are_not_wanted_again(
    database: str, open_table: Open, make_report: Make
) -> None:
    table = open_table()
    put(database, *(_of(make_report(seq), NOW + timedelta(seconds=seq)) for seq in range(1, 61)))
    for seq in range(60, 0, -1):
        wanted = [one for one in table.wanted("scope-1", seq, seq) if one.kind == "cell"]
        table.keep("scope-1", [cell(one.name, one.captured_at, 100_000) for one in wanted])
    held = sorted(row.name for row in rows(database, tables.picture))
    assert held == [f"run-{seq:08d}-1" for seq in range(61 - len(held), 61)]
    assert 0.8 * 4 * MB < 100_000 * len(held) <= 4 * MB
    for seq in range(61, 90):
        table.keep("scope-1", [cell(f"run-{seq:08d}-1", NOW + timedelta(seconds=seq), 100_000)])
    held = sorted(row.name for row in rows(database, tables.picture))
    assert held[-1] == "run-00000089-1"
    assert 100_000 * len(held) <= 4 * MB
    again = open_table()
    again.tidy()
    oldest = int(held[0][4:12])
    assert all(one.captured_at.replace(tzinfo=timezone.utc) >= NOW + timedelta(seconds=oldest)
               for one in again.wanted("scope-1", 1, 99))  # fmt: skip


def test_of_a_frame_with_many_cells_so_many_are_found_at_once(
    database: str, open_table: Open, make_report: Make
) -> None:
    plain = make_report().cells[0]
    cells = [plain.model_copy(update={"cell_id": f"c-{number}"}) for number in range(MOST_WANTED + 5)]
    put(database, _of(make_report(1, cells=cells), NOW))
    table = open_table()
    first = table.wanted("scope-1", 1, 1)
    assert len(first) == MOST_WANTED
    table.keep("scope-1", [Fetched(one) for one in first])
    assert names(table.wanted("scope-1", 1, 1))[-2:] == [f"cell c-{MOST_WANTED + 4}", "frame run-00000001"]


def test_before_the_collector_has_made_its_tables_nothing_is_done(database: str) -> None:
    with closing(PictureTable(database, max_mb=4, days=1)) as table, pytest.raises(StoreError, match="not made yet"):
        table.newest()


@pytest.mark.parametrize("layout", [1, 2, 3])
def test_a_database_of_an_earlier_layout_holds_no_pictures(tmp_path: Path, layout: int) -> None:
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(dumped(f"layout-{layout}.sql"))
    with reading(f"sqlite:///{path}") as connection:
        assert picture(connection, "run-00000001-1") is None
        assert pictures_of(connection, ["run-00000001-1"]) == set()
        assert picture_counts(connection) == (0, 0)


def test_pictures_of_layout_4_are_read(tmp_path: Path) -> None:
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(dumped("layout-4.sql"))
    with reading(f"sqlite:///{path}") as connection:
        assert pictures_of(connection, ["run-00000001-1", "run-00000001-2"]) == {"run-00000001-1"}
        found = picture(connection, "run-00000001-1")
    assert found is not None
    assert (found.box, found.data[:4]) == (PictureBox(2, 2, 4, 4), b"\x89PNG")


def test_the_status_tells_of_pictures_where_there_are_any(database: str, open_table: Open) -> None:
    table = open_table()
    assert list(status(database)) == ["quarantine: nothing"]
    table.keep("scope-1", [cell("a", size=2**20), cell("b", size=2**20)])
    assert list(status(database))[-1] == "2 pictures of cells and frames, 2.0 MiB"


def test_a_file_of_an_earlier_layout_that_is_sound_is_not_rescued(tmp_path: Path) -> None:
    path = tmp_path / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(dumped("layout-3.sql"))
    with pytest.raises(UsageError, match="is sound; nothing was done"):
        list(rescue(f"sqlite:///{path}"))


def test_a_damaged_file_with_pictures_is_rescued_without_them_and_these_are_wanted_again(
    tmp_path: Path, make_report: Make
) -> None:
    path = tmp_path / "c.sqlite"
    database = f"sqlite:///{path}"
    put(database, _of(make_report(1), NOW))
    with closing(PictureTable(database, max_mb=4, days=365)) as table:
        table.keep("scope-1", [cell("run-00000001-1", size=50_000)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = delete")
    path.write_bytes(bytes(100) + path.read_bytes()[100:])
    assert "1 reports" in next(iter(rescue(database)))
    with closing(PictureTable(database, max_mb=4, days=365)) as table:
        assert names(table.wanted("scope-1", 1, 99)) == ["cell run-00000001-1", "frame run-00000001"]
