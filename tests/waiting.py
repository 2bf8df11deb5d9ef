"""Until something is true; whether a process heeds signals yet; and a port that is free."""

import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLACK = 4
"""Of a promised time, what the everyday tests allow on a machine that others use too; `make soak` holds it to the
promise itself, the best of three."""


def until(truth: Callable[[], Any], timeout_s: float = 20) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(truth())


def heeds(pid: int) -> bool:
    """Whether the process catches SIGTERM, by the kernel's word.

    Before that, while Python itself starts, SIGTERM ends it by the system's default, and no program can help it: a test
    that may signal a process so young waits for this.
    """
    found = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return found is not None and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
