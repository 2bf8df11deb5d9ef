"""Videos and network cameras whose pictures are damaged, lost, turned, or of another size than the first."""

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.frame_sizes import size_in_header
from agent.sources.opencv import CameraSource, VideoSource
from agent.sources.place import VIDEOS, recording_at
from agent.sources.stream import _Gaps
from contract.types import Frame, Image
from tests.h264 import copies, described, described_by_h265, key_frames, transport_stream
from tests.network_camera import NetworkCamera

SIZE = (320, 240)


def picture(number: int, size: tuple[int, int] = SIZE) -> Image:
    """Something with detail, another one for each number."""
    small = np.random.default_rng(number).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(number: int, size: tuple[int, int] = SIZE) -> bytes:
    return cv2.imencode(".jpg", picture(number, size))[1].tobytes()


def claims(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its head."""
    at = data.find(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">2H", height, width) + data[at + 4 :]


def without_tables(data: bytes) -> bytes:
    """As webcams write motion JPEG: the usual Huffman tables are left out."""
    while (at := data.find(b"\xff\xc4")) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def an_avi(path: Path, jpegs: Sequence[bytes], size: tuple[int, int] = SIZE, *, code: bytes = b"MJPG") -> VideoSource:
    """Motion JPEG, or another coding, in AVI, its pictures as they are given."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def listed(name: bytes, data: bytes) -> bytes:
        return chunk(b"LIST", name + data)

    width, height = size
    avih = struct.pack("<14I", 100000, 0, 0, 0x10, len(jpegs), 0, 1, 0, width, height, 0, 0, 0, 0)
    strh = (
        b"vids" + code + struct.pack("<I2H8I4h", 0, 0, 0, 0, 1, 10, 0, len(jpegs), 0, 2**32 - 1, 0, 0, 0, width, height)
    )
    strf = struct.pack("<3I2H4s5I", 40, width, height, 1, 24, code, width * height * 3, 0, 0, 0, 0)
    movi, index, at = b"", b"", 4
    for data in jpegs:
        movi += chunk(b"00dc", data)
        index += b"00dc" + struct.pack("<3I", 0x10, at, len(data))
        at += 8 + len(data) + len(data) % 2
    head = listed(b"hdrl", chunk(b"avih", avih) + listed(b"strl", chunk(b"strh", strh) + chunk(b"strf", strf)))
    path.write_bytes(chunk(b"RIFF", b"AVI " + head + listed(b"movi", movi) + chunk(b"idx1", index)))
    return VideoSource(uri=path, um_per_pixel=0.1)


def a_recording(path: Path, code: str, numbers: Sequence[int], size: tuple[int, int] = SIZE) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 25, size)
    for number in numbers:
        writer.write(picture(number, size))
    writer.release()
    return path


