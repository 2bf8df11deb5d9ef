"""What the page knows, for programs: JSON as ``openapi`` describes it."""

import dataclasses
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collector.queries import SlideRow
from contract.messages import BoxReport
from dashboard.exports.review_summary import ReviewSummary, final_label
from dashboard.live.fleet import Agent
from dashboard.pages import openapi
from dashboard.pages.data_forms import (
    AgentSaid,
    AgentsSaid,
    Asked,
    CellSaid,
    CellsSaid,
    CountsSaid,
    Newness,
    Part,
    RefusedSaid,
    ReviewSaid,
    SignatureSaid,
    SlideListed,
    SlideSaid,
    SlidesAsked,
    SlidesSaid,
)
from dashboard.pages.slides import Search, base_of, found_slides, key_of, listed_slides
from dashboard.pages.visit import Visit, page
from dashboard.records import Counts, SlideCell, SlideRecord, Tally
from dashboard.security.roles import may

Form = TypeVar("Form", bound=Asked)


@page()
async def agents(visit: Visit) -> Response:
    """How every agent is."""
    watcher = visit.web.watcher
    now = watcher.now()
    said = [_agent(agent, watcher.now()) for agent in watcher.agents()]
    return _answer(AgentsSaid(at=now, trouble=watcher.trouble, agents=said))


def _agent(agent: Agent, now: datetime) -> AgentSaid:
    age, rate = agent.frame_age_s(now), agent.rate(now)
    return AgentSaid(
        site=agent.key.site,
        device=agent.key.device,
        condition=agent.condition(now),
        heard_at=agent.heard_at,
        frame_age_s=None if age is None else round(age, 3),
        frames_per_s=None if rate is None else round(rate, 3),
        refused_in_turn=agent.refused,
        status=agent.status,
        health=agent.health,
        slide=agent.slide,
    )


@page()
async def slides(visit: Visit) -> Response:
    """The slides that are looked for."""
    asked = _asked(visit, SlidesAsked)
    if isinstance(asked, Response):
        return asked
    fields = {field.name: getattr(asked, field.name).strip() for field in dataclasses.fields(Search)}
    found = await found_slides(visit, Search(**fields))
    shown = await listed_slides(visit, found[asked.start : asked.start + asked.limit])
    following = _following("/data/slides", asked, len(found))
    return _answer(SlidesSaid(count=len(found), slides=[_listed(*one) for one in shown], next=following))


def _listed(row: SlideRow, tally: Tally | None) -> SlideListed:
    return SlideListed(
        site=row.site,
        device=row.device,
        slide_id=row.slide_id,
        received_at=row.received_at,
        counts=_counts(tally.counts) if tally else None,
        of_counts=tally.of if tally else 0,
        summary=row.summary,
    )


@page()
async def slide(visit: Visit) -> Response:
    """A slide without its cells."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return _missing(visit)
    review = await _reviewed(visit, record)
    said = SlideSaid(
        **record.key._asdict(),
        state=record.summaries[-1].state if record.summaries else None,
        first_at=record.first_at,
        last_at=record.last_at,
        frames=record.frames,
        refused=[RefusedSaid.model_validate(one, from_attributes=True) for one in record.refused],
        models=list(record.models),
        engines=list(record.engines),
        um_per_pixel=list(record.scales),
        of_counts=len(record.standing),
        read_again=record.read_again,
        counts=_counts(record.counts),
        reviewed=_review(review) if review else None,
        summaries=list(record.summaries),
        newness=_newness(record),
        cells=f"/data{base_of(record.key)}/cells",
    )
    return _answer(said)


def _counts(counts: Counts) -> CountsSaid:
    return CountsSaid.model_validate(counts, from_attributes=True)


def _review(review: ReviewSummary) -> ReviewSaid:
    return ReviewSaid(
        counts=_counts(review.counts) if review.counts else None,
        sealed=list(review.sealed),
        apart=dict(review.apart),
        kappa=review.kappa,
        signatures=[SignatureSaid.model_validate(one, from_attributes=True) for one in review.signatures],
        notes=list(review.notes),
    )


def _newness(record: SlideRecord) -> Newness:
    return Newness(upto=record.upto, heard_at=record.heard_at)


async def _reviewed(visit: Visit, record: SlideRecord) -> ReviewSummary | None:
    return await visit.web.review(record, visit.name, may_review=may(visit.role, "reviewer"))


@page()
async def cells(visit: Visit) -> Response:
    """Cells of a slide."""
    asked = _asked(visit, Part)
    if isinstance(asked, Response):
        return asked
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return _missing(visit)
    review = await _reviewed(visit, record)
    shown = record.cells[asked.start : asked.start + asked.limit]
    following = _following(f"/data{base_of(record.key)}/cells", asked, len(record.cells))
    said = CellsSaid(
        count=len(record.cells), newness=_newness(record), cells=[_cell(one, review) for one in shown], next=following
    )
    return _answer(said)


def _cell(cell: SlideCell, review: ReviewSummary | None) -> CellSaid:
    return CellSaid(
        object_id=cell.object_id,
        label_model=cell.label,
        label_reviewed=review.labels.get(cell.object_id) if review else None,
        label_final=final_label(cell, review),
        probability=cell.probability,
        area_um2=cell.area_um2,
        views=cell.views,
        flags=list(cell.flags),
        frame_id=cell.frame_id,
        captured_at=cell.captured_at,
        box=BoxReport(**cell.box._asdict()),
        picture_id=cell.cell_id,
        model_id=cell.model_id,
        um_per_pixel=cell.um_per_pixel,
    )


@page()
async def described(_visit: Visit) -> Response:
    """What these routes take and answer."""
    return JSONResponse(openapi.description())


def _asked(visit: Visit, form: type[Form]) -> Form | Response:
    """What the address asks for, or why it can not be asked."""
    try:
        return form.model_validate(dict(visit.request.query_params))
    except ValidationError as cause:
        fault = cause.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return JSONResponse({"error": f"{where}: {fault['msg']}"}, HTTPStatus.UNPROCESSABLE_ENTITY)


def _following(path: str, asked: Part, count: int) -> str | None:
    """The address of the part that follows."""
    start = asked.start + asked.limit
    rest = asked.model_dump(by_alias=True, exclude_defaults=True) | {"from": start}
    return f"{path}?{urlencode(rest)}" if start < count else None


def _missing(visit: Visit) -> Response:
    return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)


def _answer(said: BaseModel) -> Response:
    return Response(said.model_dump_json(), media_type="application/json")


ROUTES = [
    Route("/data/agents", agents),
    Route("/data/slides", slides),
    Route(openapi.SLIDE, slide),
    Route(f"{openapi.SLIDE}/cells", cells),
    Route("/data/openapi.json", described),
]
