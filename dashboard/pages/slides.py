"""The pages of slides: which there are, and all that is known of one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any, NamedTuple

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import queries
from collector.picture_rows import pictures_of
from collector.queries import SlideRow
from dashboard.exports.pdf import can_make_pdf
from dashboard.exports.review_summary import ReviewSummary, verdicts_of
from dashboard.exports.slide_facts import corrected, counted_words, scale_words
from dashboard.pages.charts import course, histogram
from dashboard.pages.signed import read_slides
from dashboard.pages.slide_map import slide_map
from dashboard.pages.visit import Visit, page
from dashboard.paths import path_of
from dashboard.records import Counts, SlideCell, SlideKey, SlideRecord, Tally
from dashboard.security.roles import may

AT_ONCE = 120
"""Cells of the gallery that are sent together; the page asks for more as it is scrolled."""
MOST_SLIDES = 500
"""Slides in a list; a search narrows it."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a list of slides is narrowed to; what is empty narrows nothing."""

    words: str = ""
    model: str = ""
    reviewer: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, visit: Visit) -> "Search":
        """As the address of the page says it."""
        asked = visit.request.query_params
        return cls(*(asked.get(field.name, "").strip()[:80] for field in fields(cls)))

    def finds(self, row: SlideRow) -> bool:
        """Whether a slide is one that is looked for."""
        names = f"{row.slide_id} {row.site}/{row.device}".lower()
        day = f"{row.received_at:%Y-%m-%d}"
        summary = row.summary
        model = summary.model.id if summary else ""
        return (
            all(word in names for word in self.words.lower().split())
            and self.model.lower() in model.lower()
            and (not self.since or day >= self.since)
            and (not self.until or day <= self.until)
        )


class Found(NamedTuple):
    """A slide that was looked for: the newest summary of its newest count, and how many counts it has."""

    row: SlideRow
    summaries: int

    @property
    def key(self) -> SlideKey:
        """Which slide."""
        return SlideKey(self.row.site, self.row.device, self.row.slide_id)


class Listed(NamedTuple):
    """A slide in a list; ``tally`` is None if its only summary has another form."""

    row: SlideRow
    tally: Tally | None


async def found_slides(visit: Visit, search: Search) -> list[Found]:
    """The slides that are looked for; newest first."""

    def found(connection: sa.Connection) -> list[Found]:
        newest: dict[SlideKey, Found] = {}
        for row in queries.slides(connection):
            key = SlideKey(row.site, row.device, row.slide_id)
            newest[key] = Found(row, newest[key].summaries + 1 if key in newest else 1)
        slides = [one for one in newest.values() if search.finds(one.row)]
        return sorted(slides, key=lambda one: one.row.received_at, reverse=True)

    slides = await visit.web.ask(found)
    if not search.reviewer:
        return slides
    read = await read_by(visit, search.reviewer)
    return [one for one in slides if one.key in read]


async def listed_slides(visit: Visit, slides: Sequence[Found]) -> list[Listed]:
    """Slides with their cells counted as their pages count them: of several counts all that counts of them."""

    def tallied(connection: sa.Connection) -> list[Listed]:
        return [Listed(one.row, _tally(visit, connection, one)) for one in slides]

    return await visit.web.ask(tallied)


def _tally(visit: Visit, connection: sa.Connection, one: Found) -> Tally | None:
    if one.summaries > 1:
        return visit.web.tally(connection, one.key)
    summary = one.row.summary
    return Tally(Counts.said_by(summary), 1) if summary else None


@page()
async def listed(visit: Visit) -> Response:
    """The slides, newest first."""
    search = Search.of(visit)
    found = await found_slides(visit, search)
    rows = await listed_slides(visit, found[:MOST_SLIDES])
    read = await read_slides(visit, [one.key for one in found[:MOST_SLIDES]])
    rows_read = [(one, tally, read.get(shown.key)) for shown, (one, tally) in zip(found, rows, strict=False)]
    return visit.page("slides", rows=rows_read, count=len(found), search=search)


async def read_by(visit: Visit, words: str) -> set[SlideKey]:
    """The slides of which somebody whose name has these words holds or has signed a reading."""
    slides = await run_in_threadpool(visit.web.reviews.reviewed_slides)
    people = {slide.key: [person for _, person in (*slide.holders, *slide.signed)] for slide in slides}
    return {key for key, names in people.items() if any(words.lower() in name.lower() for name in names)}


