"""A box for the tests of this folder."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import BIND, CHECKOUT, Box, NoBoxError, booted, unbooted


@pytest.fixture
def may_mount() -> None:
    """Skip where the disk of powerfs.py is not available."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a disk that loses power needs root and /dev/fuse")


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted machine with a broker, on which ``make install`` has been run."""
    if not Path("/usr/sbin/mosquitto").exists() or not Path("/usr/bin/mosquitto_sub").exists():
        pytest.skip("the box needs the system's broker: apt install mosquitto mosquitto-clients")
    try:
        with unbooted(tmp_path_factory.mktemp("box")) as root:
            inside = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--console=pipe", BIND]
            install = [*inside, "make", "-C", str(CHECKOUT), "install"]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            with booted(root) as machine:
                machine.run("systemctl", "start", "mosquitto")
                yield machine
    except NoBoxError as reason:
        pytest.skip(str(reason))
