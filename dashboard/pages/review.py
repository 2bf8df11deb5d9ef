"""The work of a person on a slide: which cells are on the screen, what is said of each, and the signature."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from collector.picture_rows import frame_pictures_of, pictures_of
from contract.labels import LABELS as ALL_LABELS
from dashboard.pages.slides import AT_ONCE, base_of, key_of
from dashboard.pages.visit import Visit, page, wants_json
from dashboard.records import SlideCell, SlideKey, SlideRecord, widths_of
from dashboard.reviews.agreement import agreement
from dashboard.reviews.events import Given, Kind, Reading, ReviewRefusedError, SlideLog, Verdict
from dashboard.reviews.likeness import by_likeness
from dashboard.reviews.progress import Order, ordered, progress
from dashboard.reviews.readings import Readings, visible
from dashboard.reviews.signing import check_signable
from dashboard.reviews.standing import final_labels, standing
from dashboard.security.roles import Role, may

MOST_LIKE = 2000
"""Cells among which those like one are looked for: each picture is read and measured once."""
LABELS = ("normal", "blast")
"""What a cell may be corrected to, beside the laboratory's classes."""
Plain = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""PostgreSQL takes no NUL."""
CallId = Field(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")


class One(BaseModel):
    """What the page says of one cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    object_id: Plain = Field(max_length=255)
    kind: Kind
    label: Plain = Field("", max_length=64)
    note: Plain = Field("", max_length=2000)


class Say(BaseModel):
    """One call of the page: verdicts that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reading: Reading
    call_id: str = CallId
    given: tuple[One, ...] = Field(min_length=1, max_length=2000)
    shown: tuple[str, ...] = Field((), max_length=2000)
    """Cells that have come onto the screen since the last call."""
    upto: int = Field(0, ge=0)
    """``SlideRecord.upto`` of what the page shows; 0: not known."""


class Show(BaseModel):
    """Cells that are on the screen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reading: Reading
    object_ids: tuple[Annotated[Plain, Field(max_length=255)], ...] = Field(max_length=2000)


class Held(BaseModel):
    """Cells that a page holds already; names that begin alike stand together, so that ten thousand are a short body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    held: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """How names end, by how they begin."""

    @property
    def names(self) -> frozenset[str]:
        """Of the cells."""
        return frozenset(begin + end for begin, ends in self.held.items() for end in ends)


class Seal(BaseModel):
    """A reading to sign, to release, or a signature to withdraw."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reading: Reading
    call_id: str = CallId
    signature: int = 0
    reason: Plain = Field("", max_length=2000)
    check: bool = False
    """Only hear whether the reading may be signed."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A slide as one person may see it."""

    record: SlideRecord
    log: SlideLog
    reading: Reading | None
    """Which reading the person holds, or `adjudication` where both are signed."""
    verdicts: Mapping[str, Verdict]
    """The person's own, by the cell's present name."""
    apart: Mapping[str, tuple[Verdict, ...]]
    """Verdicts that differ, and that the person may see, by the cell's present name."""
    left: Collection[str]
    """Those of these cells that nobody has settled."""


async def sight_of(visit: Visit) -> Sight | None:
    """What the person who asks may see of a slide; None if nothing is stored of it."""
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return None
    whole = await run_in_threadpool(visit.web.reviews.log, record.key)
    log = visible(whole, visit.name, may_review=may(visit.role, "reviewer"))
    readings, stands = Readings.of(log.acts), standing(record, log)
    if readings.both_signed:
        left = {name for name, final in final_labels(record, log).items() if final.source == "disputed"}
        return Sight(record, log, "adjudication", stands.adjudication.get(visit.name, {}), stands.apart, left)
    held = readings.held_by(visit.name)
    torn = stands.torn[held] if held else {}
    return Sight(record, log, held, stands.readings[held] if held else {}, torn, torn.keys())


@page("reviewer")
async def work(visit: Visit) -> Response:
    """The page where cells are reviewed."""
    seen = await sight_of(visit)
    if seen is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    readings = Readings.of(seen.log.acts)
    return visit.page(
        "review",
        **await _cards(visit, seen),
        record=seen.record,
        order=_order(visit, seen)[0],
        like=_order(visit, seen)[1],
        orders=get_args(Order),
        progress=await _progress(visit, seen),
        signatures=readings.signatures,
        holders=readings.holders,
        unsealed=visit.name in readings.unsealed,
        call_id=visit.web.call_id,
        agreement=agreement(seen.record, seen.log),
        classes=[*LABELS, *visit.web.settings.classes],
        called={name: visit.texts.word("label", name) for name in (*ALL_LABELS, *visit.web.settings.classes)},
    )


