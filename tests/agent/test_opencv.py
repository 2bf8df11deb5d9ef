"""Videos and cameras as OpenCV opens them."""

import os
import re
import threading
from itertools import islice
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from agent.sources.opencv import CameraSource, VideoSource, _has_gstreamer, filled_in
from common.errors import SourceError
from contract.types import Frame
from tests.grey import jpeg, number_of, write_video
from tests.network_camera import NetworkCamera


def a_video(folder: Path) -> VideoSource:
    write_video(folder / "smear.avi", 5)
    return VideoSource(uri=folder / "smear.avi", um_per_pixel=0.1)


def frames_of(source: VideoSource) -> list[Frame]:
    with source.open(threading.Event()) as frames:
        return list(frames)


class TestVideo:
    """Every frame of a file."""

    def test_a_file_that_is_no_video_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.avi").write_text("no video")
        with (
            pytest.raises(SourceError, match="no video"),
            VideoSource(uri=tmp_path / "a.avi", um_per_pixel=1).open(threading.Event()),
        ):
            pass

    def test_lossless_frames_arrive_unchanged(self, tmp_path: Path) -> None:
        assert [number_of(frame.image) for frame in frames_of(a_video(tmp_path))] == [1, 2, 3, 4, 5]

    def test_a_video_that_was_cut_short_says_so_in_its_last_frame(self, tmp_path: Path) -> None:
        whole = a_video(tmp_path)
        data = whole.uri.read_bytes()
        starts = [chunk.start() for chunk in re.finditer(b"00dc", data)]
        whole.uri.write_bytes(data[: starts[2]])
        *good, last = frames_of(whole)
        assert 0 < len(good) < 5
        assert not any(frame.fault for frame in good)
        assert last.fault == "incomplete"
        assert "announces 5 frames" in last.detail

    def test_a_video_whose_medium_is_gone_ends_the_run_in_words(self, tmp_path: Path) -> None:
        stick = tmp_path / "stick"
        stick.mkdir()
        with a_video(stick).open(threading.Event()) as frames:
            next(frames)
            stick.rename(tmp_path / "pulled out")
            with pytest.raises(SourceError, match=r"smear\.avi is gone while it was read"):
                list(frames)

    def test_a_name_that_is_no_utf_8_is_a_name(self, tmp_path: Path) -> None:
        path = a_video(tmp_path).uri.rename(tmp_path / os.fsdecode(b"\xff.avi"))
        assert frames_of(VideoSource(uri=path, um_per_pixel=0.1))[0].source == r"\xff.avi#1"

    def test_a_frame_has_its_time_in_the_video(self, tmp_path: Path) -> None:
        times = [frame.meta.camera_s for frame in frames_of(a_video(tmp_path))]
        assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


class TestCamera:
    """A camera that OpenCV can open; a network camera is a real stream."""

    def test_a_silent_camera_is_reported_and_taken_up_again(self) -> None:
        """Its connection stays open, and nothing comes."""
        with (
            NetworkCamera([jpeg(1)]) as device,
            CameraSource(uri=device.url, um_per_pixel=0.1, max_age_ms=300).open(threading.Event()) as frames,
        ):
            assert next(frames).fault == ""
            device.silent.set()
            assert any(frame.fault == "stale" for frame in islice(frames, 5))
            device.silent.clear()
            assert any(frame.fault == "" for frame in islice(frames, 10))

    def test_motion_jpeg_over_http_tells_no_time_of_the_camera(self) -> None:
        """FFmpeg counts 25 frames a second in its place, whatever comes."""
        with (
            NetworkCamera([jpeg(1)]) as device,
            CameraSource(uri=device.url, um_per_pixel=0.1).open(threading.Event()) as frames,
        ):
            assert {frame.meta.camera_s for frame in islice(frames, 3)} == {None}

    @pytest.mark.parametrize("uri", ["http://127.0.0.1:9/none", "²", "9" * 20])
    def test_a_camera_that_is_not_there_is_an_error(self, uri: str) -> None:
        camera = CameraSource(uri=uri, um_per_pixel=0.1, max_age_ms=300)
        with pytest.raises(SourceError, match="can not be opened"), camera.open(threading.Event()):
            pass

    @pytest.mark.skipif(_has_gstreamer(), reason="this OpenCV has GStreamer")
    def test_a_pipeline_without_gstreamer_is_an_error_that_says_what_is_missing(self) -> None:
        camera = CameraSource(uri="videotestsrc ! appsink", um_per_pixel=0.1)
        with pytest.raises(SourceError, match="built without GStreamer"), camera.open(threading.Event()):
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
