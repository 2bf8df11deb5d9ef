"""What is sent to a server that listens by who does not keep to HTTP, or has all the time of the world."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import quote, unquote

import httpx2
import pytest

from contract.requests import Answer
from dashboard.live.commands import AT_ONCE
from dashboard.pages import events
from dashboard.security import patience
from tests.dashboard.conftest import MakeReport
from tests.dashboard.pages import hostile
from tests.dashboard.pages.conftest import PASSWORD, Listen, Served
from tests.dashboard.pages.hostile import Page
from tests.waiting import until


@pytest.fixture
def served(listen: Listen, hostile_store: str) -> Served:
    return listen("wire", database=hostile_store)


def sign_in(served: Served, name: str) -> str:
    """The cookie of somebody who signs in, as a line of the head."""
    answer = httpx2.post(f"http://127.0.0.1:{served.port}/signin", data={"name": name, "password": PASSWORD})
    return f"Cookie: session={answer.cookies['session']}\r\n"


@contextmanager
def sent(served: Served, data: bytes) -> Iterator[socket.socket]:
    """A connection on which something was sent."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(data)
        yield connection


def request(served: Served, target: str, *lines: str, method: str = "GET", host: str | None = None) -> bytes:
    """The head of a request, after whose answer the server hangs up."""
    name = f"127.0.0.1:{served.port}" if host is None else host
    head = f"{method} {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{''.join(lines)}\r\n"
    return head.encode("latin-1")


def answered(served: Served, data: bytes) -> tuple[int, bytes]:
    """Code and whole answer to what is sent on a connection of its own; 0 where the server hung up in silence."""
    with sent(served, data) as connection:
        whole = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(whole[9:12] or b"0"), whole


def is_over(connection: socket.socket) -> bool:
    """Whether the server has hung up; what it sent before is thrown away."""
    connection.settimeout(0.05)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("how", ["sign out", "removed", "another password"])
