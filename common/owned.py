"""Files that only this user and root can have written: asked before native code is loaded out of them.

A plan can not be signed on the board that builds it, for a private key has no place there. What stands for the
signature is the file system: whoever can write the file could as well have changed the agent itself.
"""

import os
import stat
from pathlib import Path

from common.errors import IntegrityError

FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH
"""Where access control lists grant more, the group's bits show it."""
ROOT = 0


def refuse_shared(folder: Path) -> None:
    """Raise IntegrityError if somebody beside this user and root can put files into a folder, or what it links to."""
    _refuse_foreign(folder, folder.stat())


def read_owned(path: Path) -> bytes:
    """Read a plain file that only this user and root can write; what was judged is what is read.

    Raises:
        IntegrityError: somebody else can write it, or it is a link.
        OSError: it can not be read.
    """
    if path.is_symlink():
        raise IntegrityError(f"{path} is a link, and what it names can change; put a plain file there, or delete it")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _refuse_foreign(path, os.fstat(file.fileno()))
        return file.read()


def others_may_write(path: Path) -> bool:
    """Whether somebody beside this user and root can change a file or a folder; False for what is not there."""
    try:
        about = path.stat()
    except OSError:
        return False
    sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
    return about.st_uid not in {ROOT, os.geteuid()} or bool(about.st_mode & FOREIGN_WRITERS and not sticky)


def _refuse_foreign(path: Path, about: os.stat_result) -> None:
    if about.st_uid not in {ROOT, os.geteuid()}:
        raise IntegrityError(
            f"{path} belongs to user {about.st_uid}, and this program runs as user {os.geteuid()}: what lies there is "
            "run as native code; run this program as that user, or build the engine again as this one or as root"
        )
    if about.st_mode & FOREIGN_WRITERS:
        raise IntegrityError(
            f"{path} can be written by others (mode {stat.S_IMODE(about.st_mode):o}), and what lies there is run as "
            f"native code; if you trust all who could have changed it: chmod go-w {path}; else delete it and build "
            "the engine again"
        )
