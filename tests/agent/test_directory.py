"""A folder of images: order, names, what is no picture, and a medium that is gone."""

import os
import struct
import threading
import zlib
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.drawn_mark import marked
from agent.sources.directory import DirectorySource, listed
from common.errors import SourceError, UsageError
from contract.listing import Listing
from contract.pictures import read_picture
from contract.types import Frame
from tests.grey import SIZE, picture, write_pictures


def frames_of(source: DirectorySource) -> list[Frame]:
    with source.open(threading.Event()) as frames:
        return list(frames)


def tagged(data: bytes, block: bytes, size: tuple[int, int]) -> bytes:
    """A PNG or WebP with a block of EXIF data."""
    if data.startswith(b"\x89PNG"):
        part = b"eXIf" + block
        return data[:33] + struct.pack(">I", len(block)) + part + struct.pack(">I", zlib.crc32(part)) + data[33:]
    width, height = (struct.pack("<I", side - 1)[:3] for side in size)
    head = b"VP8X" + struct.pack("<IB", 10, 8) + bytes(3) + width + height
    body = data[12:] + b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(body)) + b"WEBP" + head + body


def test_names_are_sorted_as_people_count(tmp_path: Path) -> None:
    for name in ("a10.png", "a2.png", "b/a1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), picture(10))
    assert [path.relative_to(tmp_path).as_posix() for path in listed(tmp_path)] == ["a2.png", "a10.png", "b/a1.png"]


def test_names_hold_whatever_linux_allows(tmp_path: Path) -> None:
    """Digits that Python calls digits and cannot count, and bytes that are no UTF-8."""
    for name in ("1²3.png".encode(), "٣.png".encode(), b"2\xff.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(cv2.imencode(".png", picture(10))[1].tobytes())
    seen = frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))
    assert {frame.source for frame in seen} == {"1²3.png", "٣.png", r"2\xff.png"}
    assert not any(frame.fault for frame in seen)


def test_an_image_is_taken_as_captured_whatever_its_tag_says_of_turning_it(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture(10))[1].tobytes()
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    tag = b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned
    (tmp_path / "1.jpg").write_bytes(jpeg[:2] + tag + jpeg[2:])
    assert np.asarray(cv2.imread(str(tmp_path / "1.jpg"))).shape[:2] == SIZE, "the tag says nothing"
    assert read_picture(tmp_path / "1.jpg").shape[:2] == (SIZE[1], SIZE[0])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_image_of_another_kind_is_not_turned_either(tmp_path: Path, suffix: str, orientation: int) -> None:
    half = picture(10)
    half[:, : SIZE[0] // 2] = 0
    plain = cv2.imencode(suffix, half, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[1].tobytes()
    block = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, orientation, 0)
    (tmp_path / f"1{suffix}").write_bytes(tagged(plain, block, SIZE))
    assert np.array_equal(read_picture(tmp_path / f"1{suffix}"), half)


def test_a_jpeg_or_png_may_be_followed_by_other_bytes(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        data = cv2.imencode(suffix, picture(10))[1].tobytes()
        (tmp_path / f"1{suffix}").write_bytes(data + b"notes \xff\xda" * 20)
    assert [frame.fault for frame in frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))] == ["", ""]


def test_a_jpeg_that_ends_within_its_picture_is_incomplete_though_its_thumbnail_is_whole(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture(10))[1].tobytes()
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
    (tmp_path / "1.jpg").write_bytes((jpeg[:2] + thumbnail + jpeg[2:])[:-10])
    assert [frame.fault for frame in frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))] == ["incomplete"]


def test_a_file_of_several_pictures_is_refused_and_says_so(tmp_path: Path) -> None:
    cv2.imwritemulti(str(tmp_path / "1.tif"), [picture(10), picture(20), picture(30)])
    (frame,) = frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))
    assert frame.fault == "unreadable"
    assert "3 pictures" in frame.detail


def test_bad_files_become_faults_and_the_good_ones_around_them_survive(tmp_path: Path) -> None:
    good = cv2.imencode(".jpg", picture(30))[1].tobytes()
    files = {"1.jpg": good, "2.jpg": b"just text", "3.jpg": good[: len(good) // 2], "4.jpg": b"", "5.jpg": good}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    source = DirectorySource(uri=tmp_path, um_per_pixel=0.1)
    with source.open(threading.Event()) as frames:
        faults = [frame.fault for frame in frames]
    assert faults == ["", "unreadable", "incomplete", "unreadable", ""]


def test_an_image_of_400_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "huge.png"), np.zeros((20_000, 20_000), np.uint8))
    with DirectorySource(uri=tmp_path, um_per_pixel=0.1).open(threading.Event()) as frames:
        frame = next(frames)
    assert frame.fault == "too_large"
    assert frame.image.size == 0


def test_an_empty_folder_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="holds no image"),
        DirectorySource(uri=tmp_path, um_per_pixel=1).open(threading.Event()),
    ):
        pass


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        listed(tmp_path / "nowhere")


def test_what_is_no_plain_file_or_is_not_there_is_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(10))
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("nowhere")
    seen = {frame.source: frame.detail for frame in frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))}
    assert "no plain file" in seen["b.png"]
    assert "No such file" in seen["c.png"]
    assert seen["a.png"] == ""


def test_pictures_that_this_program_drew_are_no_frames(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg"):
        data = cv2.imencode(suffix, picture(10))[1].tobytes()
        (tmp_path / f"frame{suffix}").write_bytes(data)
        (tmp_path / f"drawn{suffix}").write_bytes(marked(data))
        assert read_picture(tmp_path / f"drawn{suffix}").shape == picture(10).shape
    assert {f.source for f in frames_of(DirectorySource(uri=tmp_path, um_per_pixel=0.1))} == {"frame.png", "frame.jpg"}


def test_a_medium_that_is_gone_ends_the_run_in_words(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    write_pictures(stick, 5)
    with DirectorySource(uri=stick, um_per_pixel=0.1).open(threading.Event()) as frames:
        next(frames)
        stick.rename(tmp_path / "pulled out")
        with pytest.raises(SourceError, match="gone while its pictures were read"):
            next(frames)


def test_many_files_in_a_row_that_are_gone_end_the_run_and_a_few_are_told_one_by_one(tmp_path: Path) -> None:
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(10))
    with DirectorySource(uri=tmp_path, um_per_pixel=0.1).open(threading.Event()) as frames:
        for number in (3, *range(6, 20)):
            (tmp_path / f"{number}.png").unlink()
        assert [frame.fault for frame in islice(frames, 15)] == [""] * 3 + ["unreadable"] + [""] * 2 + [
            "unreadable"
        ] * 9
        with pytest.raises(SourceError, match="gone"):
            next(frames)


def test_a_folder_that_can_not_be_read_is_a_frame_that_says_so(tmp_path: Path) -> None:
    source = DirectorySource(uri=tmp_path, um_per_pixel=0.1)
    listing = Listing(tmp_path, unread=[("sub", "Permission denied")])
    (frame,) = source.frames(threading.Event(), listing)
    assert (frame.source, frame.fault) == ("sub/", "unreadable")
    assert "Permission denied" in frame.detail
