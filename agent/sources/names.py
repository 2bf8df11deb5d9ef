"""Places that a user names, and what they are called in a report."""

import os
import stat
from pathlib import Path

from common.durable import fitting
from common.errors import UsageError
from common.secrets import masked


def printable(name: str) -> str:
    """A file's name as text that can be sent: bytes that are no UTF-8, which Linux allows, are written out in hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_folder(place: Path, *, wanted: str) -> bool:
    """Tell a folder from a file; UsageError if it is neither, or can not be looked at."""
    try:
        mode = place.stat().st_mode
    except OSError as cause:
        raise UsageError(
            f"there is no {wanted} at {masked(str(place))} ({cause.strerror}); correct the path"
        ) from cause
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UsageError(f"there is no {wanted} at {masked(str(place))}, but something else; correct the path")
    return stat.S_ISDIR(mode)


def picture_file(folder: Path, source: str, end: str) -> Path:
    """The file for a picture of a frame: the frame's whole name and an ending, in UTF-8 whatever the locale.

    Args:
        folder: for all pictures of a source.
        source: the frame's name in its report, folders included.
        end: what tells its pictures from each other, with the suffix.
    """
    *above, name = os.fsdecode(source.encode("utf-8", "backslashreplace")).split("/")
    return folder.joinpath(*(fitting(part, "") for part in above), fitting(name, end))
