"""What every source promises; each kind is one parameter."""

import http.server
import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import SecretStr, ValidationError

from agent.drawn import marked
from agent.settings import AnySource
from agent.sources.directory import DirectorySource, listed
from agent.sources.opencv import CameraSource, VideoSource, _has_gstreamer, filled_in
from agent.sources.synthetic import SyntheticSource
from common.errors import SourceError, UsageError
from contract.listing import Listing
from contract.pictures import read_picture
from contract.types import Frame, Image

SIZE = (64, 48)


def picture(number: int) -> Image:
    """A grey frame whose brightness tells its number."""
    return np.full((SIZE[1], SIZE[0], 3), 40 + 10 * number, np.uint8)


def tagged(data: bytes, block: bytes, size: tuple[int, int]) -> bytes:
    """A PNG or WebP with a block of EXIF data."""
    if data.startswith(b"\x89PNG"):
        part = b"eXIf" + block
        return data[:33] + struct.pack(">I", len(block)) + part + struct.pack(">I", zlib.crc32(part)) + data[33:]
    width, height = (struct.pack("<I", side - 1)[:3] for side in size)
    head = b"VP8X" + struct.pack("<IB", 10, 8) + bytes(3) + width + height
    body = data[12:] + b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(body)) + b"WEBP" + head + body


def a_folder(place: Path) -> DirectorySource:
    for number in range(1, 6):
        cv2.imwrite(str(place / f"frame{number}.png"), picture(number))
    return DirectorySource(uri=place, um_per_pixel=0.1)


def a_video(place: Path) -> VideoSource:
    path = place / "smear.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, SIZE)
    for number in range(1, 6):
        writer.write(picture(number))
    writer.release()
    return VideoSource(uri=path, um_per_pixel=0.1)


def a_rendered_smear(_: Path) -> SyntheticSource:
    return SyntheticSource(frames=5, width=320, height=240)


FINITE: dict[str, Callable[[Path], AnySource]] = {
    "directory": a_folder,
    "video": a_video,
    "synthetic": a_rendered_smear,
}


@pytest.fixture(params=FINITE)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> AnySource:
    return FINITE[request.param](tmp_path)


def test_frames_come_in_order_and_end(source: AnySource) -> None:
    with source.open("r", threading.Event()) as frames:
        seen = list(frames)
    assert [frame.id for frame in seen] == [f"r-{n:08d}" for n in range(1, 6)]
    assert all(frame.image.dtype == np.uint8 and frame.image.ndim == 3 for frame in seen)
    assert {frame.um_per_pixel for frame in seen} == {source.um_per_pixel}
    assert all(frame.captured_at.tzinfo is not None and not frame.fault for frame in seen)


def test_a_source_ends_when_it_is_told_to_stop(source: AnySource) -> None:
    stop = threading.Event()
    with source.open("r", stop) as frames:
        next(frames)
        stop.set()
        assert len(list(frames)) <= 1


def test_a_source_can_be_opened_again(source: AnySource) -> None:
    first, second = ([f.image.mean() for f in _all(source)] for _ in range(2))
    assert first == second


def _all(source: AnySource) -> list[Frame]:
    with source.open("r", threading.Event()) as frames:
        return list(frames)


