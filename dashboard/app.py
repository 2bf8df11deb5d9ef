"""The application: its routes, what stands before them, and what begins and ends with it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from common.errors import MicroscopeError
from dashboard.pages import agents, compare, data, downloads, events, pictures, review, signin, slides, system
from dashboard.pages.visit import Visit, visit_of
from dashboard.security.guard import Guard
from dashboard.settings import LOOPBACK
from dashboard.web import Web

log = logging.getLogger(__name__)
HEADS_EVERY_S = 10.0
STATIC = Path(__file__).parent / "static"


def application(web: Web) -> Starlette:
    """The page's server, as an ASGI application."""
    settings = web.settings.web
    names = {settings.host, *settings.names, *LOOPBACK}

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        web.watcher.enter(asyncio.get_running_loop())
        keeping = asyncio.create_task(_keep_heads(web))
        try:
            yield
        finally:
            keeping.cancel()
            web.watcher.leave()
            await run_in_threadpool(web.watcher.heads.save)

    made = Starlette(
        routes=[
            *signin.ROUTES,
            *agents.ROUTES,
            *slides.ROUTES,
            *compare.ROUTES,
            *review.ROUTES,
            *pictures.ROUTES,
            *downloads.ROUTES,
            *data.ROUTES,
            *events.ROUTES,
            *system.ROUTES,
            Mount("/static", StaticFiles(directory=STATIC), name="static"),
        ],
        exception_handlers={HTTPException: _refused, MicroscopeError: _failed, Exception: _fault},
        lifespan=life,
    )
    made.state.web = web
    made.router.redirect_slashes = False  # its redirects name our host and scheme, which a proxy has changed
    # Outermost, so that the answer to a fault of ours tells the browser what it must not do, too.
    made.middleware_stack = Guard(made.build_middleware_stack(), names=names, secure=settings.is_secure)
    return made


async def _keep_heads(web: Web) -> None:
    """Keep what was seen of audit logs, off the thread that hears the agents: a disk may hang."""
    while True:
        await asyncio.sleep(HEADS_EVERY_S)
        await run_in_threadpool(web.watcher.heads.save)


async def _refused(request: Request, cause: Exception) -> Response:
    """A path that there is not, or a method that it does not take."""
    code = cause.status_code if isinstance(cause, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    text = "refusal.not_found" if code == HTTPStatus.NOT_FOUND else "refusal.method"
    answer = _visit(request).refusal(HTTPStatus(code), text)
    answer.headers.update((isinstance(cause, HTTPException) and cause.headers) or {})  # 405 names what is taken
    return answer


async def _failed(request: Request, cause: Exception) -> Response:
    """What can be expected to fail, such as a database that is away; only who is signed in hears which."""
    log.warning("%s: %s", request.url.path, cause)
    visit = _visit(request)
    if visit.session is None:
        return visit.refusal(HTTPStatus.SERVICE_UNAVAILABLE, "refusal.fault")
    return visit.refusal(HTTPStatus.SERVICE_UNAVAILABLE, "refusal.failed", why=str(cause))


async def _fault(request: Request, cause: Exception) -> Response:
    """A fault in this program: its log has it, the browser hears no more than that."""
    log.error("%s", request.url.path, exc_info=cause)
    return _visit(request).refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "refusal.fault")


def _visit(request: Request) -> Visit:
    """Whose request it is, nobody's where just that can not be found out."""
    try:
        return visit_of(request)
    except Exception as cause:  # noqa: BLE001 - whatever it is, an answer must not fail for it
        log.warning("whose request it is can not be found out (%s)", cause)
        return visit_of(request, known=False)
