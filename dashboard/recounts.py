"""What counts of a slide that was read more than once: the one rule of lists, pages, exports and comparisons.

An agent keeps the cells of a slide in its memory alone (`agent/slides`). One that starts again amid a slide, or takes
up another model, goes on under the same pseudonym with another count, in which it knows no cell from before. So

- all counts of a slide are one slide: what was read before the restart is not lost;
- a picture that another count has read again, as of a folder that an agent read again, counts once: by its latest
  reading that was judged, or, if none was, by its latest. It is known by its name and its time of capture. A camera
  never gives the same picture twice. Within a count every frame stands: there the agent itself knows which cells it
  has seen.

A cell that a camera showed to two counts stands twice, for each count measures places from a corner of its own, and
nothing that is stored tells that it is one. Pages and exports say so.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import NamedTuple

from collector.queries import CellRow, FrameRow
from contract.amendments import cell_number

ReportKey = tuple[str, int]
"""Epoch and number of a report of one device."""


class Picture(NamedTuple):
    """By what a picture is known: its name, and when it was taken."""

    source: str
    captured_at: datetime

    @classmethod
    def of(cls, frame: FrameRow) -> "Picture":
        """The picture that a report speaks of."""
        return cls(frame.source, frame.captured_at)


class Counted(NamedTuple):
    """What counts of the reports of a slide.

    Attributes:
        frames: those that count, in their order.
        cells: the cells in these.
        read_again: how many pictures were read more than once.
        renamed: each name that only cells of other readings have, with that of the cell in the same place of the same
            picture; None where there is none.
    """

    frames: tuple[FrameRow, ...]
    cells: tuple[CellRow, ...]
    read_again: int
    renamed: Mapping[str, str | None]


def latest(frames: Iterable[FrameRow]) -> dict[Picture, FrameRow]:
    """Of each picture the latest reading that was judged, or, if none was, the latest."""
    found: dict[Picture, FrameRow] = {}
    for frame in frames:
        known = found.get(Picture.of(frame))
        if known is None or _goes_before(frame, known):
            found[Picture.of(frame)] = frame
    return found


def counted(frames: Sequence[FrameRow], cells: Sequence[CellRow]) -> Counted:
    """What counts of one slide of one device.

    Args:
        frames: of all its reports.
        cells: of all its reports, as later ones leave them.
    """
    counts = _counts(frames, cells)
    best = latest(frames)
    again = [frame for frame in frames if counts[_key(frame)] != counts[_key(best[Picture.of(frame)])]]
    if not again:
        return Counted(tuple(frames), tuple(cells), 0, {})
    gone = set(map(_key, again))
    return Counted(
        tuple(frame for frame in frames if _key(frame) not in gone),
        tuple(cell for cell in cells if _key(cell) not in gone),
        len(set(map(Picture.of, again))),
        _renamed(frames, cells, gone),
    )


def name_of(cell: CellRow) -> str:
    """Of a cell on its slide; that of its only view where a report names none."""
    return cell.object_id or cell.cell_id


def _goes_before(frame: FrameRow, other: FrameRow) -> bool:
    """Whether a reading of a picture counts in place of another one.

    Reports that were rescued come late: within an outbox the number of a report says which is later.
    """
    if frame.accepted != other.accepted:
        return frame.accepted
    return frame.seq > other.seq if frame.epoch == other.epoch else frame.id > other.id


def _counts(frames: Iterable[FrameRow], cells: Iterable[CellRow]) -> dict[ReportKey, str]:
    """The count that each report belongs to: its cells are named by it; one without cells is of the count before it.

    A run of the agent begins the names of its frames, and its counts follow each other.
    """
    named = {_key(cell): found.count_id for cell in cells if (found := cell_number(cell.object_id))}
    current: dict[tuple[str, str], str] = {}
    counts = {}
    for frame in sorted(frames, key=lambda frame: frame.seq):
        run = frame.epoch, frame.frame_id.rpartition("-")[0]
        current[run] = named.get(_key(frame)) or current.get(run) or run[1]
        counts[_key(frame)] = current[run]
    return counts


def _renamed(
    frames: Iterable[FrameRow], cells: Iterable[CellRow], gone: AbstractSet[ReportKey]
) -> Mapping[str, str | None]:
    """As ``Counted`` has it. A cell is the same where its box is: boxes are found before a model is asked."""
    pictures = {_key(frame): Picture.of(frame) for frame in frames}
    places = [((pictures.get(_key(c)), c.x, c.y, c.width, c.height), c) for c in cells]
    here = {place: name_of(cell) for place, cell in places if _key(cell) not in gone}
    names = set(here.values())
    found: dict[str, str | None] = {}
    for place, cell in places:
        if (name := name_of(cell)) not in names:
            found[name] = here.get(place) or found.get(name)
    return found


def _key(row: FrameRow | CellRow) -> ReportKey:
    return row.epoch, row.seq
