"""The file of the audit log that grows: lines are appended whole, and what others did to it is found."""

import errno
import os
import stat
from pathlib import Path

from typing_extensions import Self

from common.durable import PRIVATE, sync_folder, write_whole

MOST_BYTES = 1 << 22
"""Longest file that is read, four times as long as the agent makes one."""


class LogFile:
    """A file of lines that this process alone appends to. What it holds besides, somebody else has written.

    Raises:
        OSError: it can not be opened, or is no plain file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._unclean = path, False
        self._handle = _plain(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self.size = os.fstat(self._handle).st_size
        """Bytes that it should have."""
        sync_folder(path.parent)

    def read(self) -> bytes:
        """The first ``MOST_BYTES`` of it."""
        return os.pread(self._handle, MOST_BYTES, 0)

    def append(self, line: bytes) -> None:
        """Write a line, behind the end of one that has none; it is on the disk when this returns.

        Raises:
            OSError: it can not be written; what was written of it is taken back before the next.
        """
        self._take_back()
        if self.size and os.pread(self._handle, 1, self.size - 1) != b"\n":
            line = b"\n" + line
        self._unclean = True
        rest = line
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        os.fsync(self._handle)
        self.size += len(line)
        self._unclean = False

    @property
    def in_place(self) -> bool:
        """Whether its name still stands for it."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._handle))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def restore(self, aside: Path) -> Self:
        """Write what it should hold under its name again, where it was removed or replaced; returns the new file.

        Args:
            aside: name for what has taken its place, if anything has.
        """
        content = os.pread(self._handle, self.size, 0)
        if self.path.is_symlink() or self.path.exists():
            self.path.rename(aside)
        write_whole(self.path, content, mode=PRIVATE)
        fresh = type(self)(self.path)
        self.close()
        return fresh

    def changed_by(self) -> int:
        """Bytes that others have added behind the last line; less than 0 if they have cut the file."""
        self._take_back()
        return os.fstat(self._handle).st_size - self.size

    def accept(self) -> bytes:
        """Take the file as it is now; returns the first ``MOST_BYTES`` of what was added."""
        added = os.pread(self._handle, MOST_BYTES, self.size)
        self.size = os.fstat(self._handle).st_size
        return added

    def close(self) -> None:
        """Close it; nothing can be done with it any more."""
        os.close(self._handle)

    def _take_back(self) -> None:
        if self._unclean:
            os.ftruncate(self._handle, self.size)
            os.fsync(self._handle)
            self._unclean = False


def first_bytes(path: Path) -> bytes:
    """A file's content, and one byte more than ``MOST_BYTES`` at most; OSError if it is no plain file."""
    with os.fdopen(_plain(path, os.O_RDONLY), "rb") as file:
        return file.read(MOST_BYTES + 1)


def _plain(path: Path, flags: int) -> int:
    handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, PRIVATE)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return handle
