"""Lines of the audit log, and the command that verifies it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ops.audit import AuditLog, verify
from agent.ops.chain import START, Entry, Head
from common.errors import AuditError, MissingError
from tests.audits import EVENTS, edit, json_values, the_file

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from agent.ops.audit import AuditLog, verify
from common.errors import AuditError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state = Path(sys.argv[1])
with AuditLog(state) as audit:
    audit("first", {})
    size = next((state / "audit").iterdir()).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    try:
        audit("command", {})
    except AuditError as cause:
        print(cause)
    audit.note("slide_started", {})
    audit.catch_up()
    print(audit.alarm)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    audit.catch_up()
    print(repr(audit.alarm))
    audit("last", {})
print(*verify(state).lines(), sep="\\n")
"""


def test_where_there_is_no_room_it_says_so_and_later_what_it_missed(tmp_path: Path) -> None:
    """A limit on the size of files lets the first bytes of a line be written, and no more."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    refusal, alarm, none, whole, _ = done.stdout.splitlines()
    assert "can not be written" in refusal
    assert alarm == refusal
    assert (none, whole[:20]) == ("''", "whole: lines 1 to 3;")
    assert b'"facts":{"events":{"command":1,"slide_started":1}}' in the_file(tmp_path).read_bytes()


@given(facts=st.dictionaries(st.text(), json_values))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_facts_can_be_read_as_they_were_written(facts: dict[str, object]) -> None:
    entry = Entry.following(Head(), "event", facts, at="now")
    assert entry.line.isascii()
    assert entry.line.count(b"\n") == 1
    assert Entry.of(entry.line[:-1]) == entry


@given(line=st.binary(max_size=300) | json_values.map(lambda value: str(value).encode("utf-8", "replace")))
@settings(max_examples=300, deadline=None)
def test_no_stranger_s_line_is_taken_for_an_entry(line: bytes) -> None:
    assert Entry.of(line) is None


def test_facts_that_are_no_json_are_written_as_text() -> None:
    entry = Entry.following(Head(), "event", {"path": Path("/x"), "odd": float("nan")}, at="now")
    assert Entry.of(entry.line[:-1]) is not None
    assert entry.facts["path"] == "/x"


def test_the_hash_is_that_of_the_line_without_it() -> None:
    """So that anybody can hold it against another program."""
    entry = Entry.following(Head(), "start", {"a": 1}, at="2026-01-31T12:00:00.000Z")
    said = b'{"at":"2026-01-31T12:00:00.000Z","event":"start","facts":{"a":1},"previous":"' + START.encode()
    assert entry.hash == hashlib.sha256(said + b'","seq":1}').hexdigest()


def test_where_there_is_no_log_none_is_verified(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no audit log"):
        verify(tmp_path)


def call(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", "audit", "verify", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_tells_count_and_head_and_exits_0(state: Path) -> None:
    done = call("--state-dir", state)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"whole: lines 1 to {EVENTS}; the last has the hash {verify(state).head.sha256}\n")


def test_the_command_exits_5_and_names_the_first_line_that_does_not_fit(state: Path) -> None:
    edit(state, lambda lines: lines.pop(3))
    done = call("--state-dir", state)
    assert done.returncode == 5
    assert ":4 is line 5, and line 4 is missing" in done.stderr


def test_the_command_finds_the_state_folder_by_the_settings(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'state_dir = "{state}"\n')
    assert call("--config", config, "--head", verify(state).head.sha256).returncode == 0
    assert call("--config", config, "--head", "0" * 64).returncode == 5


@pytest.mark.parametrize("word", ["abc", ""])
def test_a_head_that_is_no_hash_is_wrong_usage(state: Path, word: str) -> None:
    assert call("--state-dir", state, "--head", word).returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AuditError, match="set `state_dir`"):
        AuditLog(tmp_path)
