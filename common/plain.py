"""Files that are read whole: none is waited for or fills the memory, for kind and length are looked at first."""

import errno
import os
import stat
from pathlib import Path

SMALL = 1 << 20
"""Most bytes of a file that a person or this program writes: settings of a site, keys, notes."""


def read_plain(path: Path, *, most: int = SMALL, follow: bool = True) -> bytes:
    """The content of a plain file.

    Args:
        path: the file.
        most: bytes that it may have.
        follow: a symbolic link stands for its file; else it is refused, for it could point elsewhere tomorrow.

    Raises:
        OSError: it can not be read, is no plain file, or is longer; ``strerror`` says which.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        if about.st_size <= most and len(content := file.read(most + 1)) <= most:  # it may grow meanwhile
            return content
    raise OSError(errno.EFBIG, f"it is longer than {most} bytes", str(path))
