"""An agent's name, its topics, its outbox, and users whom a broker knows."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire.outbox import Outbox
from contract.topics import Topics
from devbroker.broker import find_program


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test's agent, so that tests can share a broker."""
    return str(request.node.name).replace("[", "-").replace("]", "")[:64]


@pytest.fixture
def topics(device: str) -> Topics:
    return Topics(prefix="test", site="lab", device=device)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        yield outbox


@pytest.fixture
def passwords(open_mosquitto: Callable[..., Any], tmp_path: Path) -> Path:  # noqa: ARG001 - brings mosquitto_passwd
    """A password file that knows the user `scope` with the password `right`."""
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "scope", "right"], check=True)
    return file
