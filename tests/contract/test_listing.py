"""Which files of a folder are the slide's pictures, and what is said of the others."""

import errno
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

import pytest

from contract.listing import Listing, pictures_below


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names_of(listing: Listing) -> list[str]:
    return [path.relative_to(listing.root).as_posix() for path in listing]


def test_what_is_hidden_or_was_put_there_by_a_system_is_no_picture_of_the_slide(tmp_path: Path) -> None:
    system = ("._a.jpg", "__MACOSX/a.jpg", ".Trash-1000/files/b.jpg", ".thumbnails/a.png", "@eaDir/a.jpg/THUMB.jpg")
    more = (
        "$RECYCLE.BIN/c.png",
        "System Volume Information/d.png",
        "lost+found/e.png",
        "x/@eaDir/f.png",
        "x/#recycle/g.png",
    )
    listing = pictures_below(made(tmp_path, "a.jpg", "x/b.WEBP", *system, *more))
    assert names_of(listing) == ["a.jpg", "x/b.WEBP"]
    assert listing.words == ""


def test_names_are_in_natural_order_and_a_folder_s_pictures_stay_together(tmp_path: Path) -> None:
    names = [
        "a2.png",
        "a10.png",
        "b9.png",
        "a/1.png",
        "a/2.png",
        "a/b/1.png",
        "a-b/1.png",
        "a2/1.png",
        "a02/1.png",
        "a02/2.png",
    ]
    listed = names_of(pictures_below(made(tmp_path, *names)))
    assert listed[:3] == ["a2.png", "a10.png", "b9.png"]
    folders = [name.rpartition("/")[0] for name in listed]
    assert [f for k, f in enumerate(folders) if k == 0 or folders[k - 1] != f] == ["", "a", "a/b", "a02", "a2", "a-b"]
    assert len(listed) == len(names)


def test_equal_names_have_one_order_however_the_disk_lists_them(tmp_path: Path) -> None:
    names = ("1.png", "01.png", "001.png", "1a.png")
    orders = {
        tuple(names_of(pictures_below(made(tmp_path / str(k), *order)))) for k, order in enumerate(permutations(names))
    }
    assert orders == {("001.png", "01.png", "1.png", "1a.png")}


def test_pictures_that_are_left_out_for_their_suffix_are_counted_and_named(tmp_path: Path) -> None:
    others = ("3.czi", "4.dng", "5.svs", "x/6.SVS", "7.gif", "film.avi")
    nothing = (".DS_Store", "Thumbs.db", "notes.txt", "r.jsonl", "m.xml", "README")
    words = pictures_below(made(tmp_path, "1.jpg", *others, *nothing)).words
    assert "6 files that are no picture of a kind that is read (.avi .czi .dng .gif .svs)" in words


def test_links_to_folders_are_not_followed_and_told(tmp_path: Path) -> None:
    made(tmp_path / "slide", "1.png")
    (tmp_path / "slide/again").symlink_to(tmp_path / "slide")
    listing = pictures_below(tmp_path / "slide")
    assert names_of(listing) == ["1.png"]
    assert "1 linked folder (again" in listing.words


def test_what_is_named_like_a_picture_is_listed_whatever_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nowhere")
    assert names_of(pictures_below(made(tmp_path, "c.png"))) == ["a.png", "b.png", "c.png"]


class Stale:
    """An entry of a folder that can not be looked at, as on a network's file system or a worn stick."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        raise OSError(errno.ESTALE, f"Stale file handle, {follow_symlinks=}")

    def is_symlink(self) -> bool:
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_can_not_be_looked_at_is_listed_and_the_others_around_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a.png", "z.png")
    real = os.scandir

    @contextmanager
    def scandir(place: Path) -> Iterator[Iterator[object]]:
        with real(place) as entries:
            yield iter([Stale("m.png"), Stale("n"), Stale("o.czi"), *entries])

    monkeypatch.setattr(os, "scandir", scandir)
    listing = pictures_below(tmp_path)
    assert names_of(listing) == ["a.png", "m.png", "z.png"]
    assert (listing.left_out[".czi"], listing.unread) == (1, [])


def test_a_listing_takes_little_memory_for_a_file(tmp_path: Path) -> None:
    count = 20_000
    for number in range(count):
        os.close(os.open(tmp_path / f"img{number}.png", os.O_CREAT | os.O_WRONLY))
    tracemalloc.start()
    try:
        listing = pictures_below(tmp_path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing) == count
    assert held / count < 150, "bytes: 120 MB for 800,000 files"


@contextmanager
def nobody() -> Iterator[None]:
    """As a user to whom the rights of files apply."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = made(Path(place), "a.png", "sub/b.png")
        root.chmod(0o755)
        (root / "sub").chmod(0)
        with nobody():
            listing = pictures_below(root)
    assert names_of(listing) == ["a.png"]
    assert listing.unread == [("sub", "Permission denied")]
    assert "1 folder that can not be read (sub: Permission denied)" in listing.words
    assert pictures_below(tmp_path / "gone").unread == [(str(tmp_path / "gone"), "No such file or directory")]
