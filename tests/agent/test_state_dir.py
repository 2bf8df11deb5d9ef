"""The agent's folder, outside systemd too: who else has an account on the machine reads no reports there."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.ops.audit import AuditLog
from agent.rollback_guard import remember
from agent.wire.outbox import Outbox

MAKERS: dict[str, Callable[[Path], None]] = {
    "audit log": lambda folder: AuditLog(folder).close(),
    "outbox": lambda folder: Outbox(folder / "outbox.sqlite", max_mb=1).close(),
    "memory of models": lambda folder: remember("blast", 1, folder),
}


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("maker", MAKERS)
def test_whatever_makes_it_makes_it_for_one_user(maker: str, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    MAKERS[maker](folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("maker", MAKERS)
def test_one_that_is_there_stays_as_somebody_made_it(maker: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    MAKERS[maker](tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750
