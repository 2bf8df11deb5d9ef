"""A real PostgreSQL of one's own, that a test may end and start again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Cluster:
    """A server and its files; it listens on a socket in ``folder``."""

    folder: Path
    programs: Path
    as_user: Sequence[str]
    """What stands before a command, so that somebody who is not root carries it out."""

    @property
    def url(self) -> str:
        """Its address, for the collector."""
        return self.url_at(self.folder)

    def url_at(self, host: Path | str) -> str:
        """Its address where it listens elsewhere."""
        return f"postgresql://test@/postgres?host={host}"

    def start(self, *, socket: Path | None = None, listen: str = "", within: Sequence[str] = ()) -> None:
        """Start it, perhaps with another socket, on an address of the network, and in a namespace."""
        options = f"-c listen_addresses='{listen}' -c unix_socket_directories={socket or self.folder}"
        more = ["-l", str(self.folder / "log"), "-o", f"{options} -c max_connections=20"]
        self._control(*more, "start", within=within)

    def stop(self, mode: str) -> None:
        """End it: `fast` in order, `immediate` as if it were killed."""
        self._control("-m", mode, "stop")

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def _control(self, *words: str, within: Sequence[str] = ()) -> None:
        control = [*within, *self.as_user, str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w"]
        subprocess.run([*control, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def new_cluster() -> Iterator[Cluster]:
    """An empty one, not started; the test is skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql)")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb = shutil.which("initdb", path=os.pathsep.join(map(str, [*places, *os.get_exec_path()])))
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="microscope-pg-"))
    cluster = Cluster(folder, Path(initdb).parent, _somebody(folder))
    try:
        make = [
            *cluster.as_user,
            initdb,
            "-D",
            str(folder / "data"),
            "-U",
            "test",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run(make, check=True, capture_output=True)
        yield cluster
    finally:
        if cluster.runs:
            cluster.stop("immediate")
        shutil.rmtree(folder)


def _somebody(folder: Path) -> Sequence[str]:
    """Who runs the server, which refuses to run as root, and owns its folder."""
    if os.geteuid() != 0:
        return []
    user = next((name for name in ("postgres", "nobody") if _is_user(name)), None)
    if user is None or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is nobody else here to run it")
    shutil.chown(folder, user)
    return ["setpriv", f"--reuid={user}", "--clear-groups"]


def _is_user(name: str) -> bool:
    return subprocess.run(["id", name], capture_output=True, check=False).returncode == 0
