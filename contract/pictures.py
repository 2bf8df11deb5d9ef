"""The one reader of picture files: agent, training, calibration and export read the same pixels from the same file."""

import os
import re
import stat
import struct
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import simplejpeg

from contract import tiff
from contract.samples import DEPTHS, Samples, colours_from
from contract.seam import seam
from contract.types import Image

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Names of pictures end so. What a file holds is told by its first bytes, whatever its name."""
MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
"""Largest picture that is decoded; `contract/__init__.py` says why."""
MAX_BYTES = 2**28
"""Largest file that is read: 256 MiB, more than the largest picture of eight bits has without compression."""
AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
"""All bits and the alpha channel, and not turned as a camera's tag suggests: boxes are in pixels as captured."""
JPEG = b"\xff\xd8\xff"
KINDS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|RIFF....WEBP|P[1-6]\s|\0\0\0\x0cjP  |....ftyp(?:avif|avis|mif1)",
    re.DOTALL,
)
"""First bytes of the kinds that are read, TIFF apart; OpenCV reads more kinds, none of which a microscope writes."""
PNG_END = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
"""A PNG's last chunk, whole: no length, its name, its checksum."""
PADDING = re.compile(rb"\0+\xff\xd9")
"""Zeros before the end of a JPEG, which some cameras write; libjpeg takes them for a sign of damage."""
PLANES_OF_ONE = re.compile(r'SizeC="3"|^channels=3$', re.MULTILINE)
"""How OME-TIFF and ImageJ say that three grey pages are red, green and blue of one picture."""
SIGNIFICANT = re.compile(r'SignificantBits="([0-9]{1,2})"')
Fault: TypeAlias = Literal["unreadable", "incomplete", "too_large"]


class UnfitPictureError(Exception):
    """A file that is not a whole picture of a size that we take."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


def read_picture(path: Path, *, whole: bool = True) -> Image:
    """Read one picture file; see ``decode_picture``. Anything but a plain file is refused, never waited for.

    Raises:
        UnfitPictureError: also if the file can not be read.
    """
    return decode_picture(read_bytes(path), whole=whole)


def read_bytes(path: Path) -> bytearray:
    """A picture file's bytes; raises UnfitPictureError if they can not be read or are more than ``MAX_BYTES``."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnfitPictureError("unreadable", "it is no plain file, but a pipe or a device")
            if status.st_size > MAX_BYTES:
                raise UnfitPictureError(
                    "too_large", f"the file has {status.st_size:,} bytes, more than the {MAX_BYTES:,} that are read"
                )
            data = bytearray(status.st_size)
            del data[file.readinto(data) :]
            return data
    except OSError as cause:
        raise UnfitPictureError("unreadable", f"the file can not be read ({cause.strerror})") from cause


def decode_picture(data: bytearray, *, whole: bool = True) -> Image:
    """Decode the bytes of one picture file to (height, width, 3) uint8, blue-green-red, as captured.

    No tag turns it. ``contract.samples`` says what becomes of more than eight bits and of an alpha channel.

    Args:
        data: the file's content; tags of a TIFF are changed in it.
        whole: False takes a JPEG that is damaged or cut short as far as it goes; the rest is made up.

    Raises:
        UnfitPictureError: it is no picture or several, is damaged or cut short, or is larger than ``MAX_PIXELS``.
    """
    if data.startswith(JPEG):
        return _jpeg(data, whole=whole)
    if tiff.is_tiff(data):
        return _tiff(data)
    if not KINDS.match(data):
        raise UnfitPictureError("unreadable", "it is not an image of a kind that is read")
    if data.startswith(b"\x89PNG") and PNG_END not in data:
        raise UnfitPictureError("incomplete", "the file ends before the picture does")
    if (pages := _moving(data)) > 1:
        raise UnfitPictureError("unreadable", f"the file holds {pages} pictures; store each in a file of its own")
    return _colours(_decoded(data))


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, should a FIFO have taken the place of the file that was listed."""
    return os.open(path, flags | os.O_NONBLOCK)


def _jpeg(data: bytearray, *, whole: bool) -> Image:
    """By libjpeg itself, whose warnings OpenCV hides: of a damaged picture it fills in what is missing."""
    try:
        height, width, space, thinning = simplejpeg.decode_jpeg_header(data)
    except ValueError as cause:
        fault: Fault = "unreadable" if len(data) > len(JPEG) and b"\xff\xda" in data else "incomplete"
        raise UnfitPictureError(fault, f"it can not be decoded ({cause})") from cause
    if height * width > MAX_PIXELS:
        raise _too_large(width, height)
    inks = space in {"CMYK", "YCCK"}
    try:
        image = _strict(data, "CMYK" if inks else "BGR", whole=whole)
    except ValueError as cause:
        raise UnfitPictureError("incomplete", f"the picture is damaged or cut short ({cause})") from cause
    if whole and (at := seam(image, thinning)):
        raise UnfitPictureError(
            "incomplete", f"the picture is damaged: from row {at[0]}, column {at[1]} on its brightness is shifted"
        )
    if inks:
        return np.asarray(_decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)
    return image


def _strict(data: bytearray, space: str, *, whole: bool) -> Image:
    """Decode, and raise ValueError with libjpeg's first complaint; zeros before the end are none."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace=space, strict=whole), np.uint8)
    except ValueError as cause:
        if "extraneous bytes before marker 0xd9" not in str(cause) or not PADDING.search(data):
            raise
        bare = PADDING.sub(b"\xff\xd9", data)
        return np.asarray(simplejpeg.decode_jpeg(bare, colorspace=space, strict=True), np.uint8)


