"""What people did is noted before it is done, and stays."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import StoreError, UsageError
from dashboard.security import deeds as module
from dashboard.security.deeds import FILE, Deeds


@pytest.fixture
def deeds(tmp_path: Path) -> Deeds:
    return Deeds(tmp_path / FILE)


def test_a_command_stands_with_who_asked_and_what_came_of_it_the_newest_first(deeds: Deeds) -> None:
    deeds.signed("sign_in", "ada", "127.0.0.1")
    done = deeds.command("ada", "lab/scope-1", "slide/start B-17")
    deeds.answered(done, ok=True, said="")
    failed = deeds.command("ada", "lab/scope-2", "slide/stop")
    deeds.answered(failed, ok=False, said="no answer has come within 10 s")
    deeds.command("bob", "lab/scope-1", "model/reload")
    found = [(one.kind, one.person, one.about, one.said, one.ok, one.answer) for one in deeds.latest(10)]
    assert found == [
        ("command", "bob", "lab/scope-1", "model/reload", None, ""),
        ("command", "ada", "lab/scope-2", "slide/stop", False, "no answer has come within 10 s"),
        ("command", "ada", "lab/scope-1", "slide/start B-17", True, ""),
        ("sign_in", "ada", "127.0.0.1", "", None, ""),
    ]
    assert [one.person for one in deeds.latest(1)] == ["bob"]


def test_a_server_that_is_started_again_goes_on_in_the_same_file(deeds: Deeds, tmp_path: Path) -> None:
    deeds.signed("sign_in", "ada", "127.0.0.1")
    again = Deeds(tmp_path / FILE)
    again.signed("sign_out", "ada", "127.0.0.1")
    assert [one.kind for one in again.latest(10)] == ["sign_out", "sign_in"]


@pytest.mark.parametrize("change", ["update deed set person = 'eve'", "delete from deed"])
def test_the_file_itself_refuses_to_change_what_stands_in_it(deeds: Deeds, tmp_path: Path, change: str) -> None:
    deeds.command("ada", "lab/scope-1", "slide/stop")
    with closing(sqlite3.connect(tmp_path / FILE)) as file, pytest.raises(sqlite3.IntegrityError, match="never"):
        file.execute(change)


def test_failures_can_not_fill_the_disk_nor_push_out_anything_else(
    deeds: Deeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FAILURES", 3)
    deeds.signed("sign_in", "ada", "127.0.0.1")
    for number in range(10):
        deeds.signed("sign_in_failed", "", f"10.0.0.{number}")
    found = deeds.latest(100)
    assert [one.about for one in found] == ["10.0.0.9", "10.0.0.8", "10.0.0.7", "127.0.0.1"]


def test_the_file_is_its_users_alone(deeds: Deeds, tmp_path: Path) -> None:
    deeds.signed("sign_in", "ada", "127.0.0.1")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_a_command_that_can_not_be_noted_fails_and_all_else_is_told_to_the_log(
    deeds: Deeds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match="can not be used"):
        deeds.command("ada", "lab/scope-1", "slide/stop")
    deeds.answered(7, ok=True, said="done")
    deeds.signed("sign_in_failed", "ada", "127.0.0.1")
    assert "the answer to command 7 was done" in caplog.text
    assert "sign_in_failed of ada from 127.0.0.1" in caplog.text


def test_a_file_that_is_none_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(UsageError, match="move it away"):
        Deeds(tmp_path / FILE)
