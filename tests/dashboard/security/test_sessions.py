"""A session lasts over a start of the server, and ends when it should."""

from pathlib import Path

import pytest

from common.errors import StoreError, UsageError
from dashboard.security.sessions import Sessions


def test_a_session_lasts_over_a_start_of_the_server(tmp_path: Path) -> None:
    token = Sessions(tmp_path / "s.sqlite", hours=1).begin("ada")
    found = Sessions(tmp_path / "s.sqlite", hours=1).find(token)
    assert found is not None
    assert (found.name, len(found.csrf) >= 32) == ("ada", True)


def test_neither_another_word_nor_one_that_is_signed_out_or_too_old_opens(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "s.sqlite", hours=1)
    token = sessions.begin("ada")
    assert sessions.find(token + "x") is None
    assert sessions.find("") is None
    sessions.end(token)
    assert sessions.find(token) is None
    old = Sessions(tmp_path / "s.sqlite", hours=-1)
    assert old.find(old.begin("ada")) is None


def test_the_file_holds_nothing_that_a_browser_could_send(tmp_path: Path) -> None:
    token = Sessions(tmp_path / "s.sqlite", hours=1).begin("ada")
    assert not any(token.encode() in file.read_bytes() for file in tmp_path.iterdir())
    assert (tmp_path / "s.sqlite").stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("no database, though it is long enough to be taken for one" * 100)
    with pytest.raises(UsageError, match=r"s\.sqlite can not be opened .* remove it"):
        Sessions(tmp_path / "s.sqlite", hours=1)


def test_a_file_that_is_removed_meanwhile_is_made_again_for_this_user_alone(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "s.sqlite", hours=1)
    before = sessions.begin("ada")
    (tmp_path / "s.sqlite").unlink()
    assert sessions.find(before) is None
    assert (tmp_path / "s.sqlite").stat().st_mode & 0o077 == 0
    (tmp_path / "s.sqlite").unlink()
    found = sessions.find(sessions.begin("ada"))
    assert found is not None
    assert found.name == "ada"
    (tmp_path / "s.sqlite").write_bytes(b"")
    assert sessions.find("ada") is None


def test_a_file_that_can_not_be_used_any_more_is_named_with_the_remedy(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "s.sqlite", hours=1)
    (tmp_path / "s.sqlite").write_text("no database, though it is long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match=r"s\.sqlite can not be used .* remove it: everybody signs in again"):
        sessions.find("ada")
