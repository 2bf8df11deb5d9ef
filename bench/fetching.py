"""How fast the collector fetches the pictures that an agent has kept, through a real broker, with all of them there."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.results import Figures
from collector.picture_rows import picture_counts
from collector.queries import reading
from common.errors import StoreError
from devbroker.broker import Broker, open_broker

FRAMES, FPS = 100, 20
PATIENCE_S = 300.0


def measure() -> Figures:
    """Pictures and MiB a second, from the first that is here to the last; agent and collector are processes."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, open_broker() as broker:
        folder = Path(name)
        with _collector(broker, folder, fetch=False):
            _agent(broker, folder, f"source.frames={FRAMES}", f"source.fps={FPS}").wait(PATIENCE_S)
        idle = _agent(broker, folder, "source.fps=0.01")
        try:
            with _collector(broker, folder, fetch=True):
                found = _arrivals(folder)
        finally:
            idle.terminate()
            idle.wait(30)
    (began, first, first_bytes), (ended, last, last_bytes) = found[0], found[-1]
    seconds = ended - began
    return {
        "pictures": last,
        "mib": round(last_bytes / 2**20, 1),
        "fetched_per_s": round((last - first) / seconds, 1),
        "mib_per_s": round((last_bytes - first_bytes) / 2**20 / seconds, 1),
    }


def _arrivals(folder: Path) -> list[tuple[float, int, int]]:
    """When there were how many pictures, and bytes of them, until no more have come for three seconds."""
    found: list[tuple[float, int, int]] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.05)
        with suppress(StoreError), reading(_database(folder)) as connection:
            now, (count, size) = time.monotonic(), picture_counts(connection)
            if count > (found[-1][1] if found else 0):
                found.append((now, count, size))
            elif found and now - found[-1][0] > 3:
                break
    return found


def _database(folder: Path) -> str:
    return f"sqlite:///{folder / 'collector.sqlite'}"


def _agent(broker: Broker, folder: Path, *source: str) -> "subprocess.Popen[bytes]":
    settings = [
        *("site=bench", "device=bench", f"state_dir={folder / 'agent'}", f"mqtt.port={broker.port}"),
        *("pictures.keep=true", "source.kind=synthetic", "source.overlap=0.4", "source.row_overlap=0.4", *source),
    ]
    words = [word for one in settings for word in ("--set", one)]
    return subprocess.Popen([sys.executable, "-m", "agent", "--log", "ERROR", "run", *words])


@contextmanager
def _collector(broker: Broker, folder: Path, *, fetch: bool) -> Iterator[None]:
    settings = [f"mqtt.port={broker.port}", f"database={_database(folder)}", f"pictures.fetch={json.dumps(fetch)}"]
    words = [word for one in settings for word in ("--set", one)]
    process = subprocess.Popen([sys.executable, "-m", "collector", "--log", "ERROR", *words])
    try:
        time.sleep(2)  # it is subscribed
        yield
        time.sleep(1)  # the last reports are stored
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    print(measure())
