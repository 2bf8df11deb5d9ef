"""A request of a person: who asks and may, in which language, and how a page is made of it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from common.errors import MicroscopeError
from dashboard.security.guard import CHANGING
from dashboard.security.roles import ROLES, Role, may
from dashboard.security.sessions import Session
from dashboard.texts import Texts
from dashboard.web import Web, web_of

MOST_FIELDS = 100
"""Of a form; ours have a few."""
Theme = Literal["auto", "light", "dark"]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, and whose it is.

    Attributes:
        form: the fields of its body, each once; empty where there is none.
    """

    request: Request
    web: Web
    session: Session | None
    role: Role
    texts: Texts
    form: Mapping[str, str]

    @property
    def name(self) -> str:
        """Who asks."""
        return self.session.name if self.session else ""

    @property
    def signs_in(self) -> bool:
        """Whether people sign in at all."""
        return self.web.settings.web.sign_in

    @property
    def sees_log(self) -> bool:
        """Whether who asks may see who did what: an administrator, or whose own computer this is."""
        return may(self.role, "administrator") or not self.signs_in

    def deaf(self) -> tuple[str, str]:
        """That nothing comes from the broker: for who sits at the microscope, and why, for who mends it; else ""."""
        watcher = self.web.watcher
        if not watcher.trouble:
            return "", ""
        told = self.texts.get("page.deaf_since", at=watcher.news_at) if watcher.news_at else self.texts.get("page.deaf")
        return told, self.texts.get("page.detail", why=watcher.trouble.rstrip("."))

    def is_still_signed_in(self) -> bool:
        """Whether who asks is signed in to this moment, for answers that last."""
        try:
            return _signed_in(self.request, self.web)[0] is not None
        except MicroscopeError:
            return False

    def page(self, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """A page by its template, with what every page has."""
        return HTMLResponse(self.part(template, **values), status)

    def part(self, template: str, **values: object) -> str:
        """The same as text: a page, or a part of one."""
        shared = {
            "t": self.texts.get,
            "word": self.texts.word,
            "language": self.texts.language,
            "theme": self.request.cookies.get("theme", "auto"),
            "person": self.name,
            "role": self.role,
            "csrf": self.session.csrf if self.session else "",
            "signs_in": self.signs_in,
            "path": self.request.url.path,
            "address": address_of(self.request),
            "sees_log": self.sees_log,
            "may": lambda role: may(self.role, role),
            "trouble": self.web.watcher.trouble,
            "deaf": self.deaf(),
        }
        return self.web.templates.get_template(f"{template}.html.jinja").render({**shared, **values})

    def refusal(self, status: HTTPStatus, key: str, *, back: str = "/", **values: object) -> Response:
        """Say why not, in the form that is asked for; a page leads ``back`` to where one goes on, `/` or `/slides`."""
        text = self.texts.get(key, **values)
        if wants_json(self.request):
            return JSONResponse({"error": text}, status)
        return self.page("refusal", status=status, text=text, back=back)


Handler = Callable[[Visit], Awaitable[Response]]


def page(role: Role | None = "reader") -> Callable[[Handler], Callable[[Request], Awaitable[Response]]]:
    """Make a route of what answers a visit of somebody who has this role; None: of anybody."""

    def made(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        @wraps(handler)
        async def route(request: Request) -> Response:
            try:
                visit = visit_of(request)
                form = await _form(request)
                if form is None or _holds_nul(request, form):
                    return visit.refusal(HTTPStatus.BAD_REQUEST, "refusal.malformed")
                visit = replace(visit, form=form)
                return _refused(visit, role) or await handler(visit)
            except ClientDisconnect:
                return Response(status_code=HTTPStatus.BAD_REQUEST)

        return route

    return made


def visit_of(request: Request, *, known: bool = True) -> Visit:
    """Who asks, without the fields of the body; of nobody where who it is does not matter.

    Raises:
        UsageError: the file of users can not be read.
    """
    web = web_of(request)
    session, role = _signed_in(request, web) if known else (None, ROLES[0])
    return Visit(request, web, session, role, _texts(request, web), {})


async def _form(request: Request) -> Mapping[str, str] | None:
    """The fields of the body, none where it is no form; None where it is more than a form of ours can be.

    Raises:
        ClientDisconnect: the request is cut off.
    """
    body = await request.body() if request.method in CHANGING else b""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    return {name: values[-1] for name, values in fields.items()}


def _holds_nul(request: Request, form: Mapping[str, str]) -> bool:
    """Whether a text of the request holds NUL, which no name has and PostgreSQL does not take."""
    texts = request.scope["path"], *(text for pair in request.query_params.multi_items() for text in pair)
    return any("\0" in text for text in (*texts, *form, *form.values()))


def cookie_name(web: Web) -> str:
    """Of the session; browsers take one that begins with `__Host-` over HTTPS alone, and for no other host."""
    return "__Host-session" if web.settings.web.is_secure else "session"


def wants_json(request: Request) -> bool:
    """Whether a program asks, or a script of ours."""
    return "application/json" in request.headers.get("accept", "") or request.url.path.startswith("/data/")


def address_of(request: Request) -> str:
    """Path and question of a request."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def local_path(wish: str) -> str:
    """A path of ours to go on to; `/` where another server's is wished for."""
    plain = wish.startswith("/") and not wish.startswith("//") and "\\" not in wish and wish.isprintable()
    return quote(wish, safe="/?=&%-_.~:@+") if plain else "/"


def _signed_in(request: Request, web: Web) -> tuple[Session | None, Role]:
    if not web.settings.web.sign_in:
        return web.guest, "reviewer"
    token = request.cookies.get(cookie_name(web))
    session = web.sessions.find(token) if token else None
    user = web.users.find(session.name) if session else None
    if session is None or user is None or session.began < user.since:
        return None, "reader"
    return session, user.role


def _texts(request: Request, web: Web) -> Texts:
    """By the person's choice, else by what the browser asks for, else by the setting."""
    asked = request.headers.get("accept-language", "").split(",")
    wishes = [request.cookies.get("language", ""), *(wish.split(";")[0].strip()[:2].lower() for wish in asked)]
    found = next((wish for wish in wishes if wish in web.texts), web.settings.web.language)
    return web.texts[found]


def _refused(visit: Visit, role: Role | None) -> Response | None:
    """Why a visit is not answered; None if it is."""
    request = visit.request
    if request.method in CHANGING and not _is_ours(visit):
        return visit.refusal(HTTPStatus.FORBIDDEN, "refusal.not_ours")
    if role is None:
        return None
    if visit.session is None:
        if wants_json(request) or request.method in CHANGING:
            return visit.refusal(HTTPStatus.UNAUTHORIZED, "refusal.not_signed_in")
        return RedirectResponse(f"/signin?{urlencode({'next': address_of(request)})}", HTTPStatus.SEE_OTHER)
    if not may(visit.role, role):
        return visit.refusal(HTTPStatus.FORBIDDEN, "refusal.role", role=visit.texts.get(f"role.{role}"))
    return None


def _is_ours(visit: Visit) -> bool:
    """Whether one of our own pages sent this: its origin is ours, and it knows the session's word."""
    headers = visit.request.headers
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        return False
    if visit.session is None:
        return True
    given = headers.get("x-csrf-token") or visit.form.get("csrf", "")
    return hmac.compare_digest(given.encode(), visit.session.csrf.encode())
