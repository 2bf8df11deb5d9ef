"""What stands before every page: which hosts and how long requests may be, and what every answer tells the browser."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods of requests that change something."""
MAX_BODY = 256 * 1024
"""Bytes of a request; a person's answers are shorter, and nothing is uploaded."""
_DIGITS = 10
"""Of a length; Python makes no number of thousands of them."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#\\\s]+))(?::[0-9]{1,5})?")
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
        refused = self._refusal(Headers(scope=scope), scope["path"])
        app = PlainTextResponse(refused[1], refused[0]) if refused else self._app
        await app(scope, _bounded(receive), self._with_headers(send))

    def _refusal(self, headers: Headers, path: str) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_of(hosts[0]) not in self._names:
            return 421, "this server has another name; its setting web.names says which names it answers to"
        if not path.startswith("/"):
            return 400, "a request names a path of this server, which begins with /"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()) or len(length) > _DIGITS or int(length) > MAX_BODY:
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
    """The name in a `Host` without its port, in small letters; of `[::1]:80` it is `::1`. Of anything else it is ""."""
    found = _HOST.fullmatch(value)
    return (found[1] or found[2]).lower() if found else ""
