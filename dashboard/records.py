"""What is known of a slide, as values: what pages, reviews and exports are made of.

A slide is what one device has reported under one pseudonym: every count of it, as ``dashboard.recounts`` has it, for an
agent that starts again amid a slide begins another. Each cell stands once, by all its views.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from collector import layouts, queries, tables
from collector.places import FramePlace, places
from collector.queries import CellRow, FrameRow
from contract.amendments import cell_number
from contract.labels import LABELS, Label
from contract.messages import Interval, Join, SlideSummary
from contract.shares import wilson
from contract.views import Together, said_by, together
from dashboard.places import Layout, layout_of, scale_of
from dashboard.recounts import counted, name_of


class SlideKey(NamedTuple):
    """Which slide: the laboratory, the microscope, and the slide's pseudonym."""

    site: str
    device: str
    slide_id: str


class Box(NamedTuple):
    """Where a cell lies, in pixels of the frame as captured."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SlideCell:
    """A cell of a slide, once, by all its views.

    Attributes:
        object_id: its name on the slide, never used again on this device; the name of its only view where a report
            names none.
        cell_id: its best view, by which its picture is known.
        frame_id: the frame of that view.
        captured_at: when that frame was taken, UTC.
        box: in that frame.
        area_um2: of the whole cell in square micrometres.
        label: what all its whole views together are called.
        probability: of a blast, by all its whole views together; None if no frame shows it whole.
        flags: of its best view, of the message ``CellReport``.
        views: how many frames show it.
        model_id: of the model that judged its best view.
        um_per_pixel: scale of that frame; None where its report says none.
    """

    object_id: str
    cell_id: str
    frame_id: str
    captured_at: datetime
    box: Box
    area_um2: float
    label: Label
    probability: float | None
    flags: tuple[str, ...]
    views: int
    model_id: str = ""
    um_per_pixel: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedFrame:
    """A frame that was not judged, and why not."""

    frame_id: str
    source: str
    captured_at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cells are called what.

    Attributes:
        fraction: blasts among the cells called normal or blast; None if there are none.
        interval: Wilson's for that share; None if there are none.
    """

    normal: int = 0
    blast: int = 0
    uncertain: int = 0
    not_judged: int = 0

    @classmethod
    def of(cls, labels: Iterable[Label]) -> "Counts":
        """Count labels."""
        found = dict.fromkeys(LABELS, 0)
        for label in labels:
            found[label] += 1
        return cls(**found)

    @classmethod
    def said_by(cls, summary: SlideSummary) -> "Counts":
        """Those of one count, as its agent says."""
        return cls(summary.normal, summary.blasts, summary.uncertain, summary.not_judged)

    @property
    def cells(self) -> int:
        """All of them."""
        return self.normal + self.blast + self.uncertain + self.not_judged

    @property
    def fraction(self) -> float | None:
        """The share of blasts."""
        judged = self.normal + self.blast
        return self.blast / judged if judged else None

    @property
    def interval(self) -> Interval | None:
        """Its interval."""
        return wilson(self.blast, self.normal + self.blast)


class Tally(NamedTuple):
    """How many cells a slide has, of how many counts, and the hash of their names and labels where it is known."""

    counts: Counts
    of: int
    sha256: str = ""