def _tiff(data: bytearray) -> Image:
    """The one page that is a picture of its own, or the three that are its colours."""
    pages = [page for page in tiff.directories(data) if not page.reduced]
    if not pages:
        raise UnfitPictureError("incomplete", "the file ends before its tags do, or they are damaged")
    first = pages[0]
    told = first.text(tiff.DESCRIPTION)
    of_one = len(pages) == 3 and first.number(tiff.SAMPLES, 1) == 1 and PLANES_OF_ONE.search(told)  # noqa: PLR2004
    if len(pages) > 1 and not of_one:
        raise UnfitPictureError("unreadable", f"the file holds {len(pages)} pictures; store each in a file of its own")
    bits = SIGNIFICANT.search(told)
    depth = int(bits[1]) if bits else first.number(tiff.MAX_SAMPLE).bit_length()
    if not of_one:
        associated = first.number(tiff.EXTRA_SAMPLES) == tiff.ASSOCIATED
        return _colours(_page(data, first), depth=depth, associated=associated)
    planes = [_page(data, page) for page in reversed(pages)]
    if len({plane.shape for plane in planes}) > 1 or planes[0].ndim > 2:  # noqa: PLR2004 - grey
        raise UnfitPictureError("unreadable", "its three pages are no planes of one picture")
    return _colours(np.dstack(planes), depth=depth)


def _page(data: bytearray, page: tiff.Directory) -> Samples:
    """Decode one page as stored: OpenCV turns a TIFF by its tag whatever it is told, so it is not told the tag."""
    if page.number(tiff.PLANAR) == tiff.PLANES and page.number(tiff.BITS) > DEPTHS[0]:
        raise UnfitPictureError(
            "unreadable", "it stores each colour apart, with more than 8 bits; save it with the colours interleaved"
        )
    page.set(tiff.ORIENTATION, tiff.UPRIGHT)
    page.set(tiff.EXTRA_SAMPLES, tiff.ASSOCIATED)
    tiff.point_to(data, page)
    return _decoded(data)


def _decoded(data: bytearray, how: int = AS_STORED) -> Samples:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as cause:
        if "CV_IO_MAX_IMAGE" in str(cause):
            raise UnfitPictureError("too_large", f"more than the {MAX_PIXELS:,} pixels that are decoded") from cause
        raise UnfitPictureError("unreadable", f"it can not be decoded ({cause.err})") from cause
    if image is None:
        raise UnfitPictureError("unreadable", "it can not be decoded: it is damaged or cut short, or of a rare kind")
    return image


def _colours(samples: Samples, *, depth: int = 0, associated: bool = False) -> Image:
    try:
        return colours_from(samples, depth=depth, associated=associated)
    except ValueError as cause:
        raise UnfitPictureError("unreadable", str(cause)) from cause


def _moving(data: bytearray) -> int:
    """Pictures of an animation, as its header says; 1 if it is none."""
    if data.startswith(b"\x89PNG"):
        head = data[: data.find(b"IDAT")]
        at = head.find(b"acTL")
        return int(struct.unpack_from(">I", head, at + 4)[0]) if 0 < at <= len(head) - 8 else 1
    if data.startswith(b"RIFF"):
        return max(1, data.count(b"ANMF")) if data[12:16] == b"VP8X" and data[20] & 0b10 else 1
    return 2 if data[4:12] == b"ftypavis" else 1


def _too_large(width: int, height: int) -> UnfitPictureError:
    return UnfitPictureError("too_large", f"{width}x{height} is more than the {MAX_PIXELS:,} pixels that are decoded")
