"""What attackers try, on every route that there is: the table in the threat model says what each check is for."""

import csv
import io
import itertools
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

from dashboard.security import sessions
from tests.dashboard.pages import hostile
from tests.dashboard.pages.conftest import PASSWORD, by, sign_in
from tests.dashboard.pages.everywhere import EVERY, FOR_READERS, GETS, OPEN, POSTS
from tests.dashboard.pages.hostile import EVIL, Page

SLIDE = "/slides/lab/scope-1/slide-7"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"}
JSON = {"accept": "application/json"}


def check_headers(answer: Any) -> None:
    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (headers["referrer-policy"], headers["cross-origin-opener-policy"]) == ("same-origin", "same-origin")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"].split(",")[0] in {"no-store", "private"}
    assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)


def test_every_answer_of_every_route_tells_the_browser_what_it_must_not_do(client: TestClient) -> None:
    for door in EVERY:
        check_headers(client.request(door.method, door.address))
    by(client, "rita")
    for door in EVERY:
        if door.path not in {"/events", "/signout"}:
            check_headers(client.request(door.method, door.address))


def test_who_is_not_signed_in_gets_nothing(client: TestClient) -> None:
    for cookie, door in itertools.product(("", "a" * 43), EVERY):
        client.cookies.set("session", cookie)
        if door.path not in OPEN:
            answer = client.request(door.method, door.address)
            is_page = door.method in {"GET", "HEAD"} and not door.path.startswith("/data/")
            assert answer.status_code == (303 if is_page else 401), door
            assert "r-s1-c1" not in answer.text
            assert client.request(door.method, door.address, headers=JSON).status_code == 401, door


def test_no_other_page_sends_anything_in_the_name_of_who_is_signed_in(client: TestClient) -> None:
    word = sign_in(client, "adam")
    wrong: list[dict[str, str]] = [
        {},
        {"x-csrf-token": ""},
        {"x-csrf-token": word[:-1]},
        {"x-csrf-token": word, "origin": "https://elsewhere.example"},
        {"x-csrf-token": word, "origin": "null"},
        {"x-csrf-token": word, "sec-fetch-site": "cross-site"},
        {"x-csrf-token": word, "sec-fetch-site": "same-site"},
    ]
    for headers, door in itertools.product(wrong, POSTS):
        assert client.post(door.address, headers=headers).status_code == 403, (door, headers)
    for door in POSTS:
        assert client.post(door.address, data={"csrf": "guessed"}).status_code == 403
        assert client.post(door.address, json={"csrf": word}).status_code == 403
    assert client.get("/agents").status_code == 200


def test_no_other_page_signs_anybody_in(client: TestClient) -> None:
    form = {"name": "ada", "password": PASSWORD}
    for headers in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/signin", data=form, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_a_reader_changes_nothing(client: TestClient) -> None:
    by(client, "rita")
    for door in POSTS:
        if door.path not in FOR_READERS:
            assert client.post(door.address, headers=JSON).status_code == 403, door


def test_a_method_that_a_route_does_not_know_is_refused_with_those_that_it_knows(client: TestClient) -> None:
    by(client, "ada")
    for path in {door.path for door in EVERY}:
        here = [door for door in EVERY if door.path == path]
        for method in METHODS - {one.method for one in here}:
            answer = client.request(method, here[0].address)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) <= {one.method for one in here}


def test_nothing_that_is_stored_becomes_markup(client: TestClient) -> None:
    by(client, "ada").post(f"{SLIDE}/review/begin")
    client.post(f"{SLIDE}/review/shown", json={"reading": "1", "object_ids": ["r-s1-c1"]})
    given = [{"object_id": "r-s1-c1", "kind": "unsure", "note": EVIL}]
    said = client.post(f"{SLIDE}/review/verdicts", json={"reading": "1", "call_id": "call-0001", "given": given})
    assert said.status_code == 200, said.text
    told = 0
    for door in GETS:
        answer = client.get(door.address) if door.path != "/events" else client.get("/agents")
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/html"):
            page = Page(answer.text)
            page.check()
            told += "alert(1)" in page.words + str(page.tags)
        else:
            assert kind.partition(";")[0] in hostile.HARMLESS, door
    assert told >= 5


def test_a_fault_of_ours_tells_no_more_than_that_it_is_one_and_what_the_browser_must_not_do(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    by(client, "ada")

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the program")

    monkeypatch.setattr("dashboard.pages.slides.found_slides", broken)
    monkeypatch.setattr("dashboard.pages.data.found_slides", broken)
    for path in ("/slides", "/data/slides"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        check_headers(answer)


def test_files_of_ours_that_are_damaged_are_told_to_nobody_who_is_not_signed_in(client: TestClient) -> None:
    by(client, "ada")
    web = client.app.state.web  # type: ignore[attr-defined]
    web.users.path.write_text("no users")
    for method, path in itertools.product(("GET", "POST"), ("/agents", "/data/agents", "/nowhere", "/signin")):
        answer = client.request(method, path)
        assert answer.status_code in {404, 405, 503}, (method, path)
        assert str(web.users.path) not in answer.text
        check_headers(answer)
    file = web.users.path.with_name(sessions.FILE)
    file.write_text("no sessions, though it is long enough to be taken for some" * 100)
    answer = client.get("/agents")
    assert (answer.status_code, str(file) in answer.text) == (503, False)


@pytest.mark.parametrize("key", ["lab/scope-2", "+/+", "%23/%23", "lab/$share", "../scope-1", "lab/" + "a" * 300])
def test_no_agent_is_asked_that_was_not_heard_of(client: TestClient, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    asked: list[object] = []
    monkeypatch.setattr("dashboard.pages.agents.ask", lambda *words: asked.append(words))
    monkeypatch.setattr("dashboard.live.views.ask", lambda *words: asked.append(words))
    by(client, "ada")
    assert client.post(f"/agents/{key}/command/slide/stop").status_code == 404
    site, device = unquote(key).split("/", 1)
    assert client.get("/events", params={"page": "live", "site": site, "device": device}).status_code == 404
    assert asked == []


def test_no_review_is_begun_of_a_slide_of_which_nothing_is_stored(client: TestClient) -> None:
    by(client, "ada")
    for name in ("slide-99", "a" * 9000, "%F0%9D%94%98"):
        assert client.post(f"/slides/lab/scope-1/{name}/review/begin").status_code == 404
    assert client.app.state.web.reviews.reviewed_slides() == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("asked", "delimiter"), [("", ","), ("?decimal=comma", ";")])
def test_no_field_of_a_table_is_a_formula(client: TestClient, asked: str, delimiter: str) -> None:
    text = by(client, "rita").get(f"{SLIDE}/cells.csv{asked}").text
    fields = [field for row in csv.reader(io.StringIO(text), delimiter=delimiter) for field in row]
    assert any(hostile.FORMULA in field for field in fields)
    for field in fields:
        assert field[:1] not in {*"=+@\t\r\n"}, field
        assert not field.startswith("-") or float(field.replace(",", "."))
