"""A file is the old one or the new one."""

import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from common.durable import draft_of, fitting, growing, write_whole
from common.errors import UsageError


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


def test_a_growing_file_has_its_name_only_when_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old")
    with growing(path) as file:
        file.write("a\n")
        assert (path.read_text(), draft_of(path).read_text()) == ("old", "a\n")
    assert path.read_text() == "a\n"
    assert [file.name for file in tmp_path.iterdir()] == ["r.jsonl"]


def test_what_was_written_before_a_failure_stays_under_the_drafts_name(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with suppress(KeyError), growing(path) as file:
        file.write("a\n")
        raise KeyError
    assert not path.exists()
    assert draft_of(path).read_text() == "a\n"
    with growing(path) as file:
        file.write("b\n")
    assert path.read_text() == "b\n"


def test_a_second_writer_of_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with growing(path) as file:
        file.write("first\n")
        with pytest.raises(UsageError, match="another program is writing"), growing(path):
            pass
    assert path.read_text() == "first\n"


def test_a_full_disk_leaves_no_half_file_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write_whole(path, bytes(2000))
        with pytest.raises(OSError, match="large"), growing(path) as file:
            file.write("x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not path.exists()


def test_a_pipe_and_a_device_are_written_as_they_are(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"x")
    with growing(pipe) as file:
        file.write("y\n")
    assert os.read(reader, 9) == b"xy\n"
    os.close(reader)
    write_whole(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_a_link_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["x" * 255, "ż" * 127])
def test_the_longest_name_can_be_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"x")
    with growing(tmp_path / name) as file:
        file.write("y")
    assert (tmp_path / name).read_text() == "y"


def test_a_name_that_a_suffix_makes_too_long_is_cut_and_stays_unlike_others() -> None:
    assert fitting("a.jpg", ".png") == "a.jpg.png"
    one, other = (fitting("ż" * 127 + end, ".png") for end in "ab")
    assert one != other
    assert all(len(os.fsencode(name)) <= 255 and name.endswith(".png") for name in (one, other))
