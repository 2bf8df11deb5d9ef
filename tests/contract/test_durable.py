"""A file is the old one or the new one."""

import os
from pathlib import Path

import pytest

from contract.durable import write_whole


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in (b"old", b"", b"new" * 100_000):
        write_whole(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_others_may_read_it_whatever_this_users_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_whole(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_what_can_not_be_written_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    """A folder is in its place: the rename fails after everything was written."""
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "old").touch()
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
