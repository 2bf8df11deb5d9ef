"""The audit log: what was written is found as it was written, or the first line that is not is named."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ops.audit import FOLDER, AuditLog, files_of, verify
from agent.ops.chain import Entry, Head, is_torn, last_entry
from common.errors import AuditError, IntegrityError
from common.words import counted
from tests.audits import EVENTS, edit, fill, json_values, the_file


def test_a_whole_log_is_whole_and_tells_its_head(state: Path) -> None:
    verdict = verify(state)
    assert (verdict.head.count, verdict.first, verdict.repaired, verdict.unfinished) == (EVENTS, 1, 0, False)
    entry, rest = last_entry(the_file(state).read_bytes())
    assert entry is not None
    assert (entry.hash, rest) == (verdict.head.sha256, b"")


def test_the_next_start_goes_on_where_the_last_one_ended(state: Path) -> None:
    fill(state, 2)
    assert verify(state).head.count == EVENTS + 2
    assert oct(the_file(state).stat().st_mode)[-3:] == "600"


def test_any_changed_byte_is_found(state: Path) -> None:
    """Every byte of the file, each changed in one bit; the very last is the end of the last line."""
    whole = the_file(state).read_bytes()
    for place in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        the_file(state).write_bytes(changed)
        with pytest.raises(IntegrityError):
            verify(state)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda lines: lines.__setitem__(3, lines[3].replace(b'"number":3', b'"number":4')), ":4 was changed"),
        (lambda lines: lines.pop(3), ":4 is line 5, and line 4 is missing"),
        (lambda lines: lines.__delitem__(slice(2, 5)), ":3 is line 6, and lines 3 to 5 are missing"),
        (lambda lines: lines.insert(2, lines.pop(4)), ":3 is line 5, and lines 3 to 4 are missing"),
        (lambda lines: lines.insert(2, lines[1]), ":3 is line 2 again"),
        (lambda lines: lines.insert(2, b"\n"), ":3 was changed"),
        (lambda lines: lines.pop(0), "begins with line 2"),
    ],
)
def test_what_was_changed_removed_or_moved_is_named(
    state: Path, change: Callable[[list[bytes]], object], named: str
) -> None:
    edit(state, change)
    with pytest.raises(IntegrityError) as refusal:
        verify(state)
    assert named in str(refusal.value)


def test_a_line_that_was_written_anew_with_a_good_hash_does_not_fit_the_next(state: Path) -> None:
    lines = the_file(state).read_bytes().splitlines()
    before = Entry.of(lines[2])
    assert before is not None
    forged = Entry.following(before.head, "event", {"number": 99}, at="2026-01-31T12:00:03.000Z")
    edit(state, lambda lines: lines.__setitem__(3, forged.line))
    with pytest.raises(IntegrityError, match=":5 does not follow"):
        verify(state)


def test_what_was_cut_off_at_the_end_shows_only_against_a_head_kept_elsewhere(state: Path) -> None:
    head = verify(state).head
    edit(state, lambda lines: lines.pop())
    assert verify(state).head.count == EVENTS - 1
    with pytest.raises(IntegrityError, match="no line of the audit log has the hash"):
        verify(state, sought=head.sha256)


def test_a_head_of_yesterday_is_found_in_the_log_of_today(state: Path) -> None:
    head = verify(state).head
    fill(state, 3)
    verdict = verify(state, sought=head.sha256.upper())
    assert (verdict.found_at, verdict.head.count) == (EVENTS, EVENTS + 3)


def test_a_line_torn_by_a_power_cut_anywhere_is_repaired_and_told(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 3)
    whole = the_file(tmp_path / "whole").read_bytes()
    second = whole.rindex(b"\n", 0, -1) + 1
    for length in (*range(second + 1, len(whole), 16), len(whole) - 1):
        state = tmp_path / str(length)
        (state / FOLDER).mkdir(parents=True)
        (state / FOLDER / "000000000001.jsonl").write_bytes(whole[:length])
        assert verify(state).unfinished == (length < len(whole) - 1)
        fill(state, 1)
        verdict = verify(state)
        whole_line = length == len(whole) - 1
        assert (verdict.head.count, verdict.repaired) == ((4, 0) if whole_line else (3 + 1, 1))
        shutil.rmtree(state)


def test_a_repair_that_is_itself_torn_is_repaired(state: Path) -> None:
    with the_file(state).open("ab") as file:
        file.write(b'{"at":"20')
    fill(state, 0)
    with the_file(state).open("ab") as file:
        file.write(b"\n" + bytes(40))
    fill(state, 1)
    assert verify(state).repaired == 1


def test_a_repair_excuses_no_line_that_was_changed(state: Path) -> None:
    with the_file(state).open("ab") as file:
        file.write(b'{"at":"20')
    fill(state, 1)
    edit(state, lambda lines: lines.__setitem__(EVENTS, b'{"at":"21\n'))
    with pytest.raises(IntegrityError, match=f":{EVENTS + 1} was changed"):
        verify(state)


JUNK = [
    b"\n", b"hello", b"hello\n", b"a\n\nb\n", b"\xff\xfe", b"{}\n", b'{"seq":7}\n', b'{"at": "20', b'{"event":"start',
    b'{"at":"x"}y', b'{"at":"x","event":"y","facts":{},"hash":"x',
    b"\n" + bytes(40), bytes(40) + b"hello", b"x" * 70_000, b"[", b"7",
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
def test_junk_at_the_end_is_no_torn_line_before_and_after_the_next_start(state: Path, junk: bytes) -> None:
    with the_file(state).open("ab") as file:
        file.write(junk)
    with pytest.raises(IntegrityError, match=f":{EVENTS + 1} was changed, or added behind line {EVENTS}"):
        verify(state)
    with AuditLog(state) as audit:
        assert f"ends with {counted(len(junk), 'byte')} that no agent has written" in audit.alarm
        audit("event", {})
        assert "no agent has written" in audit.alarm
    with pytest.raises(
        IntegrityError, match=f":{EVENTS + 1} was not written by the agent.* 1 to {EVENTS + 2}, are whole"
    ):
        verify(state)
    edit(state, lambda lines: lines.__setitem__(1, lines[1].replace(b'"number":1', b'"number":4')))
    with pytest.raises(IntegrityError, match=":2 was changed"):
        verify(state)


def test_junk_that_is_noted_as_a_torn_line_is_found(state: Path) -> None:
    """As an agent would that takes everything for torn."""
    head, junk = verify(state).head, b"hello"
    facts = {"bytes": len(junk), "sha256": hashlib.sha256(junk).hexdigest()}
    edit(state, lambda lines: lines.extend([junk, b"\n", Entry.following(head, "repaired", facts, at="now").line]))
    with pytest.raises(IntegrityError, match=f":{EVENTS + 1} was changed"):
        verify(state)


@given(facts=st.dictionaries(st.text(), json_values), cut=st.floats(0, 1, exclude_max=True), zeros=st.integers(0, 50))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_line_cut_anywhere_is_torn(facts: dict[str, object], cut: float, zeros: int) -> None:
    line = Entry.following(Head(7, "1" * 64), "event", facts, at="2026-01-31T12:00:00.000Z").line[:-2]
    assert is_torn(line[: 1 + int(cut * len(line))] + bytes(zeros), Head(7, "1" * 64))


def test_a_log_that_is_removed_beneath_the_agent_is_told_and_written_again(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as audit:
        audit("first", {})
        shutil.rmtree(tmp_path / FOLDER)
        audit.catch_up()
        assert "000000000001.jsonl" in audit.alarm
        assert "removed or replaced while the agent ran" in audit.alarm
        audit("second", {})
        with pytest.raises(AuditError, match="another agent writes"):
            AuditLog(tmp_path)
    assert verify(tmp_path).head.count == 3
    assert "while the agent ran: see line 2" in "\n".join(verify(tmp_path).lines())
    assert b'"event":"removed"' in the_file(tmp_path).read_bytes()
    assert oct(the_file(tmp_path).stat().st_mode)[-3:] == "600"


def test_a_file_that_is_put_in_the_place_of_the_log_is_kept_aside(state: Path) -> None:
    with AuditLog(state) as audit:
        content = the_file(state).read_bytes()
        the_file(state).unlink()
        (state / FOLDER / "000000000001.jsonl").write_bytes(b"another")
        audit("event", {})
    [aside] = (state / FOLDER).glob("*.aside-*")
    assert aside.read_bytes() == b"another"
    assert the_file(state).read_bytes().startswith(content)
    assert verify(state).head.count == EVENTS + 2


def test_older_files_that_are_removed_beneath_the_agent_are_told(tmp_path: Path) -> None:
    with AuditLog(tmp_path, file_bytes=1000) as audit:
        for number in range(20):
            audit("event", {"number": number})
        gone = files_of(tmp_path / FOLDER)[1]
        gone.unlink()
        audit.catch_up()
        assert gone.name in audit.alarm
    with pytest.raises(IntegrityError, match="are missing"):
        verify(tmp_path)


def test_what_others_add_or_cut_while_the_agent_runs_is_told(state: Path) -> None:
    with AuditLog(state) as audit:
        with the_file(state).open("ab") as file:
            file.write(b'{"at":"20')
        audit("event", {})
        assert "9 bytes were added" in audit.alarm
        os.truncate(the_file(state), 100)
        audit.catch_up()
        assert "was cut by" in audit.alarm
    with pytest.raises(IntegrityError, match=":1 was changed"):
        verify(state)


def test_a_log_that_was_blown_up_fills_no_memory_and_stops_no_agent(state: Path) -> None:
    os.truncate(the_file(state), 1 << 34)
    with pytest.raises(IntegrityError, match="is longer than an agent makes it"):
        verify(state)
    with AuditLog(state) as audit:
        audit("event", {})
        assert audit.head.count == EVENTS + 2
        assert "no agent has written" in audit.alarm


def test_it_is_bounded_and_says_what_it_gave_up(tmp_path: Path) -> None:
    for _ in range(4):
        fill(tmp_path, 50, file_bytes=1000, kept_files=5)
    verdict = verify(tmp_path)
    assert len(files_of(tmp_path / FOLDER)) <= 5
    assert verdict.first > 100
    assert verdict.head.count > 200
    assert "given up" in "\n".join(verdict.lines())


def test_files_removed_at_the_beginning_or_amid_are_missed(tmp_path: Path) -> None:
    fill(tmp_path, 50, file_bytes=1000)
    files = files_of(tmp_path / FOLDER)
    amid = files[3].read_bytes()
    files[3].unlink()
    with pytest.raises(IntegrityError, match="are missing"):
        verify(tmp_path)
    files[3].write_bytes(amid)
    verify(tmp_path)
    files[0].unlink()
    with pytest.raises(IntegrityError, match="they were removed"):
        verify(tmp_path)


def test_a_power_cut_amid_the_removal_of_what_was_given_up_leaves_a_whole_log(tmp_path: Path) -> None:
    """Whichever of the files that one line gives up are still there; but none that it does not give up may be gone."""
    fill(tmp_path, 50, file_bytes=1000)
    before = {path: path.read_bytes() for path in files_of(tmp_path / FOLDER)}
    fill(tmp_path, 10, file_bytes=1000, kept_files=4)
    left = files_of(tmp_path / FOLDER)
    gone = [path for path in before if path not in left]
    assert len(gone) > 3
    for path in reversed(gone):
        path.write_bytes(before[path])
        verify(tmp_path)
    for path in [*gone, left[0]]:
        path.unlink()
    with pytest.raises(IntegrityError, match="they were removed"):
        verify(tmp_path)


def test_threads_may_note_at_once(tmp_path: Path) -> None:
    with AuditLog(tmp_path) as audit:
        threads = [
            threading.Thread(target=lambda: [audit("event", {"k": k}) for k in range(20)])  # type: ignore[func-returns-value]
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert verify(tmp_path).head.count == 80


def test_only_one_agent_writes_it(tmp_path: Path) -> None:
    with AuditLog(tmp_path), pytest.raises(AuditError, match="another agent writes"):
        AuditLog(tmp_path)
    AuditLog(tmp_path).close()


def test_the_last_entry_of_an_event_is_found_in_an_older_file(tmp_path: Path) -> None:
    with AuditLog(tmp_path, file_bytes=500) as audit:
        audit("start", {"settings": "abc"})
        for number in range(20):
            audit("event", {"number": number})
        found = audit.last("start")
        assert found is not None
        assert found.facts == {"settings": "abc"}
        assert audit.last("never") is None