class TestDirectory:
    """What a folder adds."""

    def test_names_are_sorted_as_people_count(self, tmp_path: Path) -> None:
        for name in ("a10.png", "a2.png", "b/a1.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name), picture(1))
        assert [path.relative_to(tmp_path).as_posix() for path in listed(tmp_path)] == ["a2.png", "a10.png", "b/a1.png"]

    def test_names_hold_whatever_linux_allows(self, tmp_path: Path) -> None:
        """Digits that Python calls digits and cannot count, and bytes that are no UTF-8."""
        for name in ("1²3.png".encode(), "٣.png".encode(), b"2\xff.png"):
            (tmp_path / os.fsdecode(name)).write_bytes(cv2.imencode(".png", picture(1))[1].tobytes())
        seen = _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))
        assert {frame.source for frame in seen} == {"1²3.png", "٣.png", r"2\xff.png"}
        assert not any(frame.fault for frame in seen)

    def test_an_image_is_taken_as_captured_whatever_its_tag_says_of_turning_it(self, tmp_path: Path) -> None:
        jpeg = cv2.imencode(".jpg", picture(1))[1].tobytes()
        turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        tag = b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned
        (tmp_path / "1.jpg").write_bytes(jpeg[:2] + tag + jpeg[2:])
        assert np.asarray(cv2.imread(str(tmp_path / "1.jpg"))).shape[:2] == SIZE, "the tag says nothing"
        assert read_picture(tmp_path / "1.jpg").shape[:2] == (SIZE[1], SIZE[0])

    @pytest.mark.parametrize("suffix", [".png", ".webp"])
    @pytest.mark.parametrize("orientation", [3, 6, 8])
    def test_nor_is_one_of_another_kind_turned(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        half = picture(1)
        half[:, : SIZE[0] // 2] = 0
        plain = cv2.imencode(suffix, half, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[1].tobytes()
        block = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, orientation, 0)
        (tmp_path / f"1{suffix}").write_bytes(tagged(plain, block, SIZE))
        assert np.array_equal(read_picture(tmp_path / f"1{suffix}"), half)

    def test_a_jpeg_or_png_may_be_followed_by_other_bytes(self, tmp_path: Path) -> None:
        for suffix in (".jpg", ".png"):
            data = cv2.imencode(suffix, picture(1))[1].tobytes()
            (tmp_path / f"1{suffix}").write_bytes(data + b"notes \xff\xda" * 20)
        assert [frame.fault for frame in _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))] == ["", ""]

    def test_a_jpeg_that_ends_within_its_picture_is_incomplete_though_its_thumbnail_is_whole(
        self, tmp_path: Path
    ) -> None:
        jpeg = cv2.imencode(".jpg", picture(1))[1].tobytes()
        thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
        (tmp_path / "1.jpg").write_bytes((jpeg[:2] + thumbnail + jpeg[2:])[:-10])
        assert [frame.fault for frame in _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))] == ["incomplete"]

    def test_a_file_of_several_pictures_is_refused_and_says_so(self, tmp_path: Path) -> None:
        cv2.imwritemulti(str(tmp_path / "1.tif"), [picture(1), picture(2), picture(3)])
        (frame,) = _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))
        assert frame.fault == "unreadable"
        assert "3 pictures" in frame.detail

    def test_bad_files_become_faults_and_the_good_ones_around_them_survive(self, tmp_path: Path) -> None:
        good = cv2.imencode(".jpg", picture(3))[1].tobytes()
        files = {"1.jpg": good, "2.jpg": b"just text", "3.jpg": good[: len(good) // 2], "4.jpg": b"", "5.jpg": good}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        source = DirectorySource(uri=tmp_path, um_per_pixel=0.1)
        with source.open("r", threading.Event()) as frames:
            faults = [frame.fault for frame in frames]
        assert faults == ["", "unreadable", "incomplete", "unreadable", ""]

    def test_an_image_of_400_megapixels_is_refused_before_it_is_decoded(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "huge.png"), np.zeros((20_000, 20_000), np.uint8))
        with DirectorySource(uri=tmp_path, um_per_pixel=0.1).open("r", threading.Event()) as frames:
            frame = next(frames)
        assert frame.fault == "too_large"
        assert frame.image.size == 0

    def test_an_empty_folder_is_an_error_that_says_what_was_looked_for(self, tmp_path: Path) -> None:
        with (
            pytest.raises(UsageError, match="holds no image"),
            DirectorySource(uri=tmp_path, um_per_pixel=1).open("r", threading.Event()),
        ):
            pass

    def test_a_missing_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no folder"):
            listed(tmp_path / "nowhere")

    def test_what_is_no_plain_file_or_is_not_there_is_told(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), picture(1))
        os.mkfifo(tmp_path / "b.png")
        (tmp_path / "c.png").symlink_to("nowhere")
        seen = {frame.source: frame.detail for frame in _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))}
        assert "no plain file" in seen["b.png"]
        assert "No such file" in seen["c.png"]
        assert seen["a.png"] == ""

    def test_pictures_that_this_program_drew_are_no_frames(self, tmp_path: Path) -> None:
        for suffix in (".png", ".jpg"):
            data = cv2.imencode(suffix, picture(1))[1].tobytes()
            (tmp_path / f"frame{suffix}").write_bytes(data)
            (tmp_path / f"drawn{suffix}").write_bytes(marked(data))
            assert read_picture(tmp_path / f"drawn{suffix}").shape == picture(1).shape
        assert {f.source for f in _all(DirectorySource(uri=tmp_path, um_per_pixel=0.1))} == {"frame.png", "frame.jpg"}

    def test_a_medium_that_is_gone_ends_the_run_in_words(self, tmp_path: Path) -> None:
        stick = tmp_path / "stick"
        stick.mkdir()
        with a_folder(stick).open("r", threading.Event()) as frames:
            next(frames)
            stick.rename(tmp_path / "pulled out")
            with pytest.raises(SourceError, match="gone while its pictures were read"):
                next(frames)

    def test_so_do_many_files_in_a_row_that_are_gone_and_a_few_are_told_one_by_one(self, tmp_path: Path) -> None:
        for number in range(20):
            cv2.imwrite(str(tmp_path / f"{number}.png"), picture(1))
        with DirectorySource(uri=tmp_path, um_per_pixel=0.1).open("r", threading.Event()) as frames:
            for number in (3, *range(6, 20)):
                (tmp_path / f"{number}.png").unlink()
            assert [frame.fault for frame in islice(frames, 15)] == [""] * 3 + ["unreadable"] + [""] * 2 + [
                "unreadable"
            ] * 9
            with pytest.raises(SourceError, match="gone"):
                next(frames)

    def test_a_folder_that_can_not_be_read_is_a_frame_that_says_so(self, tmp_path: Path) -> None:
        source = DirectorySource(uri=tmp_path, um_per_pixel=0.1)
        listing = Listing(tmp_path, unread=[("sub", "Permission denied")])
        (frame,) = source.frames("r", threading.Event(), listing)
        assert (frame.source, frame.fault) == ("sub/", "unreadable")
        assert "Permission denied" in frame.detail


