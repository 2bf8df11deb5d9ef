"""What a file is called in a report."""

import os


def printable(name: str) -> str:
    """A file's name as text that can be sent: bytes that are no UTF-8, which Linux allows, are written out in hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