@page("reviewer")
async def more(visit: Visit) -> Response:
    """More cells of the page: those that come next of all that it does not hold."""
    seen = await sight_of(visit)
    if seen is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    try:
        held = Held.model_validate_json(await visit.request.body() or "{}").names
    except ValidationError as cause:
        return _malformed(cause)
    return HTMLResponse(visit.part("review_cards", **await _cards(visit, seen, held)))


async def _cards(visit: Visit, seen: Sight, held: Collection[str] = ()) -> dict[str, Any]:
    """What a template needs to show the next cells, in the order that is asked for, of those that a page does not hold.

    An offset would leave cells out: each verdict may change the order, and an open slide has ever more cells.
    """
    order, like = _order(visit, seen)
    cells = [cell for cell in await _in_order(visit, seen, order, like) if cell.object_id not in held]
    shown = cells[:AT_ONCE]
    device = seen.record.key.device

    def pictures(connection: sa.Connection) -> tuple[set[str], dict[str, int]]:
        found = pictures_of(connection, [cell.cell_id for cell in shown], device=device)
        framed = frame_pictures_of(connection, [cell.frame_id for cell in shown], device=device)
        return found, widths_of(connection, framed, device=device)

    of_cells, of_frames = await visit.web.ask(pictures)
    question = urlencode({"order": order, **({"like": like} if like else {})})
    return {
        "cells": shown,
        "verdicts": seen.verdicts,
        "apart": seen.apart,
        "left": seen.left,
        "torn": frozenset(name for torn in standing(seen.record, seen.log).torn.values() for name in torn),
        "pictured": of_cells,
        "framed": of_frames,
        "device": device,
        "base": base_of(seen.record.key),
        "reading": seen.reading,
        "next": f"{base_of(seen.record.key)}/review/cards?{question}" if len(cells) > AT_ONCE else "",
    }


def _order(visit: Visit, seen: Sight) -> tuple[Order, str]:
    """As it is asked for; who adjudicates looks first at what is to be settled."""
    asked = visit.request.query_params
    usual: Order = "to_do" if seen.reading == "adjudication" else "suspicion"
    order: Order = next((one for one in get_args(Order) if one == asked.get("order")), usual)
    name = asked.get("order", "")
    return order, (asked.get("like", "") or (name.removeprefix("like:") if name.startswith("like:") else ""))[:255]


async def _in_order(visit: Visit, seen: Sight, order: Order, like: str) -> list[SlideCell]:
    cells = ordered(seen.record.cells, order, seen.verdicts, seen.left)
    if not like:
        return cells
    known = {cell.object_id: cell for cell in cells}
    device = seen.record.key.device

    def alike(connection: sa.Connection) -> list[str]:
        looked_at = [known[like]] if like in known else []
        measured = visit.web.descriptors.of(connection, device, [*looked_at, *cells[:MOST_LIKE]])
        return by_likeness(list(known), measured, like) if like in measured else list(known)

    first = await visit.web.ask(alike)
    here = [known[like]] if like in known else []
    return [*here, *(known[name] for name in first if name != like)]


async def _progress(visit: Visit, seen: Sight) -> Mapping[str, int] | None:
    """How far a reading is, or how much of an adjudication is left; None for who does neither."""
    if seen.reading == "adjudication":
        return {"left": len(seen.left)}
    if seen.reading is None:
        return None
    shown = await run_in_threadpool(visit.web.reviews.shown_to, seen.record.key, visit.name, seen.reading)
    return progress(seen.record, seen.log, seen.reading, shown)._asdict()


@page("reviewer")
async def begin(visit: Visit) -> Response:
    """Begin a reading."""
    return await _entered(visit, visit.web.reviews.begin)


@page("reviewer")
async def unseal(visit: Visit) -> Response:
    """Let a person who reads nothing here see what is signed."""
    return await _entered(visit, visit.web.reviews.unseal)


