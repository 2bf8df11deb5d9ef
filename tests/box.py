"""A machine with a real systemd: an overlay over this one, booted by systemd-nspawn.

What is installed here is there too, and what happens there is gone with it. Its network is its own loopback.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

BOOT_S, HALT_S = 60.0, 30.0
CHECKOUT = Path("/srv/checkout")
"""Where this project lies in the box, wherever it lies here: a box has a /tmp of its own."""
BIND = f"--bind-ro={Path(__file__).parents[1]}:{CHECKOUT}"
ROOM = "3G"
"""Of memory at most for what the box writes: the service's environment is its largest part."""


class NoBoxError(Exception):
    """Why no box can be had on this machine."""


class Box:
    """A booted box."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self._leader = root, leader

    def run(self, *words: str, check: bool = True, outside_network: bool = False, timeout_s: float = 120) -> str:
        """Run a command inside as root; returns what it wrote. Raises AssertionError if ``check`` and it failed."""
        command = self._inside(words, outside_network=outside_network)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command inside as root, with pipes to and from it."""
        return subprocess.Popen(self._inside(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def connect(self, port: int, timeout_s: float = 20) -> socket.socket:
        """A connection to the box's loopback; raises OSError. A thread that ends with it enters the box's network."""

        def connected() -> socket.socket:
            with Path(f"/proc/{self._leader}/ns/net").open("rb") as network:
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0):
                    raise OSError(ctypes.get_errno(), "setns")
            return socket.create_connection(("127.0.0.1", port), timeout_s)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(connected).result()

    def _inside(self, words: Sequence[str], *, outside_network: bool = False) -> list[str]:
        network = [] if outside_network else ["-n"]
        return ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", *network, "-p", "-C", "--", *words]

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit, as ``systemctl show`` has it."""
        return self.run("systemctl", "show", "-p", name, "--value", unit)

    def wait(self, unit: str, state: str, *, timeout_s: float = 60) -> None:
        """Until ``ActiveState`` is ``state``."""
        deadline = time.monotonic() + timeout_s
        while (now := self.shows(unit, "ActiveState")) != state:
            assert time.monotonic() < deadline, f"{unit} is {now}, not {state}: {self.journal(unit)}"
            time.sleep(0.05)

    def change(self, unit: str, lines: str) -> None:
        """Put a drop-in beside a unit; an empty one takes it away."""
        folder = self.root / f"etc/systemd/system/{unit}.service.d"
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text(f"[Service]\n{lines}\n")
        self.run("systemctl", "daemon-reload")

    def journal(self, unit: str) -> str:
        """The last lines of a unit's log."""
        return self.run("journalctl", "-u", unit, "-n", "60", "--no-pager", "-o", "cat", check=False)


@contextmanager
def unbooted(where: Path) -> Iterator[Path]:
    """The box's root before it boots: an overlay over this machine's root, in memory."""
    if os.geteuid() != 0:
        raise NoBoxError("root's rights are needed to boot a box")
    for program in ("systemd-nspawn", "nsenter"):
        if shutil.which(program) is None:
            raise NoBoxError(f"{program} is missing: apt install systemd systemd-container")
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(where))
    try:
        upper, work, root = (where / name for name in ("upper", "work", "root"))
        for folder in (upper, work, root):
            folder.mkdir()
        _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", str(root))
        try:
            for link in root.glob("etc/systemd/system/*.wants/*"):
                link.unlink()
            (root / "etc/machine-id").unlink(missing_ok=True)
            (root / "etc/machine-id").touch()
            yield root
        finally:
            _run("umount", str(root))
    finally:
        _run("umount", str(where))


@contextmanager
def booted(root: Path) -> Iterator[Box]:
    """Boot what ``unbooted`` made."""
    name = f"microscope-{os.getpid()}"
    command = [
        "systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "-M", name, "--link-journal=no",
        "--console=pipe", "--private-network", BIND,
        "--system-call-filter=adjtimex clock_adjtime",  # who keeps the clock?
        "-b", "systemd.unit=multi-user.target",
    ]  # fmt: skip
    with (root.parent / "console").open("wb") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        box = Box(root, _leader(nspawn))
        deadline = time.monotonic() + BOOT_S
        while box.run("systemctl", "is-system-running", check=False) not in {"running", "degraded"}:
            if time.monotonic() > deadline:
                raise NoBoxError(f"the box does not boot: {(root.parent / 'console').read_text()[-2000:]}")
            time.sleep(0.1)
        box.run("mount", "-o", "remount,bind,rw", "/sys/fs/cgroup/memory", check=False)
        box.run("ip", "link", "set", "lo", "up")
        yield box
        box.run("systemctl", "poweroff", check=False)
        with suppress(subprocess.TimeoutExpired):
            nspawn.wait(HALT_S)
    finally:
        nspawn.kill()
        nspawn.wait()


def _leader(nspawn: "subprocess.Popen[bytes]") -> int:
    """The process that is number 1 inside."""
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline and nspawn.poll() is None:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise NoBoxError("systemd-nspawn starts no container here")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoBoxError(f"{' '.join(words)}: {done.stderr.strip()}")
