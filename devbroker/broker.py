"""A broker of one's own for the demonstration and the tests: on loopback, gone when it is left."""

import argparse
import asyncio
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from common.commands import how_to_install
from common.errors import BrokerError
from devbroker.debian import unpack_mosquitto

log = logging.getLogger(__name__)

Road: TypeAlias = Literal["path", "package", "embedded"]
"""Where a broker comes from: the PATH, the distribution's package, or amqtt in Python."""

ROADS: tuple[Road, ...] = ("path", "package", "embedded")
UNPACKED = Path(sys.prefix) / "opt" / "mosquitto"
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin")
_START_S = 10.0
_DEFAULTS = {
    "allow_anonymous": "true",
    "log_dest": "stderr",
    "max_queued_messages": "100000",
    "persistence": "false",
    "user": "root",  # only heeded when root starts it, who else could not read its own files
}


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that runs.

    Attributes:
        host: address it listens at; loopback.
        port: TCP port.
        version: the newest MQTT version that it speaks.
        name: which broker this is, for people.
        pid: its process.
    """

    host: str
    port: int
    version: Literal["5", "3.1.1"]
    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class _Found:
    version: Literal["5", "3.1.1"]
    name: str
    program: Path | None


@contextmanager
def open_broker(
    *, allow: Sequence[Road] = ROADS, config_lines: Sequence[str] = (), port: int = 0, within: Path | None = None
) -> Iterator[Broker]:
    """Start a broker on loopback and end it on leaving.

    Args:
        allow: where it may come from, best first.
        config_lines: mosquitto.conf(5) lines; each replaces ours of the same name. amqtt ignores them.
        port: where it listens; 0: any free port.
        within: the folder in which its own is made, and removed; None: that of the system.

    Raises:
        BrokerError: there is none, or it does not start; the text says what to install, or what it said.
    """
    found = _find(allow)
    port = port or _free_port()
    with tempfile.TemporaryDirectory(prefix="microscope-broker-", dir=within) as folder:
        command = _command(found, Path(folder), port, config_lines)
        spoken = Path(folder) / "broker.log"
        with spoken.open("wb") as file:
            # A session of its own: Ctrl-C must reach the agent, and not the broker before it.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        try:
            _await(process, port, found.name, spoken)
            yield Broker("127.0.0.1", port, found.version, found.name, process.pid)
        finally:
            _end(process)


def find_program(name: str) -> Path | None:
    """A program of mosquitto, such as ``mosquitto_sub``: from the PATH, the system's folders, or unpacked."""
    folders = [*os.get_exec_path(), *_SYSTEM_FOLDERS, str(UNPACKED / "bin")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def _find(allow: Sequence[Road]) -> _Found:
    seek = {"path": _from_path, "package": _from_package, "embedded": _embedded}
    reasons: list[str] = []
    for road in allow:
        try:
            found = seek[road]()
        except BrokerError as cause:
            reasons.append(str(cause))
        else:
            log.log(logging.INFO if found.program else logging.WARNING, "%s", "; ".join([*reasons, found.name]))
            return found
    raise BrokerError("there is no MQTT broker to start: " + "; ".join(reasons))


def _from_path() -> _Found:
    folders = os.pathsep.join([*os.get_exec_path(), *_SYSTEM_FOLDERS])
    program = shutil.which("mosquitto", path=folders)
    if program is None:
        raise BrokerError("mosquitto is not installed (Debian, Ubuntu: apt install mosquitto)")
    return _Found("5", f"mosquitto {_mosquitto_version(program)}", Path(program))


def _from_package() -> _Found:
    program = unpack_mosquitto(UNPACKED) / "mosquitto"
    return _Found("5", f"mosquitto {_mosquitto_version(program)}, unpacked in {UNPACKED}", program)


def _embedded() -> _Found:
    if importlib.util.find_spec("amqtt") is None:
        raise BrokerError(f"amqtt is not installed ({how_to_install('dashboard')})")
    return _Found("3.1.1", f"amqtt {importlib.metadata.version('amqtt')} (MQTT 3.1.1 only)", None)


def _mosquitto_version(program: Path | str) -> str:
    try:
        said = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=_START_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise BrokerError(f"{program} can not be run ({cause}); install mosquitto again") from cause
    version = re.search(r"version (\S+)", said.stdout)
    if version is None:
        raise BrokerError(f"{program} does not run ({said.stderr.strip()}); install mosquitto again")
    return version[1]


def _command(found: _Found, folder: Path, port: int, config_lines: Sequence[str]) -> list[str]:
    if found.program is None:
        return [sys.executable, "-W", "ignore", "-m", __name__, "--embedded", str(port)]
    given = {line.split()[0] for line in config_lines}
    ours = [f"{key} {value}" for key, value in _DEFAULTS.items() if key not in given]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([*ours, f"listener {port} 127.0.0.1", *config_lines, ""]))
    return [str(found.program), "-c", str(config)]


def _await(process: subprocess.Popen[bytes], port: int, name: str, spoken: Path) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    last = " | ".join(spoken.read_text(errors="replace").splitlines()[-3:]) or "nothing"
    raise BrokerError(f"{name} did not start on port {port}; it said: {last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _serve_embedded(port: int) -> None:
    import amqtt.broker  # noqa: PLC0415 - an optional part, and only this process needs it

    async def serve() -> None:
        broker = amqtt.broker.Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def main(arguments: Sequence[str] | None = None) -> int:
    """Name, and if need be fetch, the broker that the demonstration and the tests will start."""
    parser = argparse.ArgumentParser(prog="python -m devbroker.broker", description=main.__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--fetch", action="store_true", help="name the broker, unpacking it first if need be")
    task.add_argument("--embedded", type=int, metavar="PORT", help="be the broker in Python, forever")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    if options.embedded is not None:
        _serve_embedded(options.embedded)
        return 0
    try:
        sys.stdout.write(f"broker: {_find(ROADS).name}\n")
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
