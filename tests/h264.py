"""H.264 pictures of one brightness each, written bit by bit: OpenCV's FFmpeg reads them and has no encoder for them."""

from collections.abc import Iterable, Iterator

VIDEO, TABLE = 0x100, 0x1000
"""Where a transport stream has its pictures, and the table that says so."""
PACKET = 188
TICKS = 3600
"""Of 90 kHz, from one picture to the next: 25 a second."""


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


def described(size: tuple[int, int], *, profile: int = 66, chroma: int = 1, fields: bool = False) -> bytes:
    """A sequence parameter set (7.3.2.1): its size in whole blocks, and what is cut off them.

    Args:
        size: width and height, multiples of 4.
        profile: those above 100 tell their chroma, and here have scaling lists too.
        chroma: 0 none, 1 a quarter, 2 a half, 3 as much as luma.
        fields: pictures may be interlaced.
    """
    blocks = [-(-size[0] // 16), -(-size[1] // (32 if fields else 16))]
    units = [2 if chroma in {1, 2} else 1, (2 if chroma == 1 else 1) * (2 if fields else 1)]
    spare = [16 * blocks[0] - size[0], 16 * (2 if fields else 1) * blocks[1] - size[1]]
    bits = _ue(0)
    if profile >= 100:
        bits += _ue(chroma) + ("0" if chroma == 3 else "") + _ue(0) + _ue(0) + "01"
        lists = ["1" + _ue(0) * 15 + _ue(15), "1" + _ue(16), *["0"] * (10 if chroma == 3 else 6)]
        bits += "".join(lists)  # the first is told whole, the second ends with its first step, which leads to 0
    bits += _ue(0) + _ue(0) + _ue(2) + _ue(1) + "0" + _ue(blocks[0] - 1) + _ue(blocks[1] - 1)
    bits += ("00" if fields else "1") + "1"
    bits += f"1{_ue(0)}{_ue(spare[0] // units[0])}{_ue(0)}{_ue(spare[1] // units[1])}" if any(spare) else "0"
    return _unit(0x67, bytes([profile, 0, 40]) + _closed(bits + "0"))


def described_by_h265(size: tuple[int, int], *, layers: int = 0) -> bytes:
    """The same of H.265 (ITU-T H.265, 7.3.2.2), with so many sub-layers that tell their profile and level."""
    known = "11" * layers + ("00" * (8 - layers) if layers else "") + "1" * (96 * layers)
    sizes = _ue(0) + _ue(1) + _ue(size[0] + 8) + _ue(size[1] + 4) + "1" + _ue(0) + _ue(4) + _ue(2) + _ue(0)
    bits = f"{0:04b}{layers:03b}1" + f"{1:096b}" + known + sizes
    return _unit(0x42, b"\x01" + _closed(bits))


def copies(size: tuple[int, int], numbers: Iterable[int]) -> list[bytes]:
    """A packet for each number behind a key frame: a picture that repeats the one before it."""
    blocks = size[0] // 16 * (size[1] // 16)
    return [
        _unit(0x41, _closed(f"{_ue(0)}{_ue(5)}{_ue(0)}{number % 16:04b}000{_ue(0)}{_ue(1)}{_ue(blocks)}"))
        for number in numbers
    ]


def transport_stream(pictures: Iterable[bytes]) -> list[bytes]:
    """The packets of 188 bytes that carry pictures (ISO 13818-1), the tables first; each picture begins one."""
    program = _section(0, b"\x00\x01\xc1\x00\x00" + bytes([0, 1, 0xE0 | TABLE >> 8, TABLE & 255]))
    streams = bytes([0xE0 | VIDEO >> 8, VIDEO & 255, 0xF0, 0, 0x1B, 0xE0 | VIDEO >> 8, VIDEO & 255, 0xF0, 0])
    table = _section(2, b"\x00\x01\xc1\x00\x00" + streams)
    packets = [*_packets(0, program, 0), *_packets(TABLE, table, 0)]
    sent = 0
    for number, picture in enumerate(pictures, start=1):
        time = number * TICKS
        stamp = bytes(
            [0x21 | time >> 29 & 14, time >> 22 & 255, time >> 14 & 254 | 1, time >> 7 & 255, time << 1 & 254 | 1]
        )
        packets += _packets(VIDEO, b"\0\0\1\xe0\0\0\x80\x80\x05" + stamp + picture, sent)
        sent = len(packets) - 2
    return packets


def _packets(place: int, content: bytes, sent: int) -> Iterator[bytes]:
    for at in range(0, len(content), PACKET - 4):
        part, number = content[at : at + PACKET - 4], (sent + at // (PACKET - 4)) % 16
        room = PACKET - 4 - len(part)
        filled = bytes([room - 1, *([0] * (room > 1)), *([255] * (room - 2))]) if room else b""
        first = 0x40 if at == 0 else 0
        yield bytes([0x47, first | place >> 8, place & 255, (0x30 if room else 0x10) | number]) + filled + part


def _section(kind: int, content: bytes) -> bytes:
    """A table with its checksum, as the first of a packet."""
    body = bytes([kind, 0xB0, len(content) + 4]) + content
    check = 0xFFFFFFFF
    for byte in body:
        check ^= byte << 24
        for _ in range(8):
            check = (check << 1 ^ (0x04C11DB7 if check >> 31 else 0)) & 0xFFFFFFFF
    return b"\0" + body + check.to_bytes(4, "big")


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
