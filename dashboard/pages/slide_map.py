"""The map of a slide: its frames and cells where the stage saw them, of bounded size, and what must be known of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from markupsafe import Markup

from contract.labels import Label
from dashboard.pages.map_drawing import MOST_MARKS, Spot, drawn
from dashboard.pages.map_layout import Extent, sheet_of
from dashboard.places import Footprint
from dashboard.records import Counts, SlideCell, SlideRecord
from dashboard.texts import Texts

MOST_DOTS, MOST_ABOVE = 1000, 200
"""Cells that are drawn as dots of their own; of more, the dots that stand on the squares that sum them up."""
MOST_FRAMES, MOST_PARTS = 2000, 120
"""Outlines of frames, and parts of a slide, that are drawn."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of the map in words."""

    number: int
    frames: int
    counts: Counts
    width_mm: float
    height_mm: float


@dataclass(frozen=True, slots=True)
class SlideMap:
    """A map for a page.

    Attributes:
        svg: the drawing; None where there is none.
        words: why there is none, or what must be known of what is drawn.
        parts: the same as the drawing, for who does not see it.
        binned: whether cells are summed up in squares.
        corrected: whether a dot stands for a cell that people call something else.
    """

    svg: Markup | None
    words: tuple[str, ...]
    parts: tuple[PartRow, ...] = ()
    binned: bool = False
    corrected: bool = False


class _Chosen(NamedTuple):
    """What of a slide is drawn.

    Attributes:
        every_part: how many parts the slide has.
        parts: how many are drawn.
        frames: those in the parts that are drawn.
        placed: how many cells have a place.
        spots: those in the parts that are drawn, the most suspicious first.
    """

    every_part: int
    parts: int
    frames: list[Footprint]
    placed: int
    spots: list[Spot]

    @property
    def outlined(self) -> Sequence[Footprint]:
        """The frames that are outlined."""
        return self.frames[:: -(-len(self.frames) // MOST_FRAMES)]

    @property
    def binned(self) -> bool:
        """Whether there are too many cells for dots of their own."""
        return len(self.spots) > MOST_DOTS


def slide_map(
    record: SlideRecord,
    suspicious: Sequence[SlideCell],
    texts: Texts,
    verdicts: Mapping[str, str] = MappingProxyType({}),
) -> SlideMap:
    """Draw the map of a slide.

    Args:
        record: the slide.
        suspicious: its cells, the most suspicious first.
        texts: of the language.
        verdicts: what people call cells, as far as who looks may see it, by ``object_id``.
    """
    if not record.layout.footprints:
        return SlideMap(None, (_why_none(record, texts),))
    chosen = _chosen(record.layout.footprints, suspicious, verdicts)
    extents = _extents(chosen.frames)
    sheet = sheet_of(extents, frame_width=max(frame.width for frame in chosen.frames))
    dots = chosen.spots[:MOST_ABOVE] if chosen.binned else chosen.spots
    title = texts.get("map.title", frames=len(chosen.frames), cells=len(chosen.spots), parts=chosen.parts)
    svg = drawn(
        sheet,
        title,
        frames=chosen.outlined,
        dots=dots,
        summed=chosen.spots if chosen.binned else (),
        refused=len(record.refused),
        texts=texts,
    )
    return SlideMap(
        svg,
        tuple(_words(record, chosen, texts)),
        _rows(chosen, extents),
        chosen.binned,
        any(spot.is_corrected for spot in dots),
    )


def _why_none(record: SlideRecord, texts: Texts) -> str:
    if record.layout.astray:
        return texts.get("map.none_far")
    return texts.get("map.none_said" if record.frames > len(record.refused) else "map.none_judged")


def _chosen(frames: Sequence[Footprint], cells: Sequence[SlideCell], verdicts: Mapping[str, str]) -> _Chosen:
    """The parts with the most cells, and then frames, at most ``MOST_PARTS``."""
    spots = _spots(frames, cells, verdicts)
    of_cells, of_frames = Counter(spot.part for spot in spots), Counter(frame.part for frame in frames)
    parts = set(sorted(of_frames, key=lambda part: (-of_cells[part], -of_frames[part], part))[:MOST_PARTS])
    return _Chosen(
        len(of_frames),
        len(parts),
        [frame for frame in frames if frame.part in parts],
        len(spots),
        [spot for spot in spots if spot.part in parts],
    )


def _spots(frames: Sequence[Footprint], cells: Sequence[SlideCell], verdicts: Mapping[str, str]) -> list[Spot]:
    """The cells whose frame has a place, in their order; a box whose middle lies beside its frame has none."""
    known = {frame.frame_id: frame for frame in frames}
    found = []
    for cell in cells:
        frame = known.get(cell.frame_id)
        if frame is None:
            continue
        x = (cell.box.x + cell.box.width / 2) * frame.um_per_pixel
        y = (cell.box.y + cell.box.height / 2) * frame.um_per_pixel
        if 0 <= x <= frame.width and 0 <= y <= frame.height:
            found.append(Spot(cell, frame.part, frame.x + x, frame.y + y, verdicts.get(cell.object_id, "")))
    return found


def _extents(frames: Sequence[Footprint]) -> list[Extent]:
    """The rectangle of each part, in the order of their numbers."""
    parts = defaultdict[int, list[Footprint]](list)
    for frame in frames:
        parts[frame.part].append(frame)
    return [
        Extent(
            part,
            min(one.x for one in parts[part]),
            min(one.y for one in parts[part]),
            max(one.x + one.width for one in parts[part]),
            max(one.y + one.height for one in parts[part]),
        )
        for part in sorted(parts)
    ]


def _rows(chosen: _Chosen, extents: Sequence[Extent]) -> tuple[PartRow, ...]:
    of_frames = Counter(frame.part for frame in chosen.frames)
    labels = defaultdict[int, list[Label]](list)
    for spot in chosen.spots:
        labels[spot.part].append(spot.cell.label)
    return tuple(
        PartRow(one.part, of_frames[one.part], Counts.of(labels[one.part]), one.width / 1000, one.height / 1000)
        for one in extents
    )


def _words(record: SlideRecord, chosen: _Chosen, texts: Texts) -> list[str]:
    """What must be known of what is drawn, and of what is not."""
    said = [texts.get("map.parts", count=chosen.every_part)] if chosen.every_part > 1 else []
    if chosen.binned:
        said.append(texts.get("map.binned", count=len(chosen.spots), above=MOST_ABOVE))
    if chosen.parts < chosen.every_part:
        missing = chosen.every_part - chosen.parts
        said.append(texts.get("map.left_out", count=missing, cells=chosen.placed - len(chosen.spots)))
    if len(chosen.outlined) < len(chosen.frames):
        said.append(texts.get("map.thinned", count=len(chosen.outlined), frames=len(chosen.frames)))
    if otherwise := sum(spot.is_corrected for spot in chosen.spots):
        said.append(texts.get("map.corrected", count=otherwise) + ".")
    for key, count in (
        ("map.unplaced", len(record.cells) - chosen.placed),
        ("map.astray", record.layout.astray),
        ("map.refused_many" if len(record.refused) > MOST_MARKS else "map.refused", len(record.refused)),
    ):
        said += [texts.get(key, count=count, most=MOST_MARKS)] if count else []
    return said
