"""Where the frames of a slide lie: parts that were joined are one, and what was taken back has no place."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.places import FramePlace
from contract.amendments import cell_number
from contract.messages import Position

FAR_UM = 200_000.0
"""Micrometres beyond which no place on a slide lies from another: a slide is 76,000 long."""


class Footprint(NamedTuple):
    """Where a frame lies.

    Attributes:
        part: number of the connected part of the slide, from 1; the parts of another count are others.
        x: micrometres from the corner of the part's first frame to this one's, to the right.
        y: the same, down.
        width: of what the frame shows, in micrometres.
        height: the same.
        um_per_pixel: its scale.
    """

    frame_id: str
    part: int
    x: float
    y: float
    width: float
    height: float
    um_per_pixel: float


class Layout(NamedTuple):
    """Where the frames of a slide lie, as far as that is known.

    Attributes:
        footprints: in the order in which frames were seen, the parts numbered in the order of theirs.
        astray: how many frames have a place that can be none on a slide.
    """

    footprints: tuple[Footprint, ...] = ()
    astray: int = 0


def layout_of(rows: Iterable[FramePlace], counting: Collection[str]) -> Layout:
    """Where the frames of one slide of one device lie.

    Args:
        rows: of all its reports.
        counting: `frame_id` of the frames that count; all others have no place.
    """
    streams = defaultdict[str, list[FramePlace]](list)
    for row in rows:
        streams[row.epoch].append(row)
    numbers: dict[tuple[str, int, int], int] = {}
    footprints, astray = [], 0
    for epoch, stream in streams.items():
        for foot in _walked(stream):
            if foot.row.frame_id not in counting:
                continue
            made = foot.footprint(numbers.setdefault((epoch, foot.count, foot.part), len(numbers) + 1))
            if made is None:
                astray += 1
            else:
                footprints.append(made)
    known = {old: new for new, old in enumerate(dict.fromkeys(one.part for one in footprints), start=1)}
    return Layout(tuple(one._replace(part=known[one.part]) for one in footprints), astray)


def scale_of(um_per_pixel: float) -> float | None:
    """A scale in micrometres per pixel; None if it is none that a frame can have."""
    return um_per_pixel if math.isfinite(um_per_pixel) and 0 < um_per_pixel <= FAR_UM else None


@dataclass(slots=True)
class _Foot:
    """A frame that has a place, while later reports may still change it."""

    row: FramePlace
    count: int
    part: int
    x: float
    y: float
    highest: int
    """The highest number of a cell of this count that it shows."""

    def footprint(self, part: int) -> Footprint | None:
        """None if it can be none."""
        scale = scale_of(self.row.um_per_pixel)
        if scale is None:
            return None
        width, height = self.row.width * scale, self.row.height * scale
        if not all(map(math.isfinite, (self.x, self.y))) or max(abs(self.x), abs(self.y)) > FAR_UM:
            return None
        fits = 0 < width <= FAR_UM and 0 < height <= FAR_UM
        return Footprint(self.row.frame_id, part, self.x, self.y, width, height, scale) if fits else None


@dataclass(slots=True)
class _Walk:
    """The reports of one outbox, followed in their order."""

    feet: list[_Foot] = field(default_factory=list)
    count: int = 0
    name: str = ""
    """`count_id` of the count; empty until a cell names it."""
    begun: bool = False
    """Whether this count has a frame with a place."""

    def see(self, row: FramePlace) -> None:
        """Follow one more report."""
        self._note_count(row)
        if row.joined and row.position:
            for foot in self.feet:
                if (foot.count, foot.part) == (self.count, row.joined.part):
                    foot.part, foot.x, foot.y = row.position.part, foot.x + row.joined.x, foot.y + row.joined.y
        if first := cell_number(row.withdraws):
            self._take_back(first.number)
        if row.position:
            self.begun = True
            highest = max((cell.number for cell in map(cell_number, row.object_ids) if cell), default=0)
            place = row.position
            self.feet.append(_Foot(row, self.count, place.part, place.x, place.y, highest))

    def _note_count(self, row: FramePlace) -> None:
        """A count is named by its cells, and begins with the first frame of its first part."""
        named = next((cell.count_id for cell in map(cell_number, (*row.object_ids, row.withdraws)) if cell), "")
        if (named and self.name and named != self.name) or (self.begun and row.position and _is_first(row.position)):
            self.count, self.name, self.begun = self.count + 1, "", False
        self.name = named or self.name

    def _take_back(self, number: int) -> None:
        """The frames since the first that shows such a cell were judged before the scale was seen to be wrong."""
        here = [foot for foot in self.feet if foot.count == self.count]
        gone = next((k for k, foot in enumerate(here) if foot.highest >= number), len(here))
        taken = {id(foot) for foot in here[gone:]}
        self.feet = [foot for foot in self.feet if id(foot) not in taken]


def _walked(rows: Iterable[FramePlace]) -> list[_Foot]:
    """The frames of one outbox that have a place, with what later reports make of it."""
    walk = _Walk()
    for row in sorted(rows, key=lambda row: row.seq):
        walk.see(row)
    return walk.feet


def _is_first(place: Position) -> bool:
    return place.part == 1 and not place.confidence and not place.x and not place.y
