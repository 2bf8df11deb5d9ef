"""What open pages hear: parts of themselves, made again where something has changed, and the time as a sign of life."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dashboard.live.fleet import AgentKey
from dashboard.live.hub import Change
from dashboard.pages import agents
from dashboard.pages.visit import Visit, page

TICK_S = 1.0
"""Seconds between two signs of life: a page that hears none says so."""
PACE_S = 0.02
"""Seconds for which a page waits for changes that come together: it is told at most fifty times a second."""
MOST_PAGES, MOST_OF_ONE = 200, 40
"""Open pages of everybody, and of one person: nobody takes all."""
CHECKED_S = 5.0
"""Seconds after which an open page of somebody who signed out, or was removed, hears nothing more."""

Part = Callable[[], str]


def parts_of(visit: Visit, change: Change, key: AgentKey | None) -> list[Part]:
    """What a change makes again: on the page of all agents, or on that of one."""
    if change[0] == "view" and key is not None:
        return [lambda: agents.view(visit, key)]
    if change[0] == "agent":
        changed = AgentKey(change[1], change[2])
        if key is None:
            return [lambda: agents.row(visit, changed)]
        bare = not visit.web.views.of(key).jpeg  # then the latest report stands in the place of the picture
        both = bare or change[3:] == ("status",)
        return [lambda: agents.state(visit, changed), *([lambda: agents.view(visit, key)] if both else [])]
    return []


def concerns(key: AgentKey | None) -> Callable[[Change], bool]:
    """Which changes a page hears: those of one agent, or those of all but their pictures."""
    if key is None:
        return lambda change: change[0] != "view"
    return lambda change: change[0] == "broker" or change[1:3] == key


@page()
async def events(visit: Visit) -> Response:
    """A stream that lasts as long as the page is open (server-sent events)."""
    asked = visit.request.query_params
    key = AgentKey(asked.get("site", ""), asked.get("device", "")) if asked.get("page") == "live" else None
    if key is not None and visit.web.watcher.agent(key) is None:  # its name would become a topic
        return visit.refusal(HTTPStatus.NOT_FOUND, "refusal.no_agent", name="/".join(key))
    hub = visit.web.watcher.hub
    if hub.watched >= MOST_PAGES or (visit.signs_in and hub.watched_by(visit.name) >= MOST_OF_ONE):
        return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers={"retry-after": "10"})
    headers = {"x-accel-buffering": "no"}
    if visit.request.method == "HEAD":  # which has no body that could last
        return Response(media_type="text/event-stream", headers=headers)
    return StreamingResponse(_stream(visit, key), media_type="text/event-stream", headers=headers)


async def _stream(visit: Visit, key: AgentKey | None) -> AsyncIterator[str]:
    web = visit.web
    async with AsyncExitStack() as opened:
        listener = opened.enter_context(web.watcher.hub.listening(concerns(key), visit.name))
        if key is not None:
            await opened.enter_async_context(web.views.watched(key))
        yield _tick(visit)
        for agent in [key] if key else [found.key for found in web.watcher.agents()]:
            listener.note(("agent", *agent))
        told = web.watcher.now()
        checked = time.monotonic()
        while not web.watcher.hub.over:
            if time.monotonic() - checked >= CHECKED_S:
                checked = time.monotonic()
                if not visit.is_still_signed_in():
                    return
            changes = await listener.changes(within_s=TICK_S, pace_s=PACE_S)
            html = [part() for change in changes for part in parts_of(visit, change, key)]
            if any(html):
                yield _event("parts", html)
            if (web.watcher.now() - told).total_seconds() >= TICK_S or ("broker",) in changes:
                told = web.watcher.now()
                yield _tick(visit)


def _tick(visit: Visit) -> str:
    watcher = visit.web.watcher
    trouble, detail = visit.deaf()
    news = watcher.news_at.isoformat() if watcher.news_at else ""
    return _event("tick", {"at": watcher.now().isoformat(), "trouble": trouble, "detail": detail, "news": news})


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


ROUTES = [Route("/events", events)]
