"""An older version of a model is refused, unless it is expressly wanted."""

from pathlib import Path

import pytest

from agent.rollback_guard import FILE, recall, refuse_rollback, remember
from common.errors import IntegrityError, UsageError


def test_where_nothing_ran_anything_may_run(tmp_path: Path) -> None:
    refuse_rollback("blast", 1, tmp_path / "not made yet", allow=False)
    assert list(tmp_path.iterdir()) == []


def test_the_same_and_a_newer_version_may_run_and_an_older_may_not(tmp_path: Path) -> None:
    remember("blast", 3, tmp_path / "state")
    for version in (3, 4):
        refuse_rollback("blast", version, tmp_path / "state", allow=False)
    with pytest.raises(IntegrityError, match=r"version 2 is older than version 3.*allow_rollback"):
        refuse_rollback("blast", 2, tmp_path / "state", allow=False)
    refuse_rollback("blast", 2, tmp_path / "state", allow=True)


def test_an_older_version_that_ran_with_leave_does_not_lower_the_bar(tmp_path: Path) -> None:
    remember("blast", 3, tmp_path)
    remember("blast", 2, tmp_path)
    assert recall(tmp_path).newest == {"blast": 3}


def test_each_model_has_its_own_versions(tmp_path: Path) -> None:
    remember("blast", 3, tmp_path)
    remember("other", 1, tmp_path)
    refuse_rollback("other", 1, tmp_path, allow=False)
    assert recall(tmp_path).newest == {"blast": 3, "other": 1}


def test_nothing_but_the_note_is_left_behind(tmp_path: Path) -> None:
    for version in range(5):
        remember("blast", version, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", ["", "{}x", '{"newest": {"blast": "9"}}', '{"newest": {}, "more": 1}', "[]"])
def test_a_note_that_can_not_be_read_is_no_leave(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(IntegrityError, match=FILE):
        refuse_rollback("blast", 9, tmp_path, allow=False)
    with pytest.raises(IntegrityError, match=FILE):
        remember("blast", 9, tmp_path)
    assert (tmp_path / FILE).read_text() == content


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((UsageError, IntegrityError), match="file"):
        remember("blast", 1, tmp_path / "file")
