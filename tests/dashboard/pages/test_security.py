"""Nobody sees or changes what they may not, whatever they send."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from dashboard.security.attempts import FREE
from dashboard.security.guard import MAX_BODY
from tests.dashboard.pages.conftest import BASE, PASSWORD, Serve, sign_in

PATHS = "/agents", "/agents/lab/scope-1", "/slides", "/slides/lab/scope-1/S-1", "/events?page=agents"
COMMAND = "/agents/lab/scope-1/command/slide/stop"


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve("security")


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_led_to_the_form_and_back(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 303
    form = client.get(answer.headers["location"])
    back = form.text.rpartition('name="next" value="')[2].partition('"')[0].replace("&amp;", "&")
    assert back == path
    done = client.post("/signin", data={"name": "rita", "password": PASSWORD, "next": back})
    assert done.headers["location"] == path


def test_a_program_that_is_not_signed_in_is_told_so(client: TestClient) -> None:
    answer = client.get("/agents", headers={"accept": "application/json"})
    assert (answer.status_code, list(answer.json())) == (401, ["error"])


@pytest.mark.parametrize(
    "wish", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "elsewhere", "/a\r\nb: c"]
)
def test_no_one_is_led_to_another_server(client: TestClient, wish: str) -> None:
    answer = client.post("/signin", data={"name": "ada", "password": PASSWORD, "next": wish})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_every_answer_tells_the_browser_what_it_must_not_do(client: TestClient) -> None:
    for path in ("/signin", "/nowhere", "/static/page.js", "/agents"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "server" not in headers
    assert client.get("/signin").headers["cache-control"] == "no-store"


def test_no_page_has_a_script_or_style_within(client: TestClient) -> None:
    sign_in(client, "ada")
    for path in ("/agents", "/slides", "/nowhere"):
        text = client.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert "<script>" not in text
        assert " onclick" not in text


def test_the_cookie_is_for_our_server_alone(client: TestClient) -> None:
    answer = client.post("/signin", data={"name": "ada", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.replace(";", "").split())


def test_over_https_the_cookie_never_goes_in_the_clear(serve: Serve) -> None:
    client = serve("security", behind_proxy=True)
    answer = client.post("/signin", data={"name": "ada", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-session=")
    assert "; secure" in cookie.lower()
    assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-csrf-token": "guessed"},
        {"origin": "https://elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "null"},
    ],
)
def test_a_request_that_none_of_our_pages_sent_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    word = sign_in(client, "ada")
    sent = headers if "x-csrf-token" in headers or not headers else {"x-csrf-token": word, **headers}
    assert client.post("/signout", headers=sent).status_code == 403
    assert client.get("/agents").status_code == 200


def test_what_a_role_may_not_it_can_not(client: TestClient) -> None:
    word = sign_in(client, "rita")
    answer = client.post(COMMAND, headers={"x-csrf-token": word, "accept": "application/json"})
    assert answer.status_code == 403
    assert "reviewer" in answer.json()["error"]


def test_who_signs_out_or_is_removed_is_out(client: TestClient) -> None:
    word = sign_in(client, "ada")
    cookie = dict(client.cookies)
    client.post("/signout", headers={"x-csrf-token": word})
    client.cookies.update(cookie)
    assert client.get("/agents").status_code == 303
    sign_in(client, "rita")
    client.app.state.web.users.remove("rita")  # type: ignore[attr-defined]
    assert client.get("/agents").status_code == 303


def test_another_password_ends_the_sessions_of_the_one_before(client: TestClient) -> None:
    sign_in(client, "ada")
    client.app.state.web.users.add("ada", "quite another one", "reviewer")  # type: ignore[attr-defined]
    assert client.get("/agents").status_code == 303


def test_guessing_is_slowed_and_names_are_not_told(client: TestClient) -> None:
    said = set()
    for number in range(FREE):
        for name in ("ada", "nobody"):
            wrong = client.post("/signin", data={"name": name, "password": f"guess {number}"})
            if wrong.status_code == 401:
                said.add(wrong.text.replace(name, "NAME"))
    assert len(said) == 1
    answer = client.post("/signin", data={"name": "ada", "password": PASSWORD})
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)


def test_guesses_that_come_at_once_are_no_more_than_those_that_come_one_by_one(client: TestClient) -> None:
    def guess(number: int) -> int:
        return client.post("/signin", data={"name": "ada", "password": f"guess {number}"}).status_code

    with ThreadPoolExecutor(20) as threads:
        codes = list(threads.map(guess, range(20)))
    assert set(codes) == {401, 429}
    assert codes.count(401) <= FREE + 1


def test_behind_a_proxy_who_guesses_makes_no_one_else_wait(serve: Serve) -> None:
    client = serve("security", behind_proxy=True)

    def code(name: str, *heard_from: str) -> int:
        headers = {"x-forwarded-for": ", ".join(heard_from)}
        return client.post("/signin", data={"name": name, "password": "guess"}, headers=headers).status_code

    for number in range(FREE):
        assert code(f"nobody-{number}", f"made up {number}", "192.0.2.7") == 401
    assert code("nobody", "192.0.2.8", "192.0.2.7") == 429
    assert code("nobody", "192.0.2.7", "192.0.2.8") == 401


def test_where_there_is_no_proxy_nobody_says_that_another_asks(client: TestClient) -> None:
    codes = [
        client.post(
            "/signin", data={"name": f"n-{number}", "password": "x"}, headers={"x-forwarded-for": f"192.0.2.{number}"}
        ).status_code
        for number in range(FREE + 1)
    ]
    assert codes[-1] == 429


@pytest.mark.parametrize(
    "host",
    ["elsewhere.example", "127.0.0.1.elsewhere.example", "", "[::2]", "127.0.0.1:80@elsewhere.example", "127.0.0.1:x",
     "[::1", "[::1]elsewhere.example", "127.0.0.1:", "http://127.0.0.1", "127.0.0.1/", "127.0.0.1:999999", "::1"],
)  # fmt: skip
def test_a_name_that_is_not_ours_gets_no_answer(client: TestClient, host: str) -> None:
    assert client.get("/signin", headers={"host": host}).status_code == 421


def test_our_names_are_those_of_the_settings_and_of_this_computer(serve: Serve) -> None:
    client = serve("security", names="page.lab.example, other")
    for host in ("page.lab.example", "PAGE.lab.example:8088", "other", "localhost:1", "[::1]:8088"):
        assert client.get("/signin", headers={"host": host}).status_code == 200


def test_a_long_request_is_refused(client: TestClient) -> None:
    answer = client.post("/signin", data={"name": "a" * (MAX_BODY + 1)})
    assert answer.status_code == 413
    chunks = (b"name=" + b"a" * 1000 for _ in range(MAX_BODY // 1000 + 10))
    assert client.post("/signin", content=chunks).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static//etc/passwd", "/static/..%2f..%2fpyproject.toml"],
)
def test_no_path_leads_out_of_the_folder_of_what_is_served(client: TestClient, path: str) -> None:
    answer = client.get(BASE + path)
    assert answer.status_code == 404
    assert "[project]" not in answer.text


def test_what_others_say_is_text_and_never_markup(client: TestClient) -> None:
    sign_in(client, "ada")
    evil = "<script>alert(1)</script>"
    for path in (f"/slides?words={evil}", f"/agents/lab/{evil}", f"/slides/lab/scope-1/{evil}"):
        assert evil not in client.get(path).text
    assert evil not in client.post("/signin", data={"name": evil, "password": "x"}).text


def test_a_store_that_is_away_is_told_in_words_and_not_as_a_fault(client: TestClient) -> None:
    sign_in(client, "ada")
    answer = client.get("/slides")
    assert answer.status_code == 503
    assert "start the collector first" in answer.text
