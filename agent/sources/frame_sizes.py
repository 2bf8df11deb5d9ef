"""Which pictures of a video have another size than its first: FFmpeg stretches them to that, and does not say so.

What a packet says of its pictures' size is read beside the pictures themselves, from the same file opened once more.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

import cv2
import numpy as np

AHEAD = 32
"""Packets that are read on behind the one of the picture at hand: a decoder is no farther ahead of its pictures."""
KEPT = 128
"""Packets that are remembered."""
SEARCHED = 1024
"""Packets that are read at most to find a picture's: where data is damaged, some give no picture."""
_START = b"\x00\x00\x01"
_SEQUENCE = _START + b"\xb3"
_LAYERS = range(0x20, 0x30)
"""Codes that begin the description of an MPEG-4 video object layer."""
_EXTENDED, _OPAQUE_SHAPE = 15, 0
_SRGB, _DEEP = 7, 2
"""Of VP9: colours without a range, and the first profile of more than 8 bits."""
_VP8_KEY, _VP9_KEY = b"\x9d\x01\x2a", 0x498342
_H264_SEQUENCE, _H265_SEQUENCE = 7, 33
_WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
"""Profiles of H.264 that tell their chroma."""
_FULL_CHROMA, _SMALL_LISTS = 3, 6
_ESCAPED = b"\0\0\3"
"""What stands for two zeros where a third byte could make a start code of them."""

Said: TypeAlias = frozenset[tuple[int, int]]
"""Width and height; several where a packet describes several sequences."""


