"""A sign-in tells no name, gives a session of its own, and ends the one before."""

import pytest
from argon2 import extract_parameters
from starlette.testclient import TestClient

from dashboard.security import sessions, users
from tests.dashboard.pages.conftest import PASSWORD, PEOPLE, Serve, by

WRONG = "a guess"  # what a person would not take


def attempt(client: TestClient, name: str, password: str = WRONG, **headers: str) -> int:
    """The code of an attempt."""
    code: int = client.post("/signin", data={"name": name, "password": password}, headers=headers).status_code
    return code


def test_a_name_that_there_is_not_takes_as_much_work_as_one_that_there_is(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve("signin")
    checked: list[str] = []
    plain = users._HASHER.verify

    class Counted:
        def verify(self, known: str, password: str) -> bool:
            checked.append(known)
            return plain(known, password)

    monkeypatch.setattr(users, "_HASHER", Counted())
    assert attempt(client, "ada") == attempt(client, "nobody") == attempt(client, "") == 401
    assert len(checked) == 3
    assert len({str(extract_parameters(known)) for known in checked}) == 1


def test_a_session_that_somebody_else_has_chosen_is_nobodys(serve: Serve) -> None:
    client = serve("signin")
    chosen = {"cookie": "session=chosen-by-somebody-else"}
    answer = client.post("/signin", data={"name": "ada", "password": PASSWORD}, headers=chosen)
    assert "chosen-by-somebody-else" not in answer.headers["set-cookie"]
    client.cookies.clear()
    assert client.get("/agents", headers=chosen).status_code == 303


def test_who_signs_in_again_is_no_longer_who_was_signed_in_before(serve: Serve) -> None:
    client = by(serve("signin"), "ada")
    before = dict(client.cookies)
    form = client.get("/signin").text
    assert f'name="csrf" value="{client.headers["x-csrf-token"]}"' in form.partition('action="/signin"')[2]
    by(client, "rita")
    assert dict(client.cookies) != before
    client.cookies.clear()
    client.cookies.update(before)
    assert client.get("/agents").status_code == 303


def test_no_two_sign_ins_give_the_same_cookie_or_word(serve: Serve) -> None:
    client = serve("signin")
    given = [(by(client, name).headers["x-csrf-token"], client.cookies["session"]) for name in [*PEOPLE, *PEOPLE]]
    assert len({word for word, _ in given}) == len({cookie for _, cookie in given}) == len(given)


@pytest.mark.parametrize("password", ["", "\U0001d518" * 1000, "a" * 99_999, f"{PASSWORD}a", PASSWORD[:-1]])
def test_nothing_but_the_password_is_the_password(serve: Serve, password: str) -> None:
    assert attempt(serve("signin"), "ada", password) == 401


def test_people_sign_in_again_when_the_file_of_sessions_is_gone(serve: Serve) -> None:
    client = by(serve("signin"), "ada")
    web = client.app.state.web  # type: ignore[attr-defined]
    (web.settings.state_dir / sessions.FILE).unlink()
    answer = client.get("/agents")
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin?next=%2Fagents")
    assert by(client, "ada").get("/agents").status_code == 200


def test_a_damaged_file_of_sessions_lets_nobody_in_and_its_removal_does(serve: Serve) -> None:
    client = by(serve("signin"), "ada")
    web = client.app.state.web  # type: ignore[attr-defined]
    file = web.settings.state_dir / sessions.FILE
    file.write_text("no database, though it is long enough to be taken for one" * 100)
    answer = client.get("/agents")
    assert (answer.status_code, "its log says more" in answer.text) == (503, True)
    file.unlink()
    assert by(client, "ada").get("/agents").status_code == 200
