"""Reads rows out of the pages of a damaged SQLite file, where SQLite does not find its way any more.

Every page is looked at by itself, so nothing that leads to it must be whole: neither the file's header nor the schema
nor the inner pages of a tree. The form of the file is SQLite's: https://www.sqlite.org/fileformat2.html.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

PAGE_BYTES = 4096
"""Of every file that is ours; what a file's header says of it may be damaged."""
_LEAF_HEADER, _WAL_HEADER, _FRAME_HEADER = 8, 32, 24
_LOCAL_BYTES = PAGE_BYTES - 35
"""Of a row, so much lies in its leaf at most; of a longer one the rest lies in a chain of pages."""
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_LARGEST_BYTES = 1 << 28
_MOST_COLUMNS = 64
_MISSES = 8
"""So many places in a row that lead to no row: here a page ends, or is no leaf of a table."""
_SHORTEST_CELL = 4
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of an integer by the kind of the value."""
_REAL, _ZERO, _ONE, _BLOB = 7, 8, 9, 12

Bytes: TypeAlias = "bytes | mmap.mmap"
Value: TypeAlias = "int | float | str | bytes | None"


class Row(NamedTuple):
    """A row, and where it stands.

    Attributes:
        place: its number in the table.
        page: the number of its page.
        at: where it begins there.
        values: of its columns; text that is no UTF-8 is bytes.
    """

    place: int
    page: int
    at: int
    values: tuple[Value, ...]


class Pages:
    """The pages of a database, of which its log may hold newer ones."""

    def __init__(self, database: Bytes, log: Bytes) -> None:
        self._database, self._log = database, log
        self._newer = dict(_logged(log))
        self._count = max([len(database) // PAGE_BYTES, *self._newer])

    def rows(self) -> Iterator[Row]:
        """Every row of every table in the order of the pages; deleted ones too where they are not wiped."""
        for number in range(2, self._count + 1):
            yield from self._rows_of(number)

    def row(self, page: int, at: int) -> Row | None:
        """The row that begins there; None if none does."""
        return self._row(self._page(page), page, at)

    def _page(self, number: int) -> bytes:
        source, at = self._database, (number - 1) * PAGE_BYTES
        if number in self._newer:
            source, at = self._log, self._newer[number]
        return source[at : at + PAGE_BYTES] if at >= 0 else b""

    def _rows_of(self, number: int) -> Iterator[Row]:
        """By the list of their positions at the page's beginning; how long that is may be damaged."""
        page = self._page(number)
        lowest, misses = PAGE_BYTES, 0
        for entry in range(_LEAF_HEADER, PAGE_BYTES - 1, 2):
            if entry + 2 > lowest or misses > _MISSES:
                return
            at = int.from_bytes(page[entry : entry + 2], "big")
            if row := self._row(page, number, at):
                yield row
                lowest, misses = min(lowest, at), 0
            else:
                misses += 1

    def _row(self, page: bytes, number: int, begin: int) -> Row | None:
        if not _LEAF_HEADER <= begin <= len(page) - _SHORTEST_CELL:
            return None
        size, at = _number(page, begin)
        place, at = _number(page, at)
        values = _values(self._record(page, at, size)) if 1 < size <= _LARGEST_BYTES else None
        return None if values is None else Row(place, number, begin, values)

    def _record(self, page: bytes, at: int, size: int) -> bytes:
        """What a row holds: its part in the leaf, and the rest from page to page."""
        local = size
        if size > _LOCAL_BYTES:
            local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE_BYTES - 4)
            local = local if local <= _LOCAL_BYTES else _LEAST_LOCAL
        parts = [page[at : at + local]]
        more, missing = int.from_bytes(page[at + local : at + local + 4], "big"), size - len(parts[0])
        while missing > 0 and (rest := self._page(more)[4 : 4 + missing]):
            parts.append(rest)
            more, missing = int.from_bytes(self._page(more)[:4], "big"), missing - len(rest)
        return b"" if missing else b"".join(parts)


@contextmanager
def open_pages(path: Path) -> Iterator[Pages]:
    """The pages of a file, and of the log beside it; OSError if they can not be read."""
    with _mapped(path) as database, _mapped(path.with_name(f"{path.name}-wal")) as log:
        yield Pages(database, log)


def _logged(log: Bytes) -> Iterator[tuple[int, int]]:
    """Number and position of each page in a write-ahead log; an older log's, behind it, bear another salt."""
    salt = log[16:24]
    for at in range(_WAL_HEADER, len(log) - _FRAME_HEADER - PAGE_BYTES + 1, _FRAME_HEADER + PAGE_BYTES):
        if log[at + 8 : at + 16] == salt:
            yield int.from_bytes(log[at : at + 4], "big"), at + _FRAME_HEADER


def _values(record: bytes) -> tuple[Value, ...] | None:
    """The values of a record; None if it is none."""
    header, at = _number(record, 0)
    if not 1 < header <= min(len(record), 9 * _MOST_COLUMNS):
        return None
    kinds = []
    while at < header:
        kind, at = _number(record, at)
        kinds.append(kind)
    lengths = [_length(kind) for kind in kinds]
    if at != header or sum(lengths) != len(record) - header:
        return None
    values = []
    for kind, length in zip(kinds, lengths, strict=True):
        values.append(_value(kind, record[at : at + length]))
        at += length
    return tuple(values)


def _length(kind: int) -> int:
    if kind >= _BLOB:
        return (kind - _BLOB) // 2
    return 8 if kind == _REAL else _INTEGERS.get(kind, 0)


def _value(kind: int, raw: bytes) -> Value:
    if kind >= _BLOB:
        return _text(raw) if kind % 2 else raw
    if kind in _INTEGERS:
        return int.from_bytes(raw, "big", signed=True)
    if kind == _REAL:
        return float(struct.unpack(">d", raw)[0])
    return {_ZERO: 0, _ONE: 1}.get(kind)


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of SQLite's variable length, and where it ends."""
    value = 0
    for length, byte in enumerate(data[at : at + 9], start=1):
        if length == 9:  # noqa: PLR2004 - the last of nine bytes counts whole
            return value << 8 | byte, at + length
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004
            return value, at + length
    return value, len(data) + 1


@contextmanager
def _mapped(path: Path) -> Iterator[Bytes]:
    """A file without reading it; nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content
    except FileNotFoundError:
        yield b""
