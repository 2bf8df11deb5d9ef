"""Signing in and out, and what a person likes: language and colours."""

from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboard.pages.visit import Visit, cookie_name, local_path, page
from dashboard.security.attempts import network_of
from dashboard.texts import LANGUAGES

_YEAR_S = 365 * 86400
THEMES = "auto", "light", "dark"


@page(None)
async def form(visit: Visit) -> Response:
    """Where name and password are asked for."""
    asked = visit.request.query_params
    return visit.page("signin", after=local_path(asked.get("next", "/")), failed="", name="")


@page(None)
async def enter(visit: Visit) -> Response:
    """Sign in."""
    name, after = visit.form.get("name", "")[:64], local_path(visit.form.get("next", "/"))
    address = address_from(visit)
    who = f"name {name}", f"address {network_of(address)}"
    web = visit.web
    async with web.gate:
        if wait := web.attempts.wait_s(*who):
            text = visit.texts.get("signin.wait", count=wait)
            refused = visit.page("signin", status=HTTPStatus.TOO_MANY_REQUESTS, after=after, failed=text, name=name)
            refused.headers["retry-after"] = str(wait)
            return refused
        if not await run_in_threadpool(web.users.knows, name, visit.form.get("password", "")):
            web.attempts.failed(*who)
            known = name if web.users.find(name) else ""  # what is nobody's name may be somebody's password
            await run_in_threadpool(web.deeds.signed, "sign_in_failed", known, address)
            text = visit.texts.get("signin.wrong")
            return visit.page("signin", status=HTTPStatus.UNAUTHORIZED, after=after, failed=text, name=name)
        web.attempts.succeeded(*who)
    await run_in_threadpool(web.deeds.signed, "sign_in", name, address)
    if before := visit.request.cookies.get(cookie_name(web)):
        web.sessions.end(before)
    answer = RedirectResponse(after, HTTPStatus.SEE_OTHER)
    seconds = int(web.settings.web.session_hours * 3600)
    _set(answer, visit, cookie_name(web), web.sessions.begin(name), seconds)
    return answer


def address_from(visit: Visit) -> str:
    """Whose browser this is; of what a proxy passes on, the address that it heard it from: its own stands last."""
    request = visit.request
    said = request.headers.getlist("x-forwarded-for") if visit.web.settings.web.behind_proxy else []
    heard = said[-1].rpartition(",")[2].strip()[:64] if said else ""
    return heard or (request.client.host if request.client else "?")


@page()
async def leave(visit: Visit) -> Response:
    """Sign out."""
    token = visit.request.cookies.get(cookie_name(visit.web))
    if token:
        visit.web.sessions.end(token)
        await run_in_threadpool(visit.web.deeds.signed, "sign_out", visit.name, address_from(visit))
    answer = RedirectResponse("/signin", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(cookie_name(visit.web), secure=visit.web.settings.web.is_secure, httponly=True)
    return answer


@page(None)
async def prefer(visit: Visit) -> Response:
    """Choose language and colours; kept in this browser."""
    answer = RedirectResponse(local_path(visit.form.get("next", "/")), HTTPStatus.SEE_OTHER)
    if (language := visit.form.get("language", "")) in LANGUAGES:
        _set(answer, visit, "language", language, _YEAR_S)
    if (theme := visit.form.get("theme", "")) in THEMES:
        _set(answer, visit, "theme", theme, _YEAR_S)
    return answer


def _set(answer: Response, visit: Visit, name: str, value: str, seconds: int) -> None:
    secure = visit.web.settings.web.is_secure
    answer.set_cookie(name, value, max_age=seconds, secure=secure, httponly=True, samesite="strict", path="/")


ROUTES = [
    Route("/signin", form, methods=["GET"]),
    Route("/signin", enter, methods=["POST"]),
    Route("/signout", leave, methods=["POST"]),
    Route("/preferences", prefer, methods=["POST"]),
]
