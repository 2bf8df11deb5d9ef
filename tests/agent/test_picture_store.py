"""The kept pictures on disk: what was kept is given back, within bounds, and a damaged file stops nobody."""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.pictures.store import PictureStore
from common.errors import PictureError
from tests.faults.test_disk_full import fill, tiny_disk
from tests.kept import kept

__all__ = ["tiny_disk"]
DAY_S = 86400.0
MB = 2**20
OpenStore = Callable[..., PictureStore]


class Clock:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pictures.sqlite"


@pytest.fixture
def open_store(path: Path) -> Iterator[OpenStore]:
    opened: list[PictureStore] = []

    def start(**changes: Any) -> PictureStore:
        opened.append(PictureStore(path, **{"max_mb": 4, "days": 30, "spare_bytes": 0, **changes}))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("select name from picture order by number")]


def test_what_was_kept_is_given_back_also_after_a_restart(open_store: OpenStore, path: Path) -> None:
    cell, frame = kept("c-1"), kept("f-1", 90_000, kind="frame", report="{}")
    open_store().put([frame, cell])
    again = open_store()
    assert (again.get("cell", "c-1"), again.get("frame", "f-1")) == (cell, frame)
    assert (again.get("cell", "f-1"), again.get("frame", "none")) == (None, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_picture_that_comes_again_takes_the_place_of_the_first(open_store: OpenStore, path: Path) -> None:
    store = open_store()
    store.put([kept("a"), kept("b")])
    store.put([kept("a", 10)])
    assert store.get("cell", "a") == kept("a", 10)
    assert names(path) == ["b", "a"]


def test_the_file_stays_within_its_megabytes_and_the_oldest_pictures_go_first(
    open_store: OpenStore, path: Path
) -> None:
    store = open_store()
    for number in range(300):
        store.put([kept(f"{number}")])
        assert store.bytes <= 4 * MB
    left = names(path)
    assert left == [f"{number}" for number in range(300 - len(left), 300)]
    assert 4 * MB - len(left) * 50_000 < MB
    assert path.stat().st_size <= 4 * MB


def test_a_lower_bound_takes_effect_at_the_next_start_and_the_disk_has_its_room_back(
    open_store: OpenStore, path: Path
) -> None:
    before = open_store(max_mb=16)
    for number in range(200):
        before.put([kept(f"{number}")])
    before.close()
    store = open_store(max_mb=4)
    store.tidy()
    assert path.stat().st_size <= 4 * MB
    assert names(path)[-1] == "199"


def test_pictures_older_than_the_days_are_deleted_and_their_room_is_given_back(
    open_store: OpenStore, path: Path
) -> None:
    clock = Clock()
    store = open_store(days=2, clock=clock)
    for number in range(60):
        store.put([kept(f"{number}")])
    clock.now += DAY_S
    store.put([kept("young")])
    clock.now += 1.5 * DAY_S
    store.tidy()
    assert names(path) == ["young"]
    assert path.stat().st_size < 1.3 * MB


@pytest.mark.parametrize("damage", ["head", "middle", "text"])
def test_a_damaged_file_is_set_aside_noted_and_others_are_kept(open_store: OpenStore, path: Path, damage: str) -> None:
    before = open_store()
    before.put([kept(f"{number}") for number in range(20)])
    before.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:] = b"no database at all"
    else:
        begin = 0 if damage == "head" else 4096
        content[begin : begin + 4096 * 40] = b"\xaa" * 4096 * 40
    path.write_bytes(content)
    noted: list[tuple[str, Any]] = []
    store = open_store(note=lambda event, facts: noted.append((event, facts)))
    with pytest.raises(PictureError, match="no pictures are kept, reports go on"):
        store.put([kept("a")])
    store.put([kept("b")])
    assert store.get("cell", "b") == kept("b")
    [(event, facts)] = noted
    [alarm] = store.alarms()
    aside = path.with_name(facts["kept_aside"])
    assert (event, str(aside) in alarm) == ("pictures_set_aside", True)
    assert aside.read_bytes()[4096:] == content[4096:]
    aside.unlink()
    assert store.alarms() == []


def test_a_picture_that_is_damaged_within_is_not_given(open_store: OpenStore, path: Path) -> None:
    store = open_store()
    store.put([kept("a"), kept("b")])
    store.close()
    path.write_bytes(path.read_bytes().replace(kept("a").data[20_000:20_100], bytes(100)))
    assert (store.get("cell", "a"), store.get("cell", "b")) == (None, kept("b"))


def test_a_database_of_another_program_is_left_alone(open_store: OpenStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table theirs (x)")
    store = open_store()
    with pytest.raises(PictureError, match="another program's: move it away"):
        store.put([kept("a")])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("theirs",)]
    assert len(store.alarms()) == 1


def test_a_full_disk_takes_no_picture_and_takes_them_again_when_there_is_room(tiny_disk: Path) -> None:
    with closing(PictureStore(tiny_disk / "pictures.sqlite", max_mb=4, days=1, spare_bytes=0)) as store:
        store.put([kept("a")])
        fill(tiny_disk / "others")
        with pytest.raises(PictureError, match="no room on the disk"):
            store.put([kept("large", 500_000)])
        assert store.alarms()
        (tiny_disk / "others").unlink()
        store.put([kept("b")])
        assert (store.get("cell", "b"), store.alarms()) == (kept("b"), [])


def test_pictures_leave_the_room_that_reports_need(open_store: OpenStore, path: Path) -> None:
    store = open_store(spare_bytes=2**60)
    with pytest.raises(PictureError, match="no room on the disk"):
        store.put([kept("a")])
    roomy = open_store()
    for number in range(20):
        roomy.put([kept(f"{number}")])
    size = path.stat().st_size
    store.put([kept("b")])
    assert (store.get("cell", "b"), path.stat().st_size) == (kept("b"), size)
