"""What the log looks like to systemd's journal, and to people."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.journal import JournalFormatter, goes_to_journal, marked

PROGRAMS = {"microscope-agent": ["agent", "run"], "microscope-collect": ["collector"]}


def failing_run(program: str, stream: Path, *, named: str) -> str:
    """Stderr, written to a file that stands for the journal's socket, of a run with a wrong setting."""
    with stream.open("w+") as file:
        found = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": named.format(f"{found.st_dev}:{found.st_ino}")}
        command = [sys.executable, "-m", *PROGRAMS[program], "--set", "mqtt.prot=1"]
        subprocess.run(command, stderr=file, env=environment, check=False)
        file.seek(0)
        return file.read()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_journal_gets_a_priority_with_every_line(tmp_path: Path, program: str) -> None:
    assert failing_run(program, tmp_path / "err", named="{}").startswith(f"<3>{program}: there is no setting")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_stream_that_is_not_the_journal_s_stays_plain(tmp_path: Path, program: str) -> None:
    """JOURNAL_STREAM is inherited by whatever the service starts, also with its stderr somewhere else."""
    assert failing_run(program, tmp_path / "err", named="1:2").startswith(f"{program}: there is no setting")


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2), (1, 7)],
)
def test_each_level_has_its_priority(level: int, priority: int) -> None:
    record = logging.LogRecord("agent.x", level, "", 0, "%s away", ("broker",), None)
    assert JournalFormatter().format(record) == f"<{priority}>agent.x: broker away"


def test_every_line_of_a_traceback_is_marked() -> None:
    assert marked("a\nb\n", logging.ERROR) == "<3>a\n<3>b"


def test_what_has_no_file_is_not_the_journal() -> None:
    assert not goes_to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