@page()
async def one(visit: Visit) -> Response:
    """A slide: its counts, course and refused frames, and its cells by suspicion."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    ordered = by_suspicion(record.cells)
    begin = _place_of(record, ordered, visit.request.query_params.get("cell", "")) // AT_ONCE * AT_ONCE
    shown = ordered[begin : begin + AT_ONCE]
    facts = await _now(visit, record)
    review: ReviewSummary | None = facts["review"]
    verdicts = verdicts_of(review)
    return visit.page(
        "slide",
        **facts,
        refused=refused_by(record),
        histogram=histogram(record.cells, visit.texts),
        course=course(record.cells, visit.texts),
        map=await run_in_threadpool(slide_map, record, ordered, visit.texts, verdicts),
        cells=shown,
        verdicts=verdicts,
        pictured=await pictured(visit, shown),
        more=begin + AT_ONCE < len(ordered),
        at_once=AT_ONCE,
        start=begin,
        device=record.key.device,
        pdf=can_make_pdf(),
    )


async def _now(visit: Visit, record: SlideRecord) -> dict[str, Any]:
    """What a slide's page asks for again and again: the counts, and what people say."""
    version = await run_in_threadpool(visit.web.reviews.version, record.key)
    return {
        "record": record,
        "summary": record.summaries[-1] if record.summaries else None,
        "counts": record.counts,
        "recounted": counted_words(record, visit.texts),
        "corrected": corrected(record),
        "scale": scale_words(record, visit.texts),
        "base": base_of(record.key),
        "review": await visit.web.review(record, visit.name, may_review=may(visit.role, "reviewer")),
        "version": f"{record.version.upto} {record.version.heard_at} {version}",
        "as_of": visit.web.watcher.now(),
    }


@page()
async def now(visit: Visit) -> Response:
    """A slide's counts as they are now, as a part of its page."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    return HTMLResponse(visit.part("slide_now", **await _now(visit, record)))


@page()
async def gallery(visit: Visit) -> Response:
    """More of a slide's cells, as a part of its page."""
    record = await visit.web.slide(key_of(visit))
    start = visit.request.query_params.get("from", "0")
    if record is None or not start.isdecimal():
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    begin = min(int(start[:9]), len(record.cells))
    cells = by_suspicion(record.cells)[begin : begin + AT_ONCE]
    values = {"cells": cells, "pictured": await pictured(visit, cells), "start": begin, "base": base_of(record.key)}
    values["device"] = record.key.device
    review = await visit.web.review(record, visit.name, may_review=may(visit.role, "reviewer"))
    values["verdicts"] = verdicts_of(review)
    more = begin + AT_ONCE < len(record.cells)
    return HTMLResponse(visit.part("cells", **values, more=more, at_once=AT_ONCE))


def _place_of(record: SlideRecord, ordered: Sequence[SlideCell], name: str) -> int:
    """Where a cell stands that is looked for by a name that it has, or had; 0 where there is none."""
    now = record.renamed.get(name, name)
    return next((place for place, cell in enumerate(ordered) if cell.object_id == now), 0) if name else 0


def key_of(visit: Visit) -> SlideKey:
    """Which slide the address names."""
    named = visit.request.path_params
    return SlideKey(named["site"], named["device"], named["slide"])


def base_of(key: SlideKey) -> str:
    """The address of a slide's page."""
    return path_of("slides", *key)


def by_suspicion(cells: Sequence[SlideCell]) -> list[SlideCell]:
    """The highest probability of a blast first; cells that no frame shows whole come last."""
    return sorted(cells, key=lambda c: (1.0 if c.probability is None else -c.probability, c.cell_id))


def refused_by(record: SlideRecord) -> list[tuple[str, int]]:
    """Each reason for which frames were refused, and how often."""
    return Counter(reason for frame in record.refused for reason in frame.reasons).most_common()


async def pictured(visit: Visit, cells: Sequence[SlideCell]) -> set[str]:
    """Which of these cells have a picture in the store, by `cell_id`."""
    names, device = [cell.cell_id for cell in cells], key_of(visit).device
    return await visit.web.ask(lambda connection: pictures_of(connection, names, device=device))


ROUTES = [
    Route("/slides", listed),
    Route("/slides/{site}/{device}/{slide}", one),
    Route("/slides/{site}/{device}/{slide}/cells", gallery),
    Route("/slides/{site}/{device}/{slide}/now", now),
]
