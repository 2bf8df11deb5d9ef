"""The tags of a TIFF: which pages are pictures of their own, and where a tag's value stands. EXIF data is a TIFF too.

Adobe, TIFF Revision 6.0 (1992), section 2; BigTIFF likewise, with longer numbers.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SUBFILE, OLD_SUBFILE = 254, 255
BITS, PHOTOMETRIC, DESCRIPTION, ORIENTATION, SAMPLES, MAX_SAMPLE, PLANAR = 258, 262, 270, 274, 277, 281, 284
EXTRA_SAMPLES = 338
UPRIGHT = 1
"""The orientation of a picture that no reader turns."""
ASSOCIATED = 1
"""An alpha channel whose colours are multiplied by it already, so that no reader does it again."""
PLANES = 2
"""The planar configuration of a page that stores each colour apart."""
LONGEST = 10_000
"""Pages that are looked at; a file may point back to itself."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
RATIOS = {5: "II", 10: "ii"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory: its type, how many values it has, and where the first stands."""

    kind: int
    count: int
    at: int


@dataclass(frozen=True, slots=True)
class Directory:
    """One page's tags."""

    data: bytes | bytearray
    order: str
    at: int
    tags: Mapping[int, Tag]

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag of whole numbers."""
        found = self.tags.get(tag)
        if found is None or found.kind not in CODES:
            return default
        try:
            return int(struct.unpack_from(self.order + CODES[found.kind], self.data, found.at)[0])
        except struct.error:
            return default

    def ratio(self, tag: int) -> float | None:
        """The first value of a tag of ratios of whole numbers; None if there is none, or it is divided by 0."""
        found = self.tags.get(tag)
        if found is None or found.kind not in RATIOS:
            return None
        try:
            above, below = struct.unpack_from(self.order + RATIOS[found.kind], self.data, found.at)
        except struct.error:
            return None
        return above / below if below else None

    def text(self, tag: int) -> str:
        """The text of a tag, up to its first NUL."""
        found = self.tags.get(tag)
        content = self.data[found.at : found.at + found.count] if found else b""
        return bytes(content).partition(b"\0")[0].decode("utf-8", "replace")

    def set(self, tag: int, value: int) -> None:
        """Change the first value of a tag in ``data``, where it is there and a short number."""
        found = self.tags.get(tag)
        if found and CODES.get(found.kind) == "H" and isinstance(self.data, bytearray):
            struct.pack_into(self.order + "H", self.data, found.at, value)

    @property
    def reduced(self) -> bool:
        """True for a smaller copy or a mask of another page."""
        return bool(self.number(SUBFILE) & 0b101) or self.number(OLD_SUBFILE) == 2  # noqa: PLR2004 - TIFF 6.0, page 40


def is_tiff(data: bytes | bytearray) -> bool:
    """Tell a TIFF by its first bytes."""
    return bytes(data[:4]) in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def directories(data: bytes | bytearray) -> Iterator[Directory]:
    """Every page's tags, in order, as far as they can be read."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while at and at not in seen and len(seen) < LONGEST:
            seen.add(at)
            found, at = _directory(data, order, at, big=big)
            yield found
    except struct.error:
        return


def directory_at(data: bytes | bytearray, at: int) -> Directory | None:
    """The directory that stands at an offset of a TIFF that is not a BigTIFF, such as that of EXIF; None if none is."""
    try:
        return _directory(data, "<" if data[:2] == b"II" else ">", at, big=False)[0]
    except struct.error:
        return None


def point_to(data: bytearray, page: Directory) -> None:
    """Make a page the first one of its file, for decoders that read only that."""
    big = b"+" in data[2:4]
    struct.pack_into(page.order + ("Q" if big else "I"), data, 8 if big else 4, page.at)


def _directory(data: bytes | bytearray, order: str, at: int, *, big: bool) -> tuple[Directory, int]:
    """The directory at an offset, and the offset of the next one."""
    head, entry, wide = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + head, data, at)
    first, step = at + struct.calcsize("=" + head), struct.calcsize("=" + entry) + wide
    tags = {}
    for place in range(first, min(first + count * step, len(data)), step):
        tag, kind, values = struct.unpack_from(order + entry, data, place)
        there = place + step - wide
        if SIZES.get(kind, 1) * values > wide:
            (there,) = struct.unpack_from(order + ("Q" if big else "I"), data, there)
        tags[tag] = Tag(kind, values, there)
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, first + count * step)
    return Directory(data, order, at, tags), following
