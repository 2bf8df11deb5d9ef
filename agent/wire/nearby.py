"""What lies beside the outbox: a lock, and a file that holds room on the disk for it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from common.arguments import make_state_dir
from common.durable import make_private
from common.errors import OutboxError

BALLAST_BYTES = 512 * 1024


class Ballast:
    """A file of no use but the room that it takes on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.whole = False

    def drop(self) -> None:
        """Give the room away; if the file can not be deleted, there is none to give."""
        self.whole = False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def load(self, spare_bytes: int) -> None:
        """Take the room again, or as much of it as can be spared; written, for promised room may count as free."""
        with suppress(OSError):
            make_private(self._path)
            self.whole = self._path.write_bytes(bytes(min(BALLAST_BYTES, spare_bytes))) == BALLAST_BYTES


def claim(path: Path) -> int:
    """Lock the outbox for this process; the kernel lets go of the lock however the process ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        make_state_dir(path.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise OutboxError(
            f"the outbox {path} can not be opened ({cause.strerror}); name a state_dir that this user may write"
        ) from cause
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(descriptor)
        raise OutboxError(
            f"another agent holds the outbox {path}; stop it, or give this one its own state_dir"
        ) from cause
    return descriptor
