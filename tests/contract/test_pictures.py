"""The one reader of pictures: the camera's pixels, or a refusal that says why."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import tifffile

from contract.pictures import MAX_BYTES, SUFFIXES, UnfitPictureError, decode_picture, read_picture
from contract.samples import FIELD
from contract.types import Image

OFF, SHARE_OFF = 7, 0.02
"""Grey levels, and the part of the picture that is off by more: what damage that nobody tells of may do."""
HEARD = 80
"""Of 200 bursts, those that libjpeg complains of."""
OLDER = int(cv2.__version__.split(".")[0]) < 5


def smear(height: int = 96, width: int = 128) -> Image:
    """Something with colours and edges, the same each time; its brightest sample is 255."""
    rng = np.random.default_rng(7)
    image = cv2.GaussianBlur(rng.integers(60, 256, (height, width, 3)).astype(np.uint8), (0, 0), 2)
    image[10:20, 10:30] = 255, 200, 100
    return np.asarray(image, np.uint8)


IMAGE = smear()
RGB = np.ascontiguousarray(IMAGE[..., ::-1])
BLANK = np.zeros(IMAGE.shape[:2], np.uint8)


def encoded(suffix: str, image: Image = IMAGE, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def tiff_of(path: Path, samples: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", **how: object) -> Path:
    tifffile.imwrite(path, samples, **{"photometric": "rgb", **how})  # type: ignore[arg-type]
    return path


def fault(data: bytes | bytearray) -> tuple[str, str]:
    with pytest.raises(UnfitPictureError) as refused:
        decode_picture(bytearray(data))
    return refused.value.fault, str(refused.value)


class TestJpeg:
    """What libjpeg says is heard."""

    def test_pixels_are_those_of_opencv(self) -> None:
        jpeg = encoded(".jpg")
        assert np.array_equal(
            decode_picture(bytearray(jpeg)), np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
        )

    @pytest.mark.parametrize("progressive", [0, 1])
    def test_a_burst_within_the_picture_is_refused_or_does_little(self, progressive: int) -> None:
        """It is heard by libjpeg, or it fits the code and shifts all that follows: then there is a seam."""
        jpeg = encoded(".jpg", smear(480, 640), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        sound, start, told = decode_picture(bytearray(jpeg)), jpeg.find(b"\xff\xda") + 20, list[str]()
        for seed in range(200):
            rng, data = np.random.default_rng(seed), bytearray(jpeg)
            at = int(rng.integers(start, start + (len(data) - start) // 2))
            for k in range(at, at + 8):
                data[k] = int(rng.integers(0, 255))
            try:
                spoilt = decode_picture(bytearray(data))
            except UnfitPictureError as refused:
                told.append(f"{refused.fault}: {refused}")
                continue
            if (cv2.absdiff(spoilt, sound).max(axis=2) > OFF).mean() > SHARE_OFF:
                told.append("nothing")
        assert sum("incomplete: the picture is damaged or cut short" in words for words in told) >= HEARD
        assert sum(words.startswith("incomplete") and "is shifted" in words for words in told) >= 5 * told.count(
            "nothing"
        )

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
    def test_one_that_is_cut_is_incomplete(self, share: float) -> None:
        jpeg = encoded(".jpg", smear(480, 640))
        assert fault(jpeg[: int(len(jpeg) * share)])[0] == "incomplete"

    def test_zeros_before_its_end_are_no_damage_and_anything_else_is(self) -> None:
        jpeg = encoded(".jpg")
        assert np.array_equal(
            decode_picture(bytearray(jpeg[:-2] + bytes(60) + jpeg[-2:])), decode_picture(bytearray(jpeg))
        )
        assert fault(jpeg[:-2] + bytes(range(1, 60)) + jpeg[-2:])[0] == "incomplete"

    def test_training_may_take_a_damaged_one_as_far_as_it_goes(self) -> None:
        jpeg = encoded(".jpg", smear(480, 640))
        assert decode_picture(bytearray(jpeg[:-500]), whole=False).shape == (480, 640, 3)

    def test_a_grey_one_has_three_equal_colours_and_one_of_four_inks_is_read(self) -> None:
        grey = decode_picture(bytearray(encoded(".jpg", IMAGE[..., 0])))
        assert np.array_equal(grey[..., 0], grey[..., 2])
        inks = simplejpeg.encode_jpeg(np.dstack([RGB, BLANK + 255]), colorspace="CMYK")
        assert decode_picture(bytearray(inks)).shape == IMAGE.shape

    def test_the_size_is_told_before_it_is_decoded(self) -> None:
        jpeg = bytearray(encoded(".jpg"))
        at = jpeg.find(b"\xff\xc0") + 5
        struct.pack_into(">2H", jpeg, at, 16000, 16000)
        assert fault(jpeg) == ("too_large", "16000x16000 is more than the 64,000,000 pixels that are decoded")


class TestDepth:
    """A camera's full scale becomes 255, however many bits its file has to spare."""

    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_sixteen_bits_hold_the_samples_of_cameras_of_fewer(self, tmp_path: Path, bits: int, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        cv2.imwrite(str(path), IMAGE.astype(np.uint16) << (bits - 8))
        assert np.array_equal(read_picture(path), IMAGE)

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param(np.uint32, marks=pytest.mark.skipif(OLDER, reason="of OpenCV 5 on; refused before")),
            np.int16,
            np.int32,
            np.float32,
            np.float64,
        ],
    )
    def test_so_do_other_types(self, tmp_path: Path, kind: type[np.generic]) -> None:
        assert np.array_equal(
            read_picture(tiff_of(tmp_path / "a.tif", (RGB.astype(np.int32) * 16).astype(kind))), IMAGE
        )

    def test_floats_up_to_one_have_that_as_full_scale(self, tmp_path: Path) -> None:
        assert np.array_equal(read_picture(tiff_of(tmp_path / "a.tif", RGB.astype(np.float32) / 255)), IMAGE)

    @pytest.mark.parametrize("worst", [-1.0, np.nan, np.inf, 1e6])
    def test_samples_that_are_no_brightness_are_refused(self, tmp_path: Path, worst: float) -> None:
        samples = RGB.astype(np.float32)
        samples[5, 5, 1] = worst
        with pytest.raises(UnfitPictureError, match="save it with 8 or 16 bits"):
            read_picture(tiff_of(tmp_path / "a.tif", samples))

    def test_a_dark_frame_stays_dark_where_the_file_tells_its_bits(self, tmp_path: Path) -> None:
        path = tiff_of(
            tmp_path / "a.ome.tif", RGB.astype(np.uint16) * 2, metadata={"axes": "YXS", "SignificantBits": 12}
        )
        assert np.abs(read_picture(path).astype(int) - IMAGE // 8).max() <= 1


class TestTiff:
    """What other programs write."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_no_tag_turns_it(self, tmp_path: Path, orientation: int, kind: type[np.generic]) -> None:
        tag = [(274, 3, 1, orientation, True)]
        path = tiff_of(tmp_path / "a.tif", (RGB.astype(np.uint16)).astype(kind), extratags=tag)
        assert np.array_equal(read_picture(path), IMAGE)

    @pytest.mark.parametrize(
        "how", [{"bigtiff": True}, {"byteorder": ">"}, {"tile": (32, 32)}, {"compression": "zlib"}]
    )
    def test_of_whatever_make(self, tmp_path: Path, how: dict[str, object]) -> None:
        tag = [(274, 3, 1, 6, True)]
        assert np.array_equal(read_picture(tiff_of(tmp_path / "a.tif", RGB, extratags=tag, **how)), IMAGE)

    def test_three_grey_pages_that_are_colours_of_one_picture_are_read_as_it(self, tmp_path: Path) -> None:
        planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
        ome = tiff_of(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"})
        imagej = tiff_of(tmp_path / "b.tif", planes, photometric="minisblack", imagej=True, metadata={"axes": "CYX"})
        assert np.array_equal(read_picture(ome), IMAGE)
        assert np.array_equal(read_picture(imagej), IMAGE)

    def test_other_pages_are_refused_and_counted_and_a_reduced_copy_is_no_page(self, tmp_path: Path) -> None:
        stack = tiff_of(tmp_path / "a.tif", np.stack([RGB] * 4), metadata={"axes": "ZYXS"})
        with pytest.raises(UnfitPictureError, match="holds 4 pictures"):
            read_picture(stack)
        with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
            writer.write(RGB[::4, ::4].copy(), photometric="rgb", subfiletype=1)
            writer.write(RGB, photometric="rgb")
        assert np.array_equal(read_picture(tmp_path / "b.tif"), IMAGE)

    def test_colours_apart_are_read_with_8_bits_and_refused_with_more(self, tmp_path: Path) -> None:
        planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
        assert np.array_equal(read_picture(tiff_of(tmp_path / "a.tif", planes, planarconfig="separate")), IMAGE)
        with pytest.raises(UnfitPictureError, match="save it with the colours interleaved"):
            read_picture(tiff_of(tmp_path / "b.tif", planes.astype(np.uint16), planarconfig="separate"))

    @pytest.mark.parametrize("at", range(0, 300, 7))
    def test_damaged_tags_end_in_a_refusal_or_a_picture_and_nothing_else(self, tmp_path: Path, at: int) -> None:
        data = bytearray(tiff_of(tmp_path / "a.tif", RGB, metadata=None).read_bytes())
        data[at : at + 7] = bytes([255] * 7)
        try:
            assert decode_picture(data).ndim == 3
        except UnfitPictureError as refused:
            assert str(refused)  # noqa: PT017 - either is right


class TestAlpha:
    """An alpha channel that says nothing is left out; what is transparent is as bright as an empty field."""

    @pytest.mark.parametrize("level", [0, 128, 255])
    @pytest.mark.parametrize("extra", [0, 1, 2])
    def test_one_that_is_the_same_everywhere_says_nothing(self, tmp_path: Path, level: int, extra: int) -> None:
        layers = np.dstack([RGB, BLANK + level]).astype(np.uint8)
        assert np.array_equal(read_picture(tiff_of(tmp_path / "a.tif", layers, extrasamples=[extra])), IMAGE)
        assert np.array_equal(decode_picture(bytearray(encoded(".png", np.dstack([IMAGE, BLANK + level])))), IMAGE)

    @pytest.mark.parametrize("kind", ["png", "webp", "unassociated", "associated", "16 bits"])
    def test_what_is_transparent_is_an_empty_field(self, tmp_path: Path, kind: str) -> None:
        alpha = BLANK.copy()
        alpha[:, 40:] = 255
        true = np.where(alpha[..., None] > 0, IMAGE, FIELD)
        bare = np.where(alpha[..., None] > 0, RGB, 0).astype(np.uint8)
        layers = np.dstack([bare, alpha])
        if kind in {"png", "webp"}:
            data = encoded(f".{kind}", np.ascontiguousarray(layers[..., [2, 1, 0, 3]]), cv2.IMWRITE_WEBP_QUALITY, 101)
            assert np.array_equal(decode_picture(bytearray(data)), true)
            return
        deep = layers.astype(np.uint16) * (16, 16, 16, 257)
        extra, samples = {
            "unassociated": (2, layers), "associated": (1, layers), "16 bits": (2, deep.astype(np.uint16))
        }[kind]  # fmt: skip
        assert np.array_equal(read_picture(tiff_of(tmp_path / "a.tif", samples, extrasamples=[extra])), true)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".avif", ".pgm"}))
def test_every_suffix_that_is_listed_is_read(suffix: str) -> None:
    image = decode_picture(bytearray(encoded(suffix)))
    assert image.shape == IMAGE.shape
    assert np.abs(image.astype(int) - IMAGE).mean() < 6


def a_moving_png() -> bytes:
    png = encoded(".png")
    body = b"acTL" + struct.pack(">II", 3, 0)
    return png[:33] + struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


def a_moving_webp() -> bytes:
    still = encoded(".webp")
    head = b"VP8X" + struct.pack("<I", 10) + b"\x02" + bytes(9)
    frames = (b"ANMF" + struct.pack("<I", 0)) * 2
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + head + frames + still[12:]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"just text", "no image of a kind"),
        (lambda: b"", "no image of a kind"),
        (lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n", "no image of a kind"),
        (a_moving_png, "3 pictures"),
        (a_moving_webp, "2 pictures"),
        (lambda: encoded(".png")[:-40], "ends before the picture"),
        (lambda: encoded(".bmp")[:-40], "damaged or cut short"),
        (lambda: encoded(".webp")[:-40], "damaged or cut short"),
        (lambda: encoded(".tif")[:60], "ends before its tags"),
    ],
)
def test_what_is_no_whole_picture_is_refused_in_words(make: Callable[[], bytes], says: str) -> None:
    assert says.replace("no image", "not an image") in fault(make())[1]


def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name, why in {"fifo.png": "no plain file", "zero.png": "no plain file", "folder.png": "Is a directory"}.items():
        with pytest.raises(UnfitPictureError, match=why):
            read_picture(tmp_path / name)


def test_a_file_of_more_bytes_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnfitPictureError, match="more than the 268,435,456") as refused:
        read_picture(tmp_path / "sparse.png")
    assert refused.value.fault == "too_large"
