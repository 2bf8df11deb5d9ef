"""A mark in the pictures that this program draws: none is ever taken for a frame, wherever it is stored."""

import struct
import zlib

SOFTWARE = b"microscope-agent"
PNG, PNG_HEAD = b"\x89PNG\r\n\x1a\n", 33
"""A PNG's signature, and where its first chunk ends."""
_TEXT = b"tEXtSoftware\0" + SOFTWARE
_COMMENT = b"\xff\xfe" + struct.pack(">H", len(SOFTWARE) + 2) + SOFTWARE


def marked(encoded: bytes) -> bytes:
    """The same PNG or JPEG with the mark in it."""
    if encoded.startswith(PNG):
        chunk = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))
        return encoded[:PNG_HEAD] + chunk + encoded[PNG_HEAD:]
    return encoded[:2] + _COMMENT + encoded[2:]


def is_marked(data: bytes | bytearray) -> bool:
    """Whether this program drew it."""
    return data[PNG_HEAD + 4 : PNG_HEAD + 4 + len(_TEXT)] == _TEXT or data[2 : 2 + len(_COMMENT)] == _COMMENT