async def _entered(visit: Visit, how: Callable[[SlideKey, str, Role, str], object]) -> Response:
    """Do what decides what a person sees of a slide, and show it."""
    if await visit.web.slide(key_of(visit)) is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    call_id = visit.form.get("call_id", "") or visit.web.call_id()
    try:
        await run_in_threadpool(how, key_of(visit), visit.name, visit.role, call_id)
    except ReviewRefusedError as cause:
        return _refused(visit, cause)
    return _to_review(visit)


def _to_review(visit: Visit) -> Response:
    return RedirectResponse(f"{base_of(key_of(visit))}/review", HTTPStatus.SEE_OTHER)


@page("reviewer")
async def show(visit: Visit) -> Response:
    """Note what is on the screen."""
    return await _carried_out(visit, Show)


@page("reviewer")
async def say(visit: Visit) -> Response:
    """Store verdicts."""
    return await _carried_out(visit, Say)


@page("reviewer")
async def sign(visit: Visit) -> Response:
    """Sign a reading, free it, or withdraw a signature."""
    return await _carried_out(visit, Seal)


async def _carried_out(visit: Visit, form: type[Show] | type[Say] | type[Seal]) -> Response:
    """Do what a script or a form of ours asks for; a script hears how far the reading is where it asks for that."""
    fields = {name: value for name, value in visit.form.items() if name != "csrf"}
    try:
        asked = form.model_validate(fields) if fields else form.model_validate_json(await visit.request.body())
    except ValidationError as cause:
        return _malformed(cause)
    record = await visit.web.slide(key_of(visit))
    if record is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_slide", name=key_of(visit).slide_id)
    try:
        await run_in_threadpool(_done, visit, record, asked)
    except ReviewRefusedError as cause:
        return _refused(visit, cause)
    if fields:
        return _to_review(visit)
    if "progress" not in visit.request.query_params:
        return JSONResponse({"progress": None})
    seen = await sight_of(visit)
    return JSONResponse({"progress": await _progress(visit, seen) if seen else None})


def _malformed(cause: ValidationError) -> Response:
    fault = cause.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, fault["loc"]))
    return JSONResponse({"error": f"{where}: {fault['msg']}", "why": "malformed"}, HTTPStatus.UNPROCESSABLE_ENTITY)


def _done(visit: Visit, record: SlideRecord, asked: Show | Say | Seal) -> None:
    reviews, who = visit.web.reviews, (visit.name, visit.role)
    if isinstance(asked, Show):
        reviews.mark_shown(record, *who, asked.reading, asked.object_ids)
    elif isinstance(asked, Say):
        if asked.shown:
            reviews.mark_shown(record, *who, asked.reading, asked.shown)
        given = [Given(one.object_id, one.kind, one.label, one.note) for one in asked.given]
        shown = replace(record, upto=min(asked.upto or record.upto, record.upto))
        reviews.give(shown, *who, asked.reading, given, call_id=asked.call_id, classes=visit.web.settings.classes)
    elif asked.signature:
        reviews.withdraw(record.key, asked.signature, *who, reason=asked.reason, call_id=asked.call_id)
    elif asked.reason:
        reviews.release(record.key, asked.reading, *who, reason=asked.reason, call_id=asked.call_id)
    elif asked.check:
        check_signable(record, reviews.log(record.key), asked.reading, visit.name)
    else:
        reviews.sign(record, *who, asked.reading, call_id=asked.call_id)


def _refused(visit: Visit, cause: ReviewRefusedError) -> Response:
    text = visit.texts.get(f"refused.{cause.why}", **cause.values) if cause.values else str(cause)
    if visit.form and not wants_json(visit.request):
        return visit.refusal(HTTPStatus.CONFLICT, "refusal.failed", why=text)
    return JSONResponse({"error": text, "why": cause.why}, HTTPStatus.CONFLICT)


ROUTES = [
    Route("/slides/{site}/{device}/{slide}/review", work),
    Route("/slides/{site}/{device}/{slide}/review/cards", more, methods=["GET", "POST"]),
    Route("/slides/{site}/{device}/{slide}/review/begin", begin, methods=["POST"]),
    Route("/slides/{site}/{device}/{slide}/review/unseal", unseal, methods=["POST"]),
    Route("/slides/{site}/{device}/{slide}/review/shown", show, methods=["POST"]),
    Route("/slides/{site}/{device}/{slide}/review/verdicts", say, methods=["POST"]),
    Route("/slides/{site}/{device}/{slide}/review/seal", sign, methods=["POST"]),
]
