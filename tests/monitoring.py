"""The pages of an agent over real HTTP, for tests."""

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial

from agent.ops.prometheus import pages, served
from contract.health_messages import AuditHead, Health, PictureHealth

FULL = Health(
    at=datetime(2026, 1, 31, tzinfo=timezone.utc),
    frames=12,
    refused=2,
    cells=30,
    dropped={"skipped": 4, "outbox_full": 1},
    queued=5,
    engine="onnxruntime-int8",
    alarms=["the disk is full"],
    frame_age_s=0.5,
    oldest_s=90.25,
    temperatures_c={"cpu-thermal": 48.3},
    power_w={"VDD_IN": 6.18},
    broker="online",
    silence_s=2.5,
    audit=AuditHead(lines=7, sha256="0" * 64),
    pictures=PictureHealth(kept=41, dropped=2, mb=1.5),
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@contextmanager
def serving(health: Callable[[], Health] = lambda: FULL, **ills: str) -> Iterator[int]:
    """The pages of an agent with these ills; its port."""
    trouble, hangs, idles = (partial(str, ills.get(name, "")) for name in ("trouble", "hangs", "idles"))
    port = free_port()
    with served(port, pages(health, version="0.1.0", trouble=trouble, hangs=hangs, idles=idles)) as alarm:
        assert alarm == ""
        yield port


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Content-Type"], body
