"""Who may sign in stands in a file of hashes."""

import json
import stat
from pathlib import Path

import pytest

from common.errors import UsageError
from dashboard.security.users import LEAST_PASSWORD, LONGEST_PASSWORD, Users

PASSWORD = "a smear of one's own"  # noqa: S105 - of a person who is made up


@pytest.fixture
def people(tmp_path: Path) -> Users:
    made = Users(tmp_path / "state" / "users.json")
    made.add("ada", PASSWORD, "reviewer")
    return made


def test_a_name_and_its_password_belong_together_and_no_others(people: Users) -> None:
    assert people.knows("ada", PASSWORD)
    assert not people.knows("ada", PASSWORD + " ")
    assert not people.knows("bob", PASSWORD)
    assert not people.knows("", "")


def test_the_file_holds_no_password_and_is_for_this_user_alone(people: Users) -> None:
    text = people.path.read_text()
    assert PASSWORD not in text
    assert "$argon2id$" in text
    assert stat.S_IMODE(people.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(people.path.parent.stat().st_mode) == 0o700


def test_who_is_removed_elsewhere_is_out_at_once(people: Users) -> None:
    Users(people.path).remove("ada")
    assert people.find("ada") is None
    assert not people.knows("ada", PASSWORD)


def test_another_password_and_role_take_the_place_of_those_before(people: Users) -> None:
    before = people.find("ada")
    people.add("ada", "another sentence", "administrator")
    after = people.find("ada")
    assert before is not None
    assert after is not None
    assert (after.role, after.since > before.since) == ("administrator", True)
    assert not people.knows("ada", PASSWORD)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "<b>", "x" * 65, "a\n"])
def test_an_odd_name_is_refused(people: Users, name: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        people.add(name, PASSWORD, "reader")


@pytest.mark.parametrize("length", [0, LEAST_PASSWORD - 1, LONGEST_PASSWORD + 1])
def test_a_password_that_is_too_short_or_too_long_is_refused(people: Users, length: int) -> None:
    with pytest.raises(UsageError, match="a password has"):
        people.add("bob", "x" * length, "reader")


KING = {"ada": {"role": "king", "hash": "x", "since": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps(KING)])
def test_a_damaged_file_lets_nobody_in_and_is_named(people: Users, content: str) -> None:
    people.path.write_text(content)
    with pytest.raises(UsageError, match=r"users\.json can not be read"):
        people.knows("ada", PASSWORD)


def test_a_hash_that_is_none_lets_nobody_in(people: Users) -> None:
    written = json.loads(people.path.read_text())
    written["ada"]["hash"] = "plain"
    people.path.write_text(json.dumps(written))
    assert not people.knows("ada", PASSWORD)
    assert not people.knows("ada", "plain")
