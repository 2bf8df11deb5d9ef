"""The pages of agents: all of them, and one that is looked through; and the commands to one."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from common.errors import MicroscopeError
from contract.messages import FrameReport
from contract.requests import COMMANDS, CommandName
from dashboard.live.commands import apart, ask
from dashboard.live.fleet import ENDED, Agent, AgentKey
from dashboard.pages.drawing import Outline, outlines
from dashboard.pages.visit import Visit, page
from dashboard.records import SlideKey
from dashboard.reviews.readings import Readings

COMMANDABLE: tuple[CommandName, ...] = ("slide/start", "slide/stop", "source/restart", "model/reload")
"""What a person may ask of an agent here."""


def part_id(kind: str, key: AgentKey) -> str:
    """The `id` of a part of a page that shows an agent: no name of ours becomes markup."""
    return f"{kind}-{hashlib.sha256('/'.join(key).encode()).hexdigest()[:12]}"


def shown(agent: Agent, now: datetime) -> Mapping[str, Any]:
    """What a template needs of an agent."""
    condition = agent.condition(now)
    return {
        "agent": agent,
        "id": part_id("agent", agent.key),
        "condition": condition,
        "ended": condition in ENDED,
        "rate": None if condition in ENDED else agent.rate(now),
        "age": agent.frame_age_s(now),
        "reasons": agent.report.quality.reasons if agent.report else [],
        "warmest": max(agent.health.temperatures_c.values(), default=None) if agent.health else None,
    }


def row(visit: Visit, key: AgentKey) -> str:
    """The row of an agent on the page of all; "" if it was not heard of."""
    agent = visit.web.watcher.agent(key)
    return visit.part("agent_row", **shown(agent, visit.web.watcher.now())) if agent else ""


@page()
async def everybody(visit: Visit) -> Response:
    """All agents."""
    now = visit.web.watcher.now()
    agents = [shown(agent, now) for agent in visit.web.watcher.agents()]
    return visit.page("agents", agents=agents, events="/events?page=agents")


def _key(visit: Visit) -> AgentKey:
    return AgentKey(visit.request.path_params["site"], visit.request.path_params["device"])


@page()
async def one(visit: Visit) -> Response:
    """One agent: what it sees now, how it is, and what may be asked of it."""
    key = _key(visit)
    agent = visit.web.watcher.agent(key)
    if agent is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_agent", name="/".join(key))
    how = shown(agent, visit.web.watcher.now())
    events = f"/events?{urlencode({'page': 'live', 'site': key.site, 'device': key.device})}"
    return visit.page("live", key=key, parts=[state(visit, key), view(visit, key)], events=events, how=how)


def state(visit: Visit, key: AgentKey) -> str:
    """How an agent is, in full; "" if it was not heard of."""
    agent = visit.web.watcher.agent(key)
    if agent is None:
        return ""
    values = {**shown(agent, visit.web.watcher.now()), "id": part_id("state", key)}
    return visit.part("agent_state", **values, report=agent.report)


def view(visit: Visit, key: AgentKey) -> str:
    """The newest picture of an agent with its cells outlined and labelled, and what was said of this very frame.

    Without a picture it is what was said of the latest frame.
    """
    seen, agent = visit.web.views.of(key), visit.web.watcher.agent(key)
    report = seen.report if seen.jpeg else (agent.report if agent else None)
    values = {
        "view": seen,
        "outlines": outlines(report) if report else list[Outline](),
        "report": report,
        "came_at": agent.came_at(report) if agent and report else None,
        "counts": _counts(report),
        "condition": agent.condition(visit.web.watcher.now()) if agent else "unknown",
    }
    return visit.part("agent_view", id=part_id("view", key), key=key, **values)


@page()
async def picture(visit: Visit) -> Response:
    """The picture that `view` shows."""
    seen = visit.web.views.of(_key(visit))
    if not seen.jpeg:
        return Response(status_code=HTTPStatus.NOT_FOUND)
    return Response(seen.jpeg, media_type="image/jpeg")


@page("reviewer")
async def command(visit: Visit) -> Response:
    """Have an agent carry out a command; the answer is shown, and the agent's audit log has who asked."""
    key, name = _key(visit), visit.request.path_params["name"]
    known = next((one for one in COMMANDABLE if one == name), None)
    if known is None:
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_command", name=name[:80])
    if visit.web.watcher.agent(key) is None:  # its name would become a topic
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_agent", name="/".join(key))
    fields = {"slide_id": visit.form.get("slide_id", "").strip()} if known == "slide/start" else {}
    try:
        request = COMMANDS[known].request.model_validate({**fields, "asked_by": visit.name})
    except ValidationError:
        return visit.refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "refusal.slide_id")
    again = fields.get("slide_id", "")
    if again and visit.form.get("again") != again and (used := await _used(visit, SlideKey(*key, again))):
        return JSONResponse({"ok": False, "text": used, "again": again}, HTTPStatus.CONFLICT)
    noted = await run_in_threadpool(
        visit.web.deeds.command, visit.name, "/".join(key), " ".join([known, *fields.values()])
    )
    web = visit.web
    answer = await apart(partial(ask, web.settings.mqtt, key, known, request, renewed=web.renewed))
    done = visit.texts.get(f"command.done.{known.replace('/', '_')}")
    said = done if answer.ok else (answer.error.text if answer.error else "")
    await run_in_threadpool(
        visit.web.deeds.answered, noted, ok=answer.ok, said=answer.error.text if answer.error else ""
    )
    status = HTTPStatus.OK if answer.ok else HTTPStatus.BAD_GATEWAY
    return JSONResponse({"ok": answer.ok, "text": said}, status)


async def _used(visit: Visit, key: SlideKey) -> str:
    """What is stored of a slide that is to be started, in words; "" where nothing is, or nobody can tell."""
    try:
        record = await visit.web.slide(key)
        if record is None:
            return ""
        log = await run_in_threadpool(visit.web.reviews.log, key)
    except MicroscopeError:  # a store that is away must not keep a microscope from its work
        return ""
    names = list(dict.fromkeys(act.person for act in Readings.of(log.acts).signatures))
    said = visit.texts.get("command.used", count=len(record.cells), name=key.slide_id)
    signed = visit.texts.get("command.used_signed", names=", ".join(names)) if names else ""
    return " ".join([said, *([signed] if signed else []), visit.texts.get("command.used_what")])


def _counts(report: FrameReport | None) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for cell in report.cells if report else ():
        counts[cell.label] = counts.get(cell.label, 0) + 1
    return counts


@page(None)
async def home(_visit: Visit) -> Response:
    """The first page."""
    return RedirectResponse("/agents", HTTPStatus.SEE_OTHER)


@page(None)
async def icon(_visit: Visit) -> Response:
    """What browsers ask for beside what names no icon, such as the report on paper or JSON."""
    return RedirectResponse("/static/icon.svg", HTTPStatus.PERMANENT_REDIRECT)


ROUTES = [
    Route("/", home),
    Route("/favicon.ico", icon),
    Route("/agents", everybody),
    Route("/agents/{site}/{device}", one),
    Route("/agents/{site}/{device}/picture.jpg", picture),
    Route("/agents/{site}/{device}/command/{name:path}", command, methods=["POST"]),
]