class TestVideo:
    """What a video adds."""

    def test_a_file_that_is_no_video_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.avi").write_text("no video")
        with (
            pytest.raises(SourceError, match="no video"),
            VideoSource(uri=tmp_path / "a.avi", um_per_pixel=1).open("r", threading.Event()),
        ):
            pass

    def test_lossless_frames_arrive_unchanged(self, tmp_path: Path) -> None:
        with a_video(tmp_path).open("r", threading.Event()) as frames:
            means = [round(float(frame.image.mean())) for frame in frames]
        assert means == [50, 60, 70, 80, 90]

    def test_a_video_that_was_cut_short_says_so_in_its_last_frame(self, tmp_path: Path) -> None:
        whole = a_video(tmp_path)
        data = whole.uri.read_bytes()
        starts = [chunk.start() for chunk in re.finditer(b"00dc", data)]
        whole.uri.write_bytes(data[: starts[2]])
        *good, last = _all(whole)
        assert 0 < len(good) < 5
        assert not any(frame.fault for frame in good)
        assert last.fault == "incomplete"
        assert "announces 5 frames" in last.detail

    def test_a_video_whose_medium_is_gone_ends_the_run_in_words(self, tmp_path: Path) -> None:
        stick = tmp_path / "stick"
        stick.mkdir()
        with a_video(stick).open("r", threading.Event()) as frames:
            next(frames)
            stick.rename(tmp_path / "pulled out")
            with pytest.raises(SourceError, match=r"smear\.avi is gone while it was read"):
                list(frames)

    def test_a_name_that_is_no_utf_8_is_a_name(self, tmp_path: Path) -> None:
        path = a_video(tmp_path).uri.rename(tmp_path / os.fsdecode(b"\xff.avi"))
        assert _all(VideoSource(uri=path, um_per_pixel=0.1))[0].source == r"\xff.avi#1"


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A network camera: motion JPEG over HTTP, which falls silent when it is told to."""

    pause_s = 0.02
    silent = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        number = 0
        while True:
            number = (number + 1) % 20
            jpeg = cv2.imencode(".jpg", picture(number))[1].tobytes()
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return
            while self.silent.is_set():
                time.sleep(0.01)
            time.sleep(self.pause_s)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def a_network_camera() -> Iterator[str]:
    Mjpeg.silent.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stream.mjpeg"
    finally:
        Mjpeg.silent.clear()
        server.shutdown()
        server.server_close()


class TestCamera:
    """What a live camera adds; the camera is a real network stream."""

    def test_the_newest_frame_wins_and_the_skipped_ones_are_counted(self) -> None:
        with a_network_camera() as url, CameraSource(uri=url, um_per_pixel=0.1).open("r", threading.Event()) as frames:
            next(frames)
            time.sleep(0.25)
            halfway = datetime.now(timezone.utc)
            time.sleep(0.25)
            late = list(islice(frames, 2))
        assert sum(frame.skipped for frame in late) >= 3
        assert halfway < late[0].captured_at < late[1].captured_at

    def test_a_silent_camera_is_reported_and_taken_up_again(self) -> None:
        camera = CameraSource(uri="", um_per_pixel=0.1, max_age_ms=300)
        with (
            a_network_camera() as url,
            camera.model_copy(update={"uri": url}).open("r", threading.Event()) as frames,
        ):
            assert next(frames).fault == ""
            Mjpeg.silent.set()
            assert any(frame.fault == "stale" for frame in islice(frames, 5))
            Mjpeg.silent.clear()
            assert any(frame.fault == "" for frame in islice(frames, 10))

    @pytest.mark.parametrize("uri", ["http://127.0.0.1:9/none", "²", "9" * 20])
    def test_a_camera_that_is_not_there_is_an_error(self, uri: str) -> None:
        camera = CameraSource(uri=uri, um_per_pixel=0.1, max_age_ms=300)
        with pytest.raises(SourceError, match="can not be opened"), camera.open("r", threading.Event()):
            pass

    @pytest.mark.skipif(_has_gstreamer(), reason="this OpenCV has GStreamer")
    def test_a_pipeline_without_gstreamer_is_an_error_that_says_what_is_missing(self) -> None:
        camera = CameraSource(uri="videotestsrc ! appsink", um_per_pixel=0.1)
        with pytest.raises(SourceError, match="built without GStreamer"), camera.open("r", threading.Event()):
            pass

    def test_reports_call_it_by_its_name_or_its_host(self) -> None:
        address = "rtsp://user:secret@10.0.0.5/a"
        assert CameraSource(uri=address, um_per_pixel=0.1).label == "rtsp://10.0.0.5/********"
        assert CameraSource(uri=address, um_per_pixel=0.1, name="left scope").label == "left scope"

    @pytest.mark.parametrize(
        ("uri", "opened"),
        [
            ("rtsp://10.0.0.5/a", "rtsp://a%40b:p%2Fw%3A%40@10.0.0.5/a"),
            ("http://h/v?user={username}&pwd={password}", "http://h/v?user=a%40b&pwd=p%2Fw%3A%40"),
            ("x user-pw={password} ! appsink", r"x user-pw=p\/w\:\@ ! appsink"),
        ],
    )
    def test_its_credential_stands_where_the_address_wants_it(self, uri: str, opened: str) -> None:
        source = CameraSource(uri=uri, um_per_pixel=0.1, username="a@b", password=SecretStr("p/w:@"))
        assert source.address == opened
        assert "p/w" not in repr(source)

    def test_an_address_without_a_credential_is_opened_as_it_is(self) -> None:
        assert filled_in("rtsp://u:p@h/a", "", "") == "rtsp://u:p@h/a"

    def test_a_credential_for_a_device_is_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"no place in source\.uri"):
            CameraSource(uri="/dev/video0", um_per_pixel=0.1, password=SecretStr("x"))