def _bits(data: bytes) -> Callable[[int], int]:
    """A function that takes the next so many bits; raises ValueError where there are no more."""
    value, left = int.from_bytes(data, "big"), 8 * len(data)

    def take(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise ValueError("the packet ends within its head")
        return value >> left & ((1 << count) - 1)

    return take


def _mpeg(packet: bytes) -> Said | None:
    """MPEG-1 and MPEG-2: the head of a sequence."""
    at = packet.find(_SEQUENCE)
    take = _bits(packet[at + 4 : at + 7])
    return frozenset({(take(12), take(12))}) if at >= 0 else None


def _mpeg4(packet: bytes) -> Said | None:
    """MPEG-4 part 2: the head of a video object layer (ISO 14496-2, 6.2.3)."""
    at = -1
    while (at := packet.find(_START, at + 1)) >= 0:
        if len(packet) > at + 3 and packet[at + 3] in _LAYERS:
            return _layer(_bits(packet[at + 4 : at + 68]))
    return None


def _layer(take: Callable[[int], int]) -> Said | None:
    take(9)
    if take(1):
        take(7)
    if take(4) == _EXTENDED:
        take(16)
    if take(1):  # what a decoder must hold
        take(3)
        if take(1):
            take(79)
    if take(2) != _OPAQUE_SHAPE:
        return None
    take(1)
    ticks = take(16)
    take(1)
    if take(1):
        take(max(1, (ticks - 1).bit_length()))
    take(1)
    width = take(13)
    take(1)
    return frozenset({(width, take(13))})


def _vp8(packet: bytes) -> Said | None:
    """The head of a key frame (RFC 6386, 9.1)."""
    if packet[:1] and not packet[0] & 1 and packet[3:6] == _VP8_KEY:
        take = _bits(packet[9:5:-1])
        height = take(16) & 0x3FFF
        return frozenset({(take(16) & 0x3FFF, height)})
    return None


def _vp9(packet: bytes) -> Said | None:
    """The head of a key frame (VP9 bitstream specification, 6.2)."""
    take = _bits(packet[:16])
    take(2)
    profile = take(1) | take(1) << 1
    take(int(profile == 3))  # noqa: PLR2004 - reserved
    if take(1) or take(1):  # a frame that was sent before, or no key frame
        return None
    take(2)
    if take(24) != _VP9_KEY:
        return None
    take(int(profile >= _DEEP))
    odd = profile & 1
    take((1 + 3 * odd) if take(3) != _SRGB else odd)
    width = take(16) + 1
    return frozenset({(width, take(16) + 1)})


def _h264(packet: bytes) -> Said | None:
    """The sequence parameter sets among the units of a packet (ITU-T H.264, 7.3.2.1)."""
    return _sequences(packet, lambda unit: _set_of_h264(unit) if unit[0] & 0x1F == _H264_SEQUENCE else None)


def _h265(packet: bytes) -> Said | None:
    """The same (ITU-T H.265, 7.3.2.2)."""
    return _sequences(packet, lambda unit: _set_of_h265(unit) if unit[0] >> 1 & 0x3F == _H265_SEQUENCE else None)


def _sequences(packet: bytes, size: Callable[[bytes], tuple[int, int] | None]) -> Said | None:
    found = {size(unit.replace(_ESCAPED, b"\0\0")) for unit in packet.split(_START)[1:] if unit}
    found.discard(None)
    return frozenset(one for one in found if one) or None


def _set_of_h264(unit: bytes) -> tuple[int, int]:
    take = _bits(unit[1:])
    profile = take(8)
    take(16)
    _code(take)
    chroma = 1
    if profile in _WITH_CHROMA:
        chroma = _code(take)
        take(int(chroma == _FULL_CHROMA))
        _code(take), _code(take), take(1)
        if take(1):
            _skip_scaling(take, 12 if chroma == _FULL_CHROMA else 8)
    _code(take)
    order = _code(take)
    if order == 0:
        _code(take)
    elif order == 1:
        take(1), _code(take), _code(take)
        for _ in range(_code(take)):
            _code(take)
    _code(take), take(1)
    width, height = 16 * (_code(take) + 1), 16 * (_code(take) + 1)
    fields = 2 - take(1)
    take(int(fields == 2)), take(1)  # noqa: PLR2004
    left, right, top, bottom = _window(take)
    across, down = 2 if chroma in {1, 2} else 1, fields * (2 if chroma == 1 else 1)
    return width - across * (left + right), fields * height - down * (top + bottom)


def _set_of_h265(unit: bytes) -> tuple[int, int]:
    take = _bits(unit[2:])
    take(4)
    layers = take(3)
    take(1 + 96)
    told = [(take(1), take(1)) for _ in range(layers)]
    take(2 * (8 - layers) if layers else 0)
    for profile, level in told:
        take(88 * profile + 8 * level)
    _code(take)
    chroma = _code(take)
    take(int(chroma == _FULL_CHROMA))
    width, height = _code(take), _code(take)
    left, right, top, bottom = _window(take)
    across, down = 2 if chroma in {1, 2} else 1, 2 if chroma == 1 else 1
    return width - across * (left + right), height - down * (top + bottom)


def _window(take: Callable[[int], int]) -> tuple[int, ...]:
    """What is cut off at each side."""
    return tuple(_code(take) for _ in range(4)) if take(1) else (0, 0, 0, 0)


def _skip_scaling(take: Callable[[int], int], lists: int) -> None:
    for number in range(lists):
        last, coming = 8, 8
        for _ in range((16 if number < _SMALL_LISTS else 64) * take(1)):
            if coming:
                code = _code(take)
                coming = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
            last = coming or last


def _code(take: Callable[[int], int]) -> int:
    """An Exp-Golomb code."""
    zeros = 0
    while not take(1):
        zeros += 1
    return (1 << zeros) - 1 + take(zeros)


_READERS: Mapping[str, Callable[[bytes], Said | None]] = {
    **dict.fromkeys(("mpg1", "mpg2", "pim1", "mpeg", "m1v1", "m2v1"), _mpeg),
    **dict.fromkeys(("fmp4", "mp4v", "xvid", "divx", "dx50", "m4s2"), _mpeg4),
    "vp80": _vp8,
    "vp90": _vp9,
    **dict.fromkeys(("h264", "avc1", "x264", "davc"), _h264),
    **dict.fromkeys(("hevc", "hvc1", "hev1", "h265"), _h265),
}


def size_in_header(codec: str, packet: bytes) -> Said | None:
    """What a packet says of the size of its own and the following pictures; None if it says nothing.

    Args:
        codec: the four letters by which OpenCV calls the coding.
        packet: a picture as it is stored; of H.264 and H.265 with start codes.
    """
    reader = _READERS.get(codec.lower())
    try:
        return reader(packet) if reader else None
    except ValueError:  # it is damaged, and so is its picture
        return None


class Sizes:
    """Reads a video's packets beside its pictures.

    Args:
        capture: the same file, opened once more and for this alone.
        codec: as OpenCV calls it.
    """

    def __init__(self, capture: cv2.VideoCapture, codec: str) -> None:
        self._capture, self._codec = capture, codec
        self._works = codec.lower() in _READERS and bool(capture.set(cv2.CAP_PROP_FORMAT, -1))
        self._first: Said | None = None
        self._differs = False
        self._known: deque[tuple[float, bool]] = deque(maxlen=KEPT)
        """Of the latest packets, the time in milliseconds, and whether their pictures have another size."""

    def differ(self, at_ms: float) -> bool:
        """Whether the picture of that time has, or may have, another size than the first."""
        if not self._works:
            return False
        for _ in range(SEARCHED):
            if at_ms in [time for time, _ in list(self._known)[:-AHEAD]] or not self._read():
                break
        found = [differs for time, differs in self._known if time == at_ms]
        return any(found or [differs for _, differs in self._known])

    def release(self) -> None:
        """Close it."""
        self._capture.release()

    def _read(self) -> bool:
        good, content = self._capture.read()
        if not good:
            return False
        said = size_in_header(self._codec, np.asarray(content, np.uint8).tobytes())
        if said is not None:
            self._first = self._first or said
            self._differs = said != self._first
        self._known.append((self._capture.get(cv2.CAP_PROP_POS_MSEC), self._differs))
        return True
