"""The pages that set two side by side: two slides, and two models that have judged one slide."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from collector.picture_rows import pictures_of
from contract.labels import LABELS
from contract.messages import SlideSummary
from dashboard.exports.slide_facts import counted_words
from dashboard.history.difference import Difference, difference
from dashboard.history.flips import Comparison, Pair, compare
from dashboard.pages.charts import histogram
from dashboard.pages.slides import AT_ONCE, base_of, key_of, refused_by
from dashboard.pages.visit import Visit, page
from dashboard.records import Counts, SlideKey, SlideRecord
from dashboard.security.roles import may

SIDES = 2


def asked_for(visit: Visit) -> list[SlideKey]:
    """The slides that the address names, each `<site>/<device>/<slide>`; no word of a topic holds a stroke."""
    given = (name.split("/", 2) for name in visit.request.query_params.getlist("slide")[: SIDES + 1])
    return [SlideKey(*words) for words in given if len(words) == len(SlideKey._fields)]


def between(one: Counts, other: Counts) -> Difference | None:
    """By how much two shares of blasts differ."""
    return difference(one.blast, one.blast + one.normal, other.blast, other.blast + other.normal)


def judges(record: SlideRecord) -> list[SlideSummary]:
    """The newest summary of each count that has cells here, one for each model and engine."""
    found = {(one.model.id, one.model.sha256, one.model.engine): one for one in record.standing}
    return list(found.values())


async def _side(visit: Visit, record: SlideRecord) -> Mapping[str, Any]:
    """What a template needs of one slide."""
    return {
        "record": record,
        "base": base_of(record.key),
        "counts": record.counts,
        "recounted": counted_words(record, visit.texts),
        "review": await visit.web.review(record, visit.name, may_review=may(visit.role, "reviewer")),
        "refused": refused_by(record),
        "histogram": histogram(record.cells, visit.texts),
        "judges": judges(record),
    }


@page()
async def slides(visit: Visit) -> Response:
    """Two slides side by side."""
    keys = asked_for(visit)
    if len(keys) != SIDES or keys[0] == keys[1]:
        return visit.refusal(HTTPStatus.BAD_REQUEST, "refusal.two_slides", back="/slides")
    sides = []
    for key in keys:
        record = await visit.web.slide(key)
        if record is None:
            return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key.slide_id)
        sides.append(await _side(visit, record))
    corrected = between(*(_reviewed_counts(side) for side in sides)) if _corrected(sides) else None
    return visit.page(
        "compare",
        sides=sides,
        difference=between(sides[0]["counts"], sides[1]["counts"]),
        corrected=corrected,
    )


def _corrected(sides: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are counts with corrections, and of no slide a reading that is not to be seen yet."""
    reviews = [side["review"] for side in sides if side["review"]]
    return bool(reviews) and not any(one.sealed or one.counts is None for one in reviews)


def _reviewed_counts(side: Mapping[str, Any]) -> Counts:
    """By what people say; by the model where nobody has said anything."""
    counts: Counts = side["review"].counts if side["review"] else side["counts"]
    return counts


@page()
async def models(visit: Visit) -> Response:
    """What the models that have judged a slide have counted, and which cells two of them call something else."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    pair = _two_of(visit, record)
    found = await visit.web.ask(lambda connection: compare(connection, record.key, *pair)) if pair else None
    start = visit.request.query_params.get("from", "0")
    begin = int(start[:9]) if start.isdecimal() else 0
    shown = found.flips[begin : begin + AT_ONCE] if found else ()
    return visit.page(
        "models",
        record=record,
        base=base_of(record.key),
        found=found,
        recounted=counted_words(record, visit.texts),
        labels=LABELS,
        flips=shown,
        pictured=await _pictured(visit, record, shown),
        start=begin,
        next=_next(found, begin),
    )


def _two_of(visit: Visit, record: SlideRecord) -> tuple[str, str] | None:
    """The two models that are asked for, else the first two; None where only one has judged."""
    if len(record.ever_judged) < SIDES:
        return None
    asked = [visit.request.query_params.get(name, "") for name in ("before", "after")]
    known = all(one in record.ever_judged for one in asked) and asked[0] != asked[1]
    return (asked[0], asked[1]) if known else (record.ever_judged[0], record.ever_judged[1])


def _next(found: Comparison | None, begin: int) -> int | None:
    """Where the next part of the flips begins; None where there are no more."""
    return begin + AT_ONCE if found and begin + AT_ONCE < len(found.flips) else None


async def _pictured(visit: Visit, record: SlideRecord, flips: tuple[Pair, ...]) -> set[str]:
    """Which of these cells have a picture in the store, by `cell_id`."""
    names = [cell.cell_id for pair in flips for cell in (pair.before, pair.after)]

    def known(connection: sa.Connection) -> set[str]:
        return pictures_of(connection, names, device=record.key.device)

    return await visit.web.ask(known)


ROUTES = [
    Route("/compare", slides),
    Route("/slides/{site}/{device}/{slide}/models", models),
]