def test_an_open_page_hears_nothing_more_once_its_person_is_out(
    served: Served, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(events, "CHECKED_S", 0.1)
    cookie = sign_in(served, "ada")
    with sent(served, request(served, "/events", cookie)) as stream:
        assert stream.recv(65536).startswith(b"HTTP/1.1 200")
        if how == "sign out":
            served.web.sessions.end(cookie.partition("=")[2].strip())
        elif how == "removed":
            served.web.users.remove("ada")
        else:
            served.web.users.add("ada", "quite another one", "reviewer")
        assert until(lambda: is_over(stream), 10)


def test_who_opens_a_thousand_streams_takes_them_from_nobody_else(served: Served) -> None:
    ada, rita = sign_in(served, "ada"), sign_in(served, "rita")
    hub = served.web.watcher.hub
    with ExitStack() as opened:
        codes = []
        for _ in range(1000):
            stream = opened.enter_context(sent(served, request(served, "/events", ada)))
            codes.append(int(stream.recv(12)[9:]))
            if codes[-1] != 200:
                stream.close()
        assert (codes.count(200), codes.count(503)) == (events.MOST_OF_ONE, 1000 - events.MOST_OF_ONE)
        with sent(served, request(served, "/events", rita)) as stream:
            assert stream.recv(12).endswith(b"200")
        begun = time.monotonic()
        assert answered(served, request(served, "/slides", rita))[0] == 200
        assert time.monotonic() - begun < 5
    assert until(lambda: hub.watched == 0)


def test_a_question_for_the_head_of_a_stream_alone_is_answered_and_over(served: Served) -> None:
    code, whole = answered(served, request(served, "/events", sign_in(served, "ada"), method="HEAD"))
    assert (code, whole.partition(b"\r\n\r\n")[2]) == (200, b"")
    assert served.web.watcher.hub.watched == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /signin HTTP/1.1\r\n",
        b"POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=ada",
        b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /nowh",
    ],
    ids=["nothing", "head", "body", "chunks", "second head"],
)
def test_who_never_ends_a_request_is_hung_up_on_however_often_a_byte_comes(
    served: Served, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    with sent(served, data) as connection:

        def drip() -> bool:
            with suppress(OSError):
                connection.send(b"a")
            return is_over(connection)

        assert until(drip if data else lambda: is_over(connection), 8)


def test_what_takes_its_time_to_be_answered_is_not_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    with sent(served, request(served, "/events", sign_in(served, "ada"))) as stream:
        ticks = b""
        while ticks.count(b"event: tick") < 3:
            found = stream.recv(65536)
            assert found
            ticks += found


@pytest.mark.parametrize("lines", [(), ("Host: 127.0.0.1\r\n",), ("X-Forwarded-Host: elsewhere.example\r\n",)])
def test_no_answer_leads_elsewhere(served: Served, lines: tuple[str, ...]) -> None:
    targets = (
        "//elsewhere.example/",
        "//elsewhere.example/agents/",
        "/agents/",
        "/slides//",
        "/static",
        "/signin?next=//x/",
    )
    for target in targets:
        _, whole = answered(served, request(served, target, *lines))
        head = whole.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nlocation: " not in head or b"\r\nlocation: /signin" in head, target


HOST = b" HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\n"
NO_REQUESTS = {
    "another server's address": b"GET http://elsewhere.example/agents" + HOST + b"\r\n",
    "no path": b"GET *" + HOST + b"\r\n",
    "a bracket": b"GET [" + HOST + b"\r\n",
    "a tunnel": b"CONNECT elsewhere.example:443" + HOST + b"\r\n",
    "no host": b"GET /signin HTTP/1.0\r\n\r\n",
    "two hosts": b"GET /signin" + HOST + b"Host: elsewhere.example\r\n\r\n",
    "a host of bytes": b"GET /signin HTTP/1.1\r\nConnection: close\r\nHost: \xff\r\n\r\n",
    "bytes in the path": b"GET /caf\xc3\xa9" + HOST + b"\r\n",
    "a space in a name": b"GET /signin" + HOST + b"A b: c\r\n\r\n",
    "a folded line": b"GET /signin" + HOST + b"A: b\r\n\tc\0\r\n\r\n",
    "a length of 5000 digits": b"POST /signin" + HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a length below nothing": b"POST /signin" + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /signin" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "another coding": b"POST /signin" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "nothing but NUL": bytes(70_000),
}


@pytest.mark.parametrize("data", NO_REQUESTS.values(), ids=list(NO_REQUESTS))
def test_what_is_no_request_of_a_browser_is_refused(served: Served, data: bytes) -> None:
    code, whole = answered(served, data)
    assert 400 <= code < 500, whole[:200]


COOKIES = "a=" + "b" * 8000, "=", ";;;", "a", 'a="\\355\\240"', "\xff=\xfe", 'language=xx; theme="><script>', "session"
LINES = (
    "Accept-Language: \xff;q=\xe9,,,de",
    "X-Csrf-Token: \xff",
    "Accept: \xff",
    "Upgrade: websocket",
    "Range: bytes=0-",
    "A: " + "b" * 50_000,
    "Content-Encoding: gzip",
    "X-HTTP-Method-Override: DELETE",
)


def test_long_cookies_and_odd_headers_break_nothing(served: Served) -> None:
    cookie = sign_in(served, "rita")
    for value in COOKIES:
        code, whole = answered(served, request(served, "/slides", cookie, f"Cookie: {value}\r\n"))
        assert code in {200, 303}, value
        assert b"<script>" not in whole
    for line in LINES:
        assert answered(served, request(served, "/slides", cookie, f"{line}\r\n"))[0] == 200, line[:40]


def test_a_page_of_any_name_is_found_by_the_address_that_others_give(served: Served, make_report: MakeReport) -> None:
    hostile.heard(served.web, make_report)
    cookie = sign_in(served, "ada").partition(": ")[2].strip()
    with httpx2.Client(base_url=f"http://127.0.0.1:{served.port}", headers={"cookie": cookie}) as client:
        listed = [found for found in Page(client.get("/slides").text).addresses() if found.startswith("/slides/")]
        assert len(listed) == len(hostile.NAMES)
        for address in listed:
            if "%2F" in address:  # which no agent of ours has in a name, and no route takes
                continue
            for path in (address, f"{address}/review", f"/data{address}/cells"):
                assert client.get(path).status_code == 200, path
            assert client.get(f"/data{address}").json()["slide_id"] == unquote(address.rpartition("/")[2])
            inner = Page(client.get(address).text).addresses()
            assert not [found for found in inner if found.startswith("/slides/") and not found.startswith(address)]
        shown = Page(client.get("/agents").text).addresses()
        assert f"/slides/lab/scope-1/{quote(hostile.EVIL, safe='')}" in list(shown)


def test_agents_that_leave_everybody_waiting_take_no_page_with_them(
    served: Served, make_report: MakeReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, asked = threading.Event(), []

    def wait(_broker: object, _key: object, name: str, _asked: object, **_: object) -> Answer[Any]:
        asked.append(name)
        over.wait(30)
        return Answer[Any](command=name, ok=True)

    monkeypatch.setattr("dashboard.pages.agents.ask", wait)
    hostile.heard(served.web, make_report)
    cookie = sign_in(served, "ada")
    page = answered(served, request(served, "/agents", cookie))[1].decode()
    word = f"X-Csrf-Token: {page.partition('data-csrf=')[2][1:].partition(chr(34))[0]}\r\nContent-Length: 0\r\n"
    command = request(served, "/agents/lab/scope-1/command/slide/stop", cookie, word, method="POST")
    with ExitStack() as opened:
        opened.callback(over.set)
        for _ in range(60):
            opened.enter_context(sent(served, command))
        assert until(lambda: len(asked) == AT_ONCE)
        assert answered(served, request(served, "/slides", cookie))[0] == 200


def test_reports_that_take_their_time_take_no_page_with_them(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    over, made = threading.Event(), []

    def wait(_page: str) -> bytes:
        made.append(1)
        over.wait(30)
        return b""

    monkeypatch.setattr("dashboard.pages.downloads.pdf_of", wait)
    cookie = sign_in(served, "rita")
    with ExitStack() as opened:
        opened.callback(over.set)
        for _ in range(60):
            opened.enter_context(sent(served, request(served, "/slides/lab/scope-1/slide-7/report.pdf", cookie)))
        assert until(lambda: len(made) == 2)
        assert answered(served, request(served, "/slides", cookie))[0] == 200
        assert len(made) == 2
