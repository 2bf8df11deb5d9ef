"""A picture is measured once, for as long as it is the same, and never another one's measure is given for it."""

from collections.abc import Iterator
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest
import sqlalchemy as sa

from collector.database import open_engine
from collector.picture_store import Fetched, PictureTable, Wanted
from collector.queries import reading
from collector.store import Store
from collector.tables import picture as table
from contract.requests import PictureInfo
from dashboard.reviews import descriptors
from dashboard.reviews.descriptors import Descriptors
from dashboard.reviews.likeness import Descriptor, StoredPicture, described
from tests.dashboard.reviews.conftest import cell

NOW = datetime.now(timezone.utc)
CELLS = [cell(f"r-c{number}") for number in range(4)]


def png(level: int) -> bytes:
    image = np.full((60, 60, 3), 235, np.uint8)
    cv2.circle(image, (30, 30), 20, (level, 60, level), cv2.FILLED)
    return cv2.imencode(".png", image)[1].tobytes()


class Kept:
    """The collector's pictures, and a memory of their descriptors, with a count of those that are measured."""

    def __init__(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with Store(database) as made:
            made.open()
        self.database, self.memory, self.count = database, Descriptors(most=3), 0
        self.table = PictureTable(database, max_mb=64, days=1)
        monkeypatch.setattr(descriptors, "described", self._described)

    def _described(self, stored: StoredPicture | None, area_um2: float) -> Descriptor | None:
        self.count += 1
        return described(stored, area_um2)

    def keep(self, number: int, data: bytes, device: str = "scope-1") -> None:
        info = PictureInfo(media_type="image/png", width=60, height=60, um_per_pixel=0.2)
        self.table.keep(device, [Fetched(Wanted("cell", CELLS[number].cell_id, NOW), info, data)])

    def delete(self, number: int) -> None:
        engine = open_engine(self.database)
        with engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.name == CELLS[number].cell_id))
        engine.dispose()

    def of(self, *numbers: int, device: str = "scope-1", area_um2: float = 100) -> dict[str, Descriptor]:
        cells = [cell(CELLS[number].object_id, area_um2=area_um2) for number in numbers]
        with reading(self.database) as connection:
            return self.memory.of(connection, device, cells)


@pytest.fixture
def stored(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    store = Kept(database, monkeypatch)
    yield store
    store.table.close()


def expected(level: int, area_um2: float = 100) -> Descriptor:
    found = described(StoredPicture(png(level), 0.2), area_um2)
    assert found is not None
    return found


def test_a_picture_is_measured_once(stored: Kept) -> None:
    stored.keep(0, png(90))
    stored.keep(1, png(150))
    for _ in range(3):
        found = stored.of(0, 1, 2)
        assert set(found) == {"r-c0", "r-c1"}, "the third has none"
        assert np.array_equal(found["r-c0"], expected(90))
        assert np.array_equal(found["r-c1"], expected(150))
    assert stored.count == 2


def test_a_picture_that_took_the_place_of_another_is_measured_at_once(stored: Kept) -> None:
    stored.keep(0, png(90))
    stored.of(0)
    stored.keep(0, png(150))
    assert np.array_equal(stored.of(0)["r-c0"], expected(150))
    stored.delete(0)
    assert stored.of(0) == {}
    stored.keep(0, png(90))
    assert np.array_equal(stored.of(0)["r-c0"], expected(90))


def test_a_cell_that_has_another_area_now_is_measured_again(stored: Kept) -> None:
    stored.keep(0, png(90))
    stored.of(0)
    assert np.array_equal(stored.of(0, area_um2=40)["r-c0"], expected(90, 40))


def test_cells_of_one_name_on_two_microscopes_are_two(stored: Kept) -> None:
    stored.keep(0, png(90))
    stored.keep(0, png(150), device="scope-2")
    for _ in range(2):
        assert np.array_equal(stored.of(0)["r-c0"], expected(90))
        assert np.array_equal(stored.of(0, device="scope-2")["r-c0"], expected(150))


def test_what_can_not_be_decoded_is_tried_once_and_left_out(stored: Kept) -> None:
    stored.keep(0, b"no picture")
    assert [stored.of(0), stored.of(0)] == [{}, {}]
    assert stored.count == 1


def test_so_many_are_remembered_those_that_were_asked_for_last(stored: Kept) -> None:
    for number in range(4):
        stored.keep(number, png(90 + number))
    stored.of(0, 1, 2)
    stored.of(0)
    stored.of(3)
    assert (len(stored.memory), stored.count) == (3, 4)
    stored.of(0, 2, 3)
    assert stored.count == 4
    stored.of(1)
    assert stored.count == 5
