"""Whatever stands in an address or a body, it breaks nothing, is stored nowhere and becomes no markup."""

import itertools
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from dashboard.pages.visit import MOST_FIELDS
from tests.dashboard.pages.conftest import by
from tests.dashboard.pages.everywhere import EVERY, GETS, POSTS, address_of
from tests.dashboard.pages.hostile import EVIL, Page

SLIDE = "/slides/lab/scope-1/slide-7"
JSON = {"accept": "application/json"}
ODD: tuple[str | bytes, ...] = (
    EVIL, "' OR 1=1 --", "\x00", "\r\nset-cookie: a=b", b"\xed\xa0\x80", b"\xff", "9" * 5000, "-1", "\u0661",
    "../../etc/passwd", "%00", "%", "\U0001d518" * 300, "",
)  # fmt: skip
"""What no parameter expects: markup, SQL, NUL, lines of a header, half a pair, no UTF-8, digits that are not ours."""

FORM = "application/x-www-form-urlencoded"
_SAID = b'{"reading":"1","call_id":"call-0001","given":[%s]}'
BODIES = (
    b"", b"null", b"[]", b"{}", b'"text"', b"[" * 100_000, b'{"a":' * 40_000, b"{" + b'"a":1,' * 30_000 + b'"b":1}',
    b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"NaN", b"1e999", b"9" * 100_000, b"&" * 100_000, b"a=b&" * 99, b"=" * 100_000,
    b"%" * 100_000, b"csrf=1&csrf=2", b"name[$ne]=1", b"__proto__=1", b"call_id=%ed%a0%80" + b"x" * 9000,
    b'{"reading":"1","object_ids":["\\ud800"]}', b'{"reading":"1","object_ids":["\\u0000"]}',
    b'{"reading":"1","object_ids":"r-s1-c1"}', b'{"reading":"1","object_ids":[' + b'"x",' * 3000 + b'"x"]}',
    b'{"reading":"3","object_ids":[]}', b'{"reading":"1","object_ids":[],"more":1}', b'{"reading":NaN,"object_ids":[]}',
    _SAID % b"", _SAID % b'{"object_id":"\\u0000","kind":"confirm"}', _SAID % b'{"object_id":"other","kind":"confirm"}',
    _SAID % b'{"object_id":"r-s1-c1","kind":"correct","label":"<b>"}',
    _SAID % b'{"object_id":"r-s1-c1","kind":"unsure","note":"\\u0000"}',
    b'{"reading":"1","call_id":"call-0001\\n","given":[{"object_id":"r-s1-c1","kind":"confirm"}]}',
    b'{"reading":"1","call_id":"call-0001","signature":99999999999999999999999,"reason":"x"}',
    b'{"reading":"1","call_id":"call-0001","signature":1.5}', b'{"reading":"2","call_id":"call-0001","reason":"x"}',
    b'{"reading":"adjudication","call_id":"call-0001"}',
)  # fmt: skip
"""Forms and JSON that are long, deep, of the wrong type, twice, cut, without UTF-8, or ask for what there is not."""


@pytest.mark.parametrize("kind", [FORM, "application/json", "a" * 900])
def test_no_body_breaks_a_route_or_is_stored(client: TestClient, kind: str) -> None:
    by(client, "ada").post(f"{SLIDE}/review/begin")
    client.post(f"{SLIDE}/review/shown", json={"reading": "1", "object_ids": ["r-s1-c1"]})
    before = client.get(f"/data{SLIDE}").json()
    for door, body in itertools.product(POSTS, BODIES):
        if door.path not in {"/signin", "/signout"}:
            answer = client.post(door.address, content=body, headers={"content-type": kind, **JSON})
            assert answer.status_code < 500, (door, body[:80], answer.text)
            assert "set-cookie" not in answer.headers
    assert client.get(f"/data{SLIDE}").json() == before


@pytest.mark.parametrize("body", [b"a&" * MOST_FIELDS + b"a", b"name=%00", b"name%00=ada", b"csrf=\x00"])
def test_a_form_that_none_of_our_pages_sends_is_refused(client: TestClient, body: bytes) -> None:
    for door in POSTS:
        answer = client.post(door.address, content=body, headers={"content-type": FORM})
        assert answer.status_code == 400, door


def test_no_address_with_nul_reaches_a_database(client: TestClient) -> None:
    by(client, "ada")
    for door in EVERY:
        for place in door.places:
            assert client.request(door.method, address_of(door.path, **{place: "%00"})).status_code == 400, door
        assert client.request(door.method, f"{door.address}?words=%00").status_code == 400


ELSEWHERE = (
    "../../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..\\..\\etc\\passwd", "/etc/passwd", "file:///etc/passwd",
    "....//....//etc/passwd", ".", "..", "../users.json", "C:\\win.ini",
)  # fmt: skip
"""Ways to other files than those that are served."""
PLACES = [(1, way) for way in ODD if isinstance(way, str) and way] + [(n, way) for way in ELSEWHERE for n in (1, 2)]


def test_no_place_of_an_address_leads_to_a_file_or_breaks_a_page(client: TestClient) -> None:
    """Encoded once, as it comes to a route, or twice, in case something decodes it again."""
    by(client, "ada")
    doors = [door for door in [*GETS, *POSTS] if door.places]
    for times, way in PLACES:
        encoded = quote(way if times == 1 else quote(way, safe=""), safe="")
        placed = [(door.method, address_of(door.path, **dict.fromkeys(door.places, encoded))) for door in doors]
        for method, address in [*placed, ("GET", f"/static/{encoded}"), ("GET", f"/{encoded}")]:
            answer = client.request(method, address)
            assert answer.status_code < 500, (method, address)
            assert "root:" not in answer.text
            assert "argon2" not in answer.text
            if answer.headers.get("content-type", "").startswith("text/html"):
                Page(answer.text).check()


def test_no_parameter_breaks_a_page_or_becomes_markup(client: TestClient) -> None:
    by(client, "ada")
    names = "words", "model", "since", "until", "from", "limit", "order", "like", "decimal", "next", "frame", "x"
    for door, value in itertools.product(GETS, ODD):
        if door.path in {"/events", "/slides/{site}/{device}/{slide}/report.pdf"}:
            continue
        answer = client.get(door.address, params=dict.fromkeys(names, value))
        assert answer.status_code < 500, (door, value)
        assert "set-cookie" not in answer.headers
        if answer.headers.get("content-type", "").startswith("text/html"):
            Page(answer.text).check()