class Version(NamedTuple):
    """How new a slide's record is: number of its last row, and when its newest summary came."""

    upto: int
    heard_at: datetime | None


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """All that is stored of a slide.

    Attributes:
        key: which one.
        summaries: the newest summary of each count, in their order; none where no summary came.
        cells: each once, in the order in which they were first seen.
        frames: how many frames were reported; a picture that another count has read again is one.
        refused: of these, those that were not judged.
        models: `id` of each model whose judgement counts, in their order.
        engines: inference engine and precision of each, in their order.
        first_at: when the first frame was taken, UTC; None where there is none.
        last_at: when the last was.
        upto: number of the last row that was read: a record with a higher one is newer.
        heard_at: when the newest summary came.
        renamed: each name that a cell had in earlier reports and has no longer, with the one that it has now; None
            if the cell was taken back, or is not in the latest reading of its picture.
        joined: of each cell that was taken for several, number of the last row that says so: a record that reaches
            it has the cell as one.
        read_again: how many pictures were read more than once.
        ever_judged: `id` of each model that has judged a picture, whether that still counts or not.
        scales: micrometres per pixel of the frames that count, each once, the most frequent first.
        layout: where the frames that were judged lie.
    """

    key: SlideKey
    summaries: tuple[SlideSummary, ...]
    cells: tuple[SlideCell, ...]
    frames: int
    refused: tuple[RefusedFrame, ...]
    models: tuple[str, ...]
    engines: tuple[str, ...]
    first_at: datetime | None
    last_at: datetime | None
    upto: int
    heard_at: datetime | None = None
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    joined: Mapping[str, int] = field(default_factory=dict)
    read_again: int = 0
    ever_judged: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    layout: Layout = field(default_factory=Layout)

    @property
    def standing(self) -> tuple[SlideSummary, ...]:
        """The summaries of the counts that have cells here; the newest where none has."""
        named = {number.count_id for cell in self.cells if (number := cell_number(cell.object_id))}
        return tuple(one for one in self.summaries if one.count_id in named) or self.summaries[-1:]

    @property
    def counts(self) -> Counts:
        """By what the model calls the cells."""
        return Counts.of(cell.label for cell in self.cells)

    @property
    def version(self) -> "Version":
        """Changes whenever something is stored of the slide; see ``version_of``."""
        return Version(self.upto, self.heard_at)

    @property
    def is_open(self) -> bool:
        """Whether cells may still be added."""
        return bool(self.summaries) and self.summaries[-1].state == "open"


def version_of(connection: sa.Connection, key: SlideKey) -> Version:
    """How new what is stored of a slide is; costs little."""
    report, slide = tables.report.c, tables.slide.c
    upto = sa.select(sa.func.max(report.id)).where(report.slide_id == key.slide_id, *_only(report, key))
    heard = sa.select(sa.func.max(slide.received_at)).where(slide.slide_id == key.slide_id, *_only(slide, key))
    at: datetime | None = connection.scalar(heard)
    return Version(connection.scalar(upto) or 0, at if at is None or at.tzinfo else at.replace(tzinfo=timezone.utc))


def widths_of(connection: sa.Connection, frame_ids: Iterable[str], *, device: str) -> dict[str, int]:
    """The width of each of these frames as captured, in pixels: boxes are in these."""
    report = tables.report.c
    wanted = sa.select(report.frame_id, report.body).where(
        report.device == device, report.frame_id.in_(list(frame_ids))
    )
    widths: dict[str, int] = {}
    for frame_id, body in connection.execute(wanted):
        with suppress(ValueError, KeyError, TypeError):  # damage to the file
            widths[frame_id] = int(json.loads(body)["frame"]["width"])
    return widths


def _only(columns: "sa.sql.base.ReadOnlyColumnCollection[str, Any]", key: SlideKey) -> list[sa.ColumnElement[bool]]:
    return [columns.site == key.site, columns.device == key.device]


