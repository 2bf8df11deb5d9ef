"""Until something is true; and a port that is free."""

import socket
import time
from collections.abc import Callable
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