def packets_of(path: Path) -> list[bytes]:
    """What a video holds, one picture each."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.set(cv2.CAP_PROP_FORMAT, -1)
    return [content.tobytes() for good, content in iter(capture.read, (False, None)) if good]


def frames_of(source: VideoSource) -> list[Frame]:
    with source.open(threading.Event()) as frames:
        return list(frames)


class TestMotionJpeg:
    """FFmpeg fills a cut picture with the one before, and stretches one of another size: so it decodes none."""

    def test_what_is_cut_is_incomplete_and_what_is_whole_has_its_own_pixels(self, tmp_path: Path) -> None:
        cut = [jpeg(n)[:2000] if n % 2 else jpeg(n) for n in range(6)]
        seen = frames_of(an_avi(tmp_path / "a.avi", cut))
        assert [frame.fault for frame in seen] == ["", "incomplete"] * 3
        assert "a.avi#2: " in seen[1].detail
        for number in (0, 2, 4):
            assert np.abs(seen[number].image.astype(int) - picture(number)).mean() < 3

    def test_a_picture_of_another_size_has_that_size(self, tmp_path: Path) -> None:
        sizes = [SIZE, SIZE, (320, 180), (160, 120), (640, 480)]
        seen = frames_of(an_avi(tmp_path / "a.avi", [jpeg(n, size) for n, size in enumerate(sizes)]))
        assert [(frame.image.shape[1], frame.image.shape[0]) for frame in seen] == sizes

    def test_a_picture_larger_than_any_is_refused_before_it_is_decoded(self, tmp_path: Path) -> None:
        huge = claims(jpeg(1), 16000, 16000)
        seen = frames_of(an_avi(tmp_path / "a.avi", [huge, jpeg(2)], (16000, 16000)))
        assert [frame.fault for frame in seen] == ["too_large", ""]
        assert "16000x16000" in seen[0].detail

    def test_usual_huffman_tables_may_be_left_out(self, tmp_path: Path) -> None:
        whole, bare = frames_of(an_avi(tmp_path / "a.avi", [jpeg(1), without_tables(jpeg(1))]))
        assert np.array_equal(whole.image, bare.image)

    def test_one_field_of_an_interlaced_picture_is_no_picture(self, tmp_path: Path) -> None:
        field = b"\xff\xd8\xff\xe0\x00\x10AVI1\x01" + bytes(9) + jpeg(1)[2:]
        (seen,) = frames_of(an_avi(tmp_path / "a.avi", [field]))
        assert (seen.fault, "without interlacing" in seen.detail) == ("incomplete", True)


@contextmanager
def a_camera(*jpegs: bytes) -> Iterator[CameraSource]:
    with NetworkCamera(jpegs) as camera:
        yield CameraSource(uri=camera.url, um_per_pixel=0.1, max_age_ms=5000)


class TestCamera:
    """The same of a live one."""

    def test_damage_and_size_are_those_of_each_picture(self) -> None:
        sent = {(320, 240): "", (160, 120): "", (0, 0): "incomplete"}
        with (
            a_camera(jpeg(1), jpeg(2, (160, 120)), jpeg(3)[:3000]) as camera,
            camera.open(threading.Event()) as frames,
        ):
            seen = list(islice(frames, 40))
        assert {(frame.image.shape[1], frame.image.shape[0]): frame.fault for frame in seen} == sent

    def test_pictures_larger_than_any_are_refused_before_they_are_decoded(self) -> None:
        with a_camera(claims(jpeg(1), 16000, 16000)) as camera, camera.open(threading.Event()) as frames:
            assert next(frames).fault == "too_large"


class TestLoss:
    """Pictures that are coded as changes of those before them."""

    def test_after_a_loss_in_transport_nothing_is_judged_until_the_next_key_frame(self, tmp_path: Path) -> None:
        path = a_recording(tmp_path / "a.ts", "mp4v", range(36))
        packets = [path.read_bytes()[at : at + 188] for at in range(0, path.stat().st_size, 188)]
        starts = [k for k, packet in enumerate(packets) if packet[1:3] == b"\x41\x00"]  # OpenCV's first stream is 0x100
        assert len(starts) == 36
        hurt = starts[15] + 1
        path.write_bytes(b"".join(packets[:hurt] + packets[hurt + 1 :]))
        whole = frames_of(VideoSource(uri=a_recording(tmp_path / "whole.ts", "mp4v", range(36)), um_per_pixel=0.1))
        seen = frames_of(VideoSource(uri=path, um_per_pixel=0.1))
        faults = [frame.fault for frame in seen]
        assert faults[:15] == [""] * 15
        assert "incomplete" in faults[15:]
        assert faults[-1] == "", "a key frame came since"
        assert not any(frame.fault for frame in whole)
        for frame in seen:
            if not frame.fault:
                assert min(np.abs(frame.image.astype(int) - true.image).mean() for true in whole) < 1

    def test_of_h264_too(self, tmp_path: Path) -> None:
        """A packet of the second key frame is lost, and the three pictures behind it would repeat the first."""
        size, pictures = (64, 48), list[bytes]()
        for level in (50, 100, 150):
            pictures += [*key_frames(size, [level]), *copies(size, (1, 2, 3))]
        packets = transport_stream(pictures)
        (tmp_path / "whole.ts").write_bytes(b"".join(packets))
        whole = frames_of(VideoSource(uri=tmp_path / "whole.ts", um_per_pixel=0.1))
        assert [frame.fault for frame in whole] == [""] * 12
        levels = [round(frame.image.mean()) for frame in whole[::4]]
        assert len(set(levels)) == 3
        starts = [k for k, packet in enumerate(packets) if packet[1:3] == b"\x41\x00"]
        hurt = starts[4] + 3
        (tmp_path / "hurt.ts").write_bytes(b"".join(packets[:hurt] + packets[hurt + 1 :]))
        seen = frames_of(VideoSource(uri=tmp_path / "hurt.ts", um_per_pixel=0.1))
        good = [round(frame.image.mean()) for frame in seen if not frame.fault]
        assert good == [levels[0]] * 4 + [levels[2]] * 4
        assert {frame.fault for frame in seen} == {"", "incomplete"}

    def test_a_gap_in_time_spoils_what_follows_up_to_a_key_frame(self) -> None:
        gaps = _Gaps()
        times = [0, 40, 80, 120, 200, 240, 280, 320]
        keys = [True, False, False, False, False, False, True, False]
        spoilt = [gaps.spoil(at, key=key) for at, key in zip(times, keys, strict=True)]
        assert spoilt == [False] * 4 + [True] * 2 + [False] * 2


OTHER = (160, 120)
CODES = [(".mpg", "PIM1"), (".mpg", "mpg2"), (".ts", "mp4v"), (".ts", "mpg2"), (".webm", "VP80"), (".webm", "VP90")]


class TestSize:
    """FFmpeg stretches pictures of another size to that of the first; they are refused."""

    @pytest.mark.parametrize(("suffix", "code"), CODES)
    def test_pictures_of_another_size_than_the_first_are_refused(self, tmp_path: Path, suffix: str, code: str) -> None:
        first = a_recording(tmp_path / f"a{suffix}", code, range(50))
        second = a_recording(tmp_path / f"b{suffix}", code, range(50, 60), OTHER)
        whole = frames_of(VideoSource(uri=first, um_per_pixel=0.1))
        assert not any(frame.fault for frame in whole)
        with first.open("ab") as file:
            file.write(second.read_bytes())
        seen = frames_of(VideoSource(uri=first, um_per_pixel=0.1))
        assert len(seen) > 55
        good = [frame for frame in seen if not frame.fault]
        assert len(good) > 10
        for one, other in zip(good, whole[: len(good)], strict=True):
            assert np.array_equal(one.image, other.image)
        assert all(frame.fault for frame in seen[50:])
        assert any(frame.fault == "unreadable" and "would be stretched" in frame.detail for frame in seen)

    @pytest.mark.parametrize(("suffix", "code", "tag"), [(".webm", "VP80", b"VP80"), (".avi", "XVID", b"FMP4")])
    def test_those_between_pictures_of_another_size_are_delivered(
        self, tmp_path: Path, suffix: str, code: str, tag: bytes
    ) -> None:
        packets = []
        for part, size in enumerate([SIZE, OTHER, SIZE]):
            packets += packets_of(
                a_recording(tmp_path / f"{part}{suffix}", code, range(10 * part, 10 * part + 10), size)
            )
        assert len(packets) == 30
        seen = frames_of(an_avi(tmp_path / "a.avi", packets, code=tag))
        assert [frame.fault for frame in seen] == [""] * 10 + ["unreadable"] * 10 + [""] * 10
        for number in (*range(10), *range(20, 30)):
            assert np.abs(seen[number].image.astype(int) - picture(number)).mean() < 8

    def test_so_are_those_of_h264(self, tmp_path: Path) -> None:
        size, other = (64, 48), (32, 32)
        packets = [*key_frames(size, [50, 60, 70]), *key_frames(other, [80, 90]), *key_frames(size, [100, 110])]
        seen = frames_of(an_avi(tmp_path / "a.avi", packets, size, code=b"H264"))
        assert [frame.fault for frame in seen] == [""] * 3 + ["unreadable"] * 2 + [""] * 2
        means = [frame.image.mean() for frame in seen if not frame.fault]
        assert means == sorted(means)
        assert len(set(means)) == 5

    @pytest.mark.parametrize(("suffix", "code"), CODES)
    @pytest.mark.parametrize("size", [(64, 48), (322, 242), (2048, 16)])
    def test_the_size_is_read_from_what_is_stored(
        self, tmp_path: Path, suffix: str, code: str, size: tuple[int, int]
    ) -> None:
        path = a_recording(tmp_path / f"a{suffix}", code, range(2), size)
        packet, *_ = packets_of(path)
        assert size_in_header({"PIM1": "mpg1", "mp4v": "FMP4"}.get(code, code), packet) == frozenset({size})

    @pytest.mark.parametrize("size", [(640, 480), (1920, 1200), (33, 17), (64, 48)])
    @pytest.mark.parametrize(("profile", "chroma"), [(66, 1), (100, 1), (122, 2), (244, 3), (100, 0)])
    @pytest.mark.parametrize("fields", [False, True])
    def test_so_it_is_of_h264(self, size: tuple[int, int], profile: int, chroma: int, *, fields: bool) -> None:
        even = (size[0] // 4 * 4, size[1] // 4 * 4)
        packet = (
            b"\0\0\0\1\x09\x10" + described(even, profile=profile, chroma=chroma, fields=fields) + b"\0\0\1\x65\x88"
        )
        assert size_in_header("h264", packet) == frozenset({even})

    @pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (64, 48)])
    @pytest.mark.parametrize("layers", [0, 2])
    def test_so_it_is_of_h265(self, size: tuple[int, int], layers: int) -> None:
        packet = b"\0\0\0\1\x40\x01\x0c" + described_by_h265(size, layers=layers) + b"\0\0\1\x26\x01\xaf"
        assert size_in_header("hevc", packet) == frozenset({size})

    @given(st.sampled_from(["mpg1", "FMP4", "VP80", "VP90", "h264", "hevc", "ffv1"]), st.binary(max_size=40))
    def test_any_bytes_say_a_size_or_nothing(self, code: str, packet: bytes) -> None:
        heads = {"mpg1": b"\0\0\1\xb3", "FMP4": b"\0\0\1\x20", "VP80": b"\0\0\0\x9d\1\x2a", "VP90": b"\x82\x49\x83\x42"}
        said = size_in_header(code, heads.get(code, b"\0\0\1") + packet)
        assert said is None or len(said) > 0


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_no_tag_of_a_video_turns_it(tmp_path: Path, degrees: int) -> None:
    path = a_recording(tmp_path / "a.mp4", "mp4v", range(3))
    upright = frames_of(VideoSource(uri=path, um_per_pixel=0.1))
    data = bytearray(path.read_bytes())
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    at = data.find(b"tkhd") + 4 + 40
    assert struct.unpack_from(">i", data, at) == (1 << 16,), "the matrix of the track"
    struct.pack_into(">9i", data, at, cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    turned = frames_of(VideoSource(uri=path, um_per_pixel=0.1))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(upright, turned, strict=True))


@pytest.mark.parametrize(("suffix", "code"), [(".m4v", "mp4v"), (".wmv", "WMV2"), (".mpg", "PIM1"), (".ts", "mp4v")])
def test_videos_of_whatever_name_are_read(tmp_path: Path, suffix: str, code: str) -> None:
    assert suffix in VIDEOS
    source = recording_at(a_recording(tmp_path / f"a{suffix}", code, range(5)), 0.1)
    assert isinstance(source, VideoSource)
    assert len(frames_of(source)) == 5