def slide_record(connection: sa.Connection, key: SlideKey) -> SlideRecord | None:
    """Read a slide; None if nothing is stored of it.

    Args:
        connection: to the collector's store, see ``collector.queries.reading``.
        key: which slide.
    """
    every = [row for row in queries.frames(connection, key.slide_id) if (row.site, row.device) == key[:2]]
    rows = [row for row in queries.cells(connection, key.slide_id) if (row.site, row.device) == key[:2]]
    told = [row for row in queries.slides(connection, key.slide_id) if (row.site, row.device) == key[:2]]
    if not (every or told):
        return None
    found = counted(every, rows)
    frames = found.frames
    taken = [row.captured_at for row in frames]
    renamed = _renamed(connection, key, found.renamed)
    where = [row for row in places(connection, key.slide_id) if (row.site, row.device) == key[:2]]
    scales = _scales(where, frames)
    return SlideRecord(
        key=key,
        summaries=tuple(row.summary for row in told if row.summary),
        cells=_cells(found.cells, {row.frame_id: row.model_id for row in frames}, scales),
        frames=len(frames),
        refused=tuple(_refused(row) for row in frames if not row.accepted),
        models=tuple(dict.fromkeys(row.model_id for row in frames)),
        engines=tuple(dict.fromkeys(row.engine for row in frames)),
        first_at=min(taken, default=None),
        last_at=max(taken, default=None),
        upto=max((row.id for row in every), default=0),
        heard_at=max((row.received_at for row in told), default=None),
        renamed=renamed,
        joined=_joined(connection, key, renamed) if renamed else {},
        read_again=found.read_again,
        ever_judged=tuple(dict.fromkeys(row.model_id for row in every)),
        scales=tuple(scale for scale, _ in Counter(scales.values()).most_common()),
        layout=layout_of(where, {row.frame_id for row in frames if row.accepted}),
    )


def _scales(where: Iterable[FramePlace], frames: Iterable[FrameRow]) -> dict[str, float]:
    """The scale of each of these frames that has one, by its id."""
    counting = {row.frame_id for row in frames}
    said = ((row.frame_id, scale_of(row.um_per_pixel)) for row in where if row.frame_id in counting)
    return {name: scale for name, scale in said if scale is not None}


def _joined(connection: sa.Connection, key: SlideKey, renamed: Mapping[str, str | None]) -> dict[str, int]:
    """See ``SlideRecord.joined``; of rows that a collector of an earlier layout has stored nothing."""
    report = tables.report.c
    if layouts.layout_of(connection) < report.joined.info[tables.SINCE]:
        return {}
    wanted = sa.select(report.id, report.joined).where(report.joined.is_not(None), report.slide_id == key.slide_id)
    found: dict[str, int] = {}
    for number, joined in connection.execute(wanted.where(*_only(report, key)).order_by(report.id)):
        with suppress(ValidationError):  # damage to the file
            same = Join.model_validate_json(joined).same
            found |= {now: number for gone in same if (now := renamed.get(gone)) is not None}
    return found


def _refused(row: FrameRow) -> RefusedFrame:
    return RefusedFrame(row.frame_id, row.source, row.captured_at, row.reasons)


def _renamed(connection: sa.Connection, key: SlideKey, later: Mapping[str, str | None]) -> dict[str, str | None]:
    """Names that cells have no longer: by what reports say of earlier ones, and then by what was read again."""
    amended = {
        row.object_id: row.now for row in queries.renamed(connection, key.slide_id) if (row.site, row.device) == key[:2]
    }
    return {old: None if now is None else later.get(now, now) for old, now in amended.items()} | dict(later)


def _cells(rows: Sequence[CellRow], models: Mapping[str, str], scales: Mapping[str, float]) -> tuple[SlideCell, ...]:
    views = defaultdict[str, list[CellRow]](list)
    for row in rows:
        views[name_of(row)].append(row)
    said = said_by(rows)
    found = ((name, together(seen, said), len(seen)) for name, seen in views.items())
    return tuple(_cell(name, cell, views, models, scales) for name, cell, views in found)


def _cell(
    name: str, cell: Together[CellRow], views: int, models: Mapping[str, str], scales: Mapping[str, float]
) -> SlideCell:
    best, probability, label = cell
    return SlideCell(
        object_id=name,
        cell_id=best.cell_id,
        frame_id=best.frame_id,
        captured_at=best.captured_at,
        box=Box(best.x, best.y, best.width, best.height),
        area_um2=best.area_um2,
        label=label,
        probability=probability,
        flags=best.flags,
        views=views,
        model_id=models.get(best.frame_id, ""),
        um_per_pixel=scales.get(best.frame_id),
    )
