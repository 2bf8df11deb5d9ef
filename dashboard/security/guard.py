"""What stands before every page: which hosts and how long requests may be, and what every answer tells the browser."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods of requests that change something."""
MAX_BODY = 256 * 1024
"""Bytes of a request; a person's answers are shorter, and nothing is uploaded."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Pass on requests for our own names that are short enough; every answer says what a browser must not do.

    Args:
        app: what answers.
        names: hosts by which browsers may call us: a page elsewhere can not reach us by a name of its own.
        secure: browsers speak HTTPS with us.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], secure: bool) -> None:
        self._app, self._names = app, frozenset(name.lower() for name in names)
        self._headers = _HEADERS | ({"strict-transport-security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refusal(Headers(scope=scope))
        app = PlainTextResponse(refused[1], refused[0]) if refused else self._app
        await app(scope, _bounded(receive), self._with_headers(send))

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        if host_of(headers.get("host", "")) not in self._names:
            return 421, "this server has another name; its setting web.names says which names it answers to"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return 413, f"a request has at most {MAX_BODY} bytes"
        return None

    def _with_headers(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return sent


def _bounded(receive: Receive) -> Receive:
    """What comes of a request, cut off where it is longer than it may be: a body in chunks names no length."""
    left = MAX_BODY

    async def received() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                return {"type": "http.disconnect"}
        return message

    return received


def host_of(value: str) -> str:
    """The name in a `Host` or `Origin` without its port, in small letters; of `[::1]:80` it is `::1`."""
    bare = value.rpartition("://")[2].lower()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0]
