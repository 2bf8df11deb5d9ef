"""Mosquitto from the distribution's own package, unpacked without root beside this Python.

apt does the work, with folders of its own: it knows the mirrors, checks the signatures and resolves what the
package needs and the system lacks. Nothing outside the given folder is written.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import BrokerError

log = logging.getLogger(__name__)

_PACKAGES = "mosquitto", "mosquitto-clients"
_CLIENTS = "mosquitto_sub", "mosquitto_pub", "mosquitto_rr", "mosquitto_passwd"
_PROGRAMS = "usr/sbin/mosquitto", *(f"usr/bin/{name}" for name in _CLIENTS)
_TIMEOUT_S = 300
_STARTER = """#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "$here/files/{program}" "$@"
"""


def unpack_mosquitto(target: Path) -> Path:
    """Make ``target`` hold mosquitto, whole or not at all; nothing is done if it does already.

    Returns:
        The folder of its programs: mosquitto, mosquitto_sub, mosquitto_pub, mosquitto_rr, mosquitto_passwd.

    Raises:
        BrokerError: this is no Debian or Ubuntu, the folder can not be written, or the mirror not reached.
    """
    programs = target / "bin"
    if programs.is_dir():
        return programs
    for tool in ("apt-get", "dpkg-deb", "ldd"):
        if shutil.which(tool) is None:
            raise BrokerError(f"mosquitto can not be unpacked: {tool} is missing; install mosquitto yourself")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent / f".{target.name}.lock"):
            if not programs.is_dir():
                _assemble(target)
    except OSError as cause:
        raise BrokerError(
            f"mosquitto can not be unpacked into {target} ({cause.strerror}); install mosquitto yourself"
        ) from cause
    return programs


def _assemble(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as workshop:
        draft = Path(workshop) / target.name
        (draft / "bin").mkdir(parents=True)
        for package in _download(Path(workshop)):
            _call("dpkg-deb", "--extract", str(package), str(draft / "files"))
        # Never an empty list: an empty word in LD_LIBRARY_PATH would mean the current folder.
        found = {path.parent.relative_to(draft) for path in draft.rglob("lib*.so.*")}
        libraries = sorted(found | {Path("files/usr/lib")})
        for program in _PROGRAMS:
            starter = draft / "bin" / Path(program).name
            search = ":".join(f"$here/{folder}" for folder in libraries)
            starter.write_text(_STARTER.format(libraries=search, program=program))
            starter.chmod(0o755)
            _check(draft / "files" / program, [str(draft / folder) for folder in libraries])
        draft.rename(target)


def _download(workshop: Path) -> list[Path]:
    """Fetch the packages that mosquitto needs and the system lacks."""
    apt = ("apt-get", *_own_folders(workshop / "apt"))
    _call(*apt, "update")
    plan = _call(*apt, "--simulate", "--no-install-recommends", "install", *_PACKAGES)
    needed = set(re.findall(r"^Inst (lib\S+)", plan, re.MULTILINE))
    wanted = [*_PACKAGES, *sorted(needed - _installed())]
    packages = workshop / "packages"
    packages.mkdir()
    _call(*apt, "download", *wanted, folder=packages)
    return sorted(packages.glob("*.deb"))


def _installed() -> set[str]:
    listed = _call("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n")
    return set(re.findall(r"^installed (\S+)", listed, re.MULTILINE))


def _own_folders(root: Path) -> list[str]:
    for folder in ("state/lists/partial", "cache/archives/partial", "log"):
        (root / folder).mkdir(parents=True)
    status = root / "state/status"
    status.touch()  # nothing installed: the plan names all that mosquitto needs, however the system fares
    options = {
        "Dir::State": root / "state",
        "Dir::State::lists": root / "state/lists",
        "Dir::State::status": status,
        "Dir::Cache": root / "cache",
        "Dir::Log": root / "log",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def _check(program: Path, libraries: list[str]) -> None:
    found = _call("ldd", str(program), search=":".join(libraries))
    if missing := re.findall(r"(\S+) => not found", found):
        raise BrokerError(
            f"the unpacked {program.name} lacks {', '.join(missing)}; install mosquitto with the system's tools"
        )


def _call(*command: str, folder: Path | None = None, search: str = "") -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    if search:
        environment["LD_LIBRARY_PATH"] = search
    log.debug("%s", " ".join(command))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as cause:
        said = " ".join(cause.stderr.split()[-40:]) or "nothing said"
        raise BrokerError(
            f"{command[0]} failed while it fetched mosquitto: {said}; check the network and the apt sources, "
            "or install mosquitto yourself"
        ) from cause
    except subprocess.TimeoutExpired as cause:
        raise BrokerError(f"{command[0]} did not fetch mosquitto within {_TIMEOUT_S} s; check the network") from cause
    return done.stdout


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time in; the others wait."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
