"""Files that are the old one or the new one, never a part: written beside their place, synced, then renamed into it."""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from common.errors import UsageError

PRIVATE = 0o600
"""Mode of what shows patients' cells or holds reports: for this user alone."""
NAME_BYTES = 255
"""Longest name of a file that Linux takes."""
_STREAM = re.compile(r"/dev/(std(in|out|err)|fd/.*)|/proc/.*")


def write_whole(path: Path, content: bytes, *, mode: int = 0o644, synced: bool = True) -> None:
    """Write a file so that a power loss or a full disk leaves the old one or the new one, never a part.

    Args:
        path: the file; what is no plain file, such as a pipe, is written as it is.
        content: of it.
        mode: of it, whatever the umask.
        synced: wait for the disk, so that a power loss after the return takes nothing back.

    Raises:
        OSError: it can not be written; what was there before stays.
    """
    if _is_stream(path):
        path.write_bytes(content)
        return
    path = path.resolve()
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")  # its name does not grow with the file's
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if synced:
                _sync(file)
        Path(draft).chmod(mode)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    if synced:
        sync_folder(path.parent)


@contextmanager
def growing(path: Path, *, mode: int | None = None) -> Iterator[IO[str]]:
    """A text file that grows under a draft's name, `NAME.part`, and gets its own when the block ends well.

    Each line is written out at once. What was written stays in the draft if the block fails: hours of work may stand
    in it. A draft that was left by another run is written over.

    Args:
        path: the file; what is no plain file, such as a pipe, is written as it is.
        mode: of the file; None: as the umask has it.

    Raises:
        UsageError: another program is writing the same file.
        OSError: it can not be written.
    """
    if _is_stream(path):
        with path.open("w", encoding="utf-8", newline="", buffering=1) as file:
            yield file
        return
    path = path.resolve()
    draft = draft_of(path)
    with os.fdopen(_locked(draft, path), "w", encoding="utf-8", newline="", buffering=1) as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        yield file
        _sync(file)
        draft.replace(path)
    sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """Where ``growing`` writes until it is done."""
    return path.with_name(fitting(path.name, ".part"))


def fitting(name: str, suffix: str) -> str:
    """A file's name with a suffix, cut where it would be longer than Linux takes; then a hash tells it from others."""
    whole = os.fsencode(name + suffix)
    if len(whole) <= NAME_BYTES:
        return name + suffix
    end = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}{suffix}"
    kept = os.fsencode(name)[: NAME_BYTES - len(os.fsencode(end))]
    return kept.decode("utf-8", "ignore") + end


def sync_folder(folder: Path) -> None:
    """Make what was renamed or created in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Make an empty file that only this user can read, if none is there; one that is there keeps its rights."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))


def _locked(draft: Path, path: Path) -> int:
    """A descriptor of the draft, emptied, which no other program writes as long as it is open."""
    while True:
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(draft, handle):
                os.ftruncate(handle, 0)
                return handle
        except BlockingIOError as cause:
            os.close(handle)
            raise UsageError(f"another program is writing {path}; wait for it, or choose another place") from cause
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the other writer has just renamed its draft: this is its finished file


def _is_still(draft: Path, handle: int) -> bool:
    """Whether a draft's name still stands for the opened file."""
    try:
        return os.path.samestat(draft.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe, a device or a standard stream, which nothing may be renamed over."""
    try:
        return bool(_STREAM.fullmatch(str(path.absolute()))) or not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _sync(file: IO[bytes] | IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
