"""What every source promises; each kind is one parameter."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.settings import AnySource
from agent.sources.directory import DirectorySource, image_files
from agent.sources.opencv import CameraSource, VideoSource, shown
from agent.sources.synthetic import SyntheticSource
from contract.errors import SourceError, UsageError
from contract.types import Frame, Image

SIZE = (64, 48)


def picture(number: int) -> Image:
    """A grey frame whose brightness tells its number."""
    return np.full((SIZE[1], SIZE[0], 3), 40 + 10 * number, np.uint8)


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
        assert [p.relative_to(tmp_path).as_posix() for p in image_files(tmp_path)] == ["a2.png", "a10.png", "b/a1.png"]

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
            image_files(tmp_path / "nowhere")


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
            time.sleep(0.5)
            late = list(islice(frames, 2))
        assert sum(frame.skipped for frame in late) >= 3
        assert late[-1].read_ms < 500

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

    def test_a_camera_that_is_not_there_is_an_error(self) -> None:
        camera = CameraSource(uri="http://127.0.0.1:9/none", um_per_pixel=0.1, max_age_ms=300)
        with pytest.raises(SourceError, match="can not be opened"), camera.open("r", threading.Event()):
            pass

    def test_a_password_in_the_address_is_never_shown(self) -> None:
        assert shown("rtsp://user:secret@10.0.0.5/a") == "rtsp://10.0.0.5/a"
