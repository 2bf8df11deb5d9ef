"""The page of the system: which versions run, what is stored, and, for who may see it, who did what."""

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from common.errors import MicroscopeError
from dashboard.live.fleet import Agent
from dashboard.pages.visit import Visit, page
from dashboard.records import SlideKey
from dashboard.reviews.events import Act
from dashboard.security.deeds import Deed
from dashboard.system import PYTHON, VERSION, store_facts

T = TypeVar("T")
MOST_EVENTS = 200
"""Of what people did that are shown: the newest."""
MOST_GAPS = 50


class Event(NamedTuple):
    """What somebody did, as a row of the page; ``ok`` is None where that is no question."""

    at: datetime
    person: str
    what: str
    about: str
    ok: bool | None = None
    answer: str = ""


@page()
async def system(visit: Visit) -> Response:
    """This server, the agents, the stores; and for who may see it the log."""
    web = visit.web
    stored, store_trouble = await _known(web.ask(store_facts))
    reviews, reviews_trouble = await _known(run_in_threadpool(web.reviews.tally))
    now = web.watcher.now()
    return visit.page(
        "system",
        version=VERSION,
        python=PYTHON,
        began_at=web.began_at,
        now=now,
        collects=web.settings.collect,
        malformed=web.watcher.malformed,
        agents=[_agent(visit, agent, now) for agent in web.watcher.agents()],
        stored=stored,
        store_trouble=store_trouble,
        gaps=stored.gaps[:MOST_GAPS] if stored else (),
        reviews=reviews,
        reviews_trouble=reviews_trouble,
        reviews_where=web.reviews.where,
        log=await _log(visit) if visit.sees_log else None,
        most=MOST_EVENTS,
    )


async def _known(asked: Awaitable[T]) -> tuple[T | None, str]:
    """What was asked for, or why it is not known: one store that is away does not hide all else."""
    try:
        return await asked, ""
    except MicroscopeError as cause:
        return None, str(cause)


def _agent(visit: Visit, agent: Agent, now: datetime) -> Mapping[str, Any]:
    """What a template needs of an agent."""
    judge = agent.report or agent.slide
    return {
        "name": "/".join(agent.key),
        "key": agent.key,
        "condition": agent.condition(now),
        "version": agent.status.version if agent.status else "",
        "model": judge.model if judge else None,
        "engine": agent.health.engine if agent.health else "",
        "watched": visit.web.watcher.heads.of(agent.key),
    }


async def _log(visit: Visit) -> tuple[list[Event], list[str]]:
    """The newest of what people did, the latest first, and why some of it is not known."""
    deeds, why = await _known(run_in_threadpool(visit.web.deeds.latest, MOST_EVENTS))
    acts, why_not = await _known(run_in_threadpool(visit.web.reviews.latest_acts, MOST_EVENTS))
    events = [*(_deed(visit, deed) for deed in deeds or ()), *(_act(visit, *found) for found in acts or ())]
    events.sort(key=lambda event: event.at, reverse=True)
    return events[:MOST_EVENTS], [*filter(None, [why, why_not])]


def _deed(visit: Visit, deed: Deed) -> Event:
    what = visit.texts.get(f"deed.{deed.kind}", said=deed.said)
    answer = deed.answer or (visit.texts.get(f"deed.{_OUTCOMES[deed.ok]}") if deed.kind == "command" else "")
    return Event(deed.at, deed.person, what, deed.about, deed.ok, answer)


_OUTCOMES = {True: "done", False: "not_done", None: "no_answer"}


def _act(visit: Visit, key: SlideKey, act: Act) -> Event:
    reading = visit.texts.get(f"reading.{act.reading}")
    return Event(
        act.at, act.person, visit.texts.get(f"act.{act.kind}", reading=reading), "/".join(key), None, act.reason
    )


ROUTES = [Route("/system", system)]
