"""H.264 pictures of one brightness each, written bit by bit: OpenCV's FFmpeg reads them and has no encoder for them."""

from collections.abc import Iterable


def key_frames(size: tuple[int, int], levels: Iterable[int]) -> list[bytes]:
    """A packet for each brightness: a key frame whose samples are stored as they are (ITU-T H.264, 7.3).

    Args:
        size: width and height, multiples of 16.
        levels: brightness of each picture, 16 to 235.
    """
    width, height = (side // 16 for side in size)
    sequence = _unit(
        0x67, bytes([66, 0, 40]) + _closed("11" + _ue(2) + _ue(1) + "0" + _ue(width - 1) + _ue(height - 1) + "1100")
    )
    picture = _unit(0x68, _closed("1100" + "111" + "000" + "111" + "100"))
    return [
        sequence + picture + _unit(0x65, _slice(width * height, level, number % 2))
        for number, level in enumerate(levels)
    ]


def _slice(blocks: int, level: int, number: int) -> bytes:
    bits = f"{_ue(0)}{_ue(7)}{_ue(0)}0000{_ue(number)}00{_ue(0)}{_ue(1)}"
    for _ in range(blocks):
        bits += _ue(25)
        bits += "0" * (-len(bits) % 8) + f"{level:08b}" * 256 + f"{128:08b}" * 128
    return _closed(bits)


def _ue(number: int) -> str:
    """An Exp-Golomb code."""
    code = f"{number + 1:b}"
    return "0" * (len(code) - 1) + code


def _closed(bits: str) -> bytes:
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _unit(head: int, body: bytes) -> bytes:
    """A unit with its start code; no three bytes in it look like one."""
    out, zeros = bytearray([0, 0, 0, 1, head]), 0
    for byte in body:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = 0 if byte else zeros + 1
    return bytes(out)
