"""How one thread ends the wait of another for the network."""

import socket
from contextlib import suppress


class WakeUp:
    """Can be polled for reading beside a socket. Any thread may ``wake``; the rest is for the thread that waits."""

    def __init__(self) -> None:
        self._woken = False
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End a wait, or the next one."""
        if not self._woken:
            self._woken = True
            with suppress(OSError):  # a full one wakes already, a closed one need not
                self._writer.send(b"\0")

    def clear(self) -> None:
        """Note that the wait has ended."""
        self._woken = False  # before it is emptied: who wakes us from here on does so again
        self._reader.recv(4096)

    def close(self) -> None:
        """Give back the descriptors; who wakes us later does nothing."""
        self._reader.close()
        self._writer.close()
