"""Descriptors of the pictures in the collector's store, each measured once for as long as its picture is the same."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

import sqlalchemy as sa

from collector.picture_rows import PictureMark, picture, picture_marks
from dashboard.records import SlideCell
from dashboard.reviews.likeness import Descriptor, StoredPicture, described

MOST = 20_000
"""Descriptors that are kept, those that were asked for last; they take 25 MB."""


class _Measured(NamedTuple):
    mark: PictureMark
    area_um2: float
    descriptor: Descriptor | None


class Descriptors:
    """Measures pictures, and remembers; any thread may ask.

    Args:
        most: descriptors that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, Lock()
        self._kept = OrderedDict[tuple[str, str], _Measured]()

    def of(self, connection: sa.Connection, device: str, cells: Iterable[SlideCell]) -> dict[str, Descriptor]:
        """Describe cells by their pictures as they are stored now.

        Args:
            connection: to the collector's store.
            device: the agent whose cells they are.
            cells: which.

        Returns:
            By the cell's ``object_id``; a cell whose picture is not there, or can not be decoded, is left out.
        """
        every = list(cells)
        marks = picture_marks(connection, [cell.cell_id for cell in every], device=device)
        found = {}
        for cell in every:
            mark = marks.get(cell.cell_id)
            descriptor = self._one(connection, device, cell, mark) if mark else None
            if descriptor is not None:
                found[cell.object_id] = descriptor
        return found

    def _one(self, connection: sa.Connection, device: str, cell: SlideCell, mark: PictureMark) -> Descriptor | None:
        key = device, cell.cell_id
        with self._lock:
            known = self._kept.get(key)
            if known and (known.mark, known.area_um2) == (mark, cell.area_um2):
                self._kept.move_to_end(key)
                return known.descriptor
        stored = picture(connection, cell.cell_id, device=device)
        descriptor = described(StoredPicture(stored.data, stored.um_per_pixel) if stored else None, cell.area_um2)
        with self._lock:
            self._kept[key] = _Measured(mark, cell.area_um2, descriptor)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return descriptor

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)
