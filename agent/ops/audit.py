"""The audit log: what happened on this agent, one JSON line each, appended, synced and chained by hashes.

`audit/` in the state folder holds files named by the number of their first line. Nothing in it is ever rewritten. What
the chain proves, and what only a head kept elsewhere can prove, stands in docs/threat-model.md.
"""

import fcntl
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from agent.ops.chain import CUT, FOREIGN, GIVEN_UP, REMOVED, Entry, Head, Verdict, Verifier, last_entry, note_of
from agent.ops.logfile import MOST_BYTES, LogFile, first_bytes
from common.arguments import make_state_dir
from common.errors import AuditError, IntegrityError, MissingError
from common.words import counted

log = logging.getLogger(__name__)
FOLDER = "audit"
FILE_BYTES = 1 << 20
KEPT_FILES = 64
"""Files that are kept: 64 MiB, some 200,000 events; then the oldest is given up, and a line says so."""
MISSED = "missed"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AuditLog:
    """The log while it is written; any thread may call. Calling it notes an event and its facts.

    A line that a power cut left torn is kept, and followed by a line that says so; so is what others have written into
    the files, cut or removed, which is an alarm too. The newest file is written again where it is gone.

    Args:
        state_dir: the agent's folder.
        file_bytes: a file that has grown to this is followed by another.
        kept_files: how many files are kept.
        clock: time of day as it is to be written.

    Raises:
        AuditError: it can not be opened or read, or another agent holds it.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        file_bytes: int = FILE_BYTES,
        kept_files: int = KEPT_FILES,
        clock: Callable[[], str] = _now,
    ) -> None:
        self._folder, self._file_bytes, self._kept_files, self._clock = (
            state_dir / FOLDER,
            file_bytes,
            kept_files,
            clock,
        )
        self._lock = threading.Lock()
        self._head, self._guard = Head(), -1
        self._file: LogFile | None = None
        self._names: set[str] = set()
        """Files that must be there."""
        self._due: list[tuple[str, dict[str, object]]] = []
        """What was found in the files, to be noted before the next line."""
        self._missed: Counter[str] = Counter()
        self._trouble = self._disturbed = ""
        try:
            self._hold_folder()
            self._resume()
        except BlockingIOError as cause:
            self.close()
            raise AuditError(
                f"another agent writes the audit log {self._folder}; stop it, or give this one its own `state_dir`"
            ) from cause
        except OSError as cause:
            self.close()
            raise AuditError(
                f"the audit log {self._folder} can not be opened ({cause.strerror}); set `state_dir` to a folder that "
                "this user may write"
            ) from cause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def head(self) -> Head:
        """The end of the chain; kept elsewhere, it proves that nothing before it was cut off."""
        return self._head

    @property
    def alarm(self) -> str:
        """What is wrong, in words: events could not be noted, or others have changed the files; "" if nothing is."""
        return "; ".join(filter(None, [self._trouble, self._disturbed]))

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        """Note an event; when this returns, the line is on the disk.

        Raises:
            AuditError: the line can not be written, and is not there.
        """
        with self._lock:
            try:
                self._make_ready()
                self._append(event, facts)
            except OSError as cause:
                self._missed[event] += 1
                self._fail(cause)
                raise AuditError(self._trouble) from cause
            self._trouble = ""

    def catch_up(self) -> None:
        """See whether the files are as they were left, and tell it if not; tell what was missed."""
        with self._lock:
            try:
                self._look()
                if self._missed or self._due:
                    self._make_ready()
            except OSError as cause:
                self._fail(cause)
            else:
                self._trouble = ""

    def note(self, event: str, facts: Mapping[str, object]) -> None:
        """Note an event that is not held up by the log: one that can not be written is counted, and told later."""
        try:
            self(event, facts)
        except AuditError as cause:
            log.warning("%s was not noted: %s", event, cause)

    def last(self, event: str) -> Entry | None:
        """The latest entry of an event, or None; AuditError if the log can not be read."""
        try:
            for path in reversed(files_of(self._folder)):
                entries = (Entry.of(line) for line in reversed(first_bytes(path).splitlines()))
                if found := next((entry for entry in entries if entry and entry.event == event), None):
                    return found
        except OSError as cause:
            raise AuditError(f"the audit log {self._folder} can not be read ({cause.strerror})") from cause
        return None

    def close(self) -> None:
        """Let another agent have it; a second call does nothing."""
        if self._file:
            self._file.close()
        if self._guard >= 0:
            os.close(self._guard)
        self._file, self._guard = None, -1

    def _fail(self, cause: OSError) -> None:
        self._trouble = (
            f"the audit log {self._folder} can not be written ({cause.strerror}); free the disk, or correct the "
            "folder's owner"
        )

    def _hold_folder(self) -> None:
        """Make the folder if it is not there, and keep other agents from it."""
        make_state_dir(self._folder.parent)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        guard = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._guard >= 0 and os.path.samestat(os.fstat(guard), os.fstat(self._guard)):
            os.close(guard)
            return
        if self._guard >= 0:
            os.close(self._guard)
        self._guard = guard
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _resume(self) -> None:
        """Find the end of the chain, what stands behind it, and the file that goes on."""
        files = files_of(self._folder)
        rest = b""
        for path in reversed(files):
            entry, behind = last_entry(first_bytes(path)[:MOST_BYTES])
            rest = behind if path == files[-1] else rest
            if entry:
                self._head = entry.head
                break
        if not files:
            return
        self._file, self._names = LogFile(files[-1]), {path.name for path in files}
        if self._file.size > MOST_BYTES:
            self._find_foreign(self._file.size - MOST_BYTES + len(rest), None)
        elif rest:
            event, facts = note_of(rest.removesuffix(b"\n"), self._head)
            self._due.append((event, facts))
            if event == FOREIGN:
                self._disturb(f"{self._file.path} ends with {counted(len(rest), 'byte')} that no agent has written")

    def _look(self) -> None:
        """Find out what others did to the files since the last line, and put back what can be."""
        if not self._file:
            return
        gone = self._names - {path.name for path in files_of(self._folder)}
        if not self._file.in_place:
            self._hold_folder()
            self._file = self._file.restore(self._folder / f"{self._file.path.name}.aside-{self._head.count}")
            gone.add(self._file.path.name)
            self._due.append((REMOVED, {"files": sorted(gone), "written_again": self._file.path.name}))
        elif gone:
            self._due.append((REMOVED, {"files": sorted(gone)}))
        if gone:
            self._disturb(f"{', '.join(sorted(gone))} in {self._folder}: removed or replaced while the agent ran")
            self._names = {path.name for path in files_of(self._folder)}
        if (change := self._file.changed_by()) > 0:
            self._find_foreign(change, self._file.accept())
        elif change < 0:
            self._file.accept()
            self._due.append((CUT, {"bytes": -change}))
            self._disturb(f"{self._file.path} was cut by {counted(-change, 'byte')} while the agent ran")

    def _find_foreign(self, count: int, added: bytes | None) -> None:
        """Others have written into the newest file; more than can be read has no hash."""
        facts: dict[str, object] = {"bytes": count}
        if added is not None and len(added) == count:
            _, facts = note_of(added.removesuffix(b"\n"), self._head)
        self._due.append((FOREIGN, facts))
        where = self._file.path if self._file else self._folder
        self._disturb(f"{counted(count, 'byte was', 'bytes were')} added to {where} that no agent has written")

    def _disturb(self, what: str) -> None:
        self._disturbed = (
            f"the audit log was changed by others: {what}; find out who may write there, and ask "
            "`microscope-agent audit verify` what is whole"
        )
        log.error("%s", self._disturbed)

    def _open(self, path: Path) -> None:
        fresh = LogFile(path)
        if self._file:
            self._file.close()
        self._file = fresh
        self._names.add(path.name)
        if fresh.size:
            self._find_foreign(fresh.size, fresh.read())

    def _make_room(self) -> None:
        if self._file and self._file.size < self._file_bytes:
            return
        self._open(self._folder / f"{self._head.count + 1:012d}.jsonl")
        outdated = files_of(self._folder)[: -self._kept_files]
        if outdated:
            last, _ = last_entry(first_bytes(outdated[-1]))
            self._append(GIVEN_UP, {"upto": last.seq, "sha256": last.hash} if last else {})
            for path in outdated:
                path.unlink()
                self._names.discard(path.name)

    def _make_ready(self) -> None:
        """Make ready for a line: what was found in the files, and what was missed, stands before it."""
        self._look()
        self._tell_due()
        self._make_room()
        self._tell_due()
        if self._missed:
            self._append(MISSED, {"events": dict(self._missed)})
            self._missed.clear()

    def _tell_due(self) -> None:
        while self._due:
            self._append(*self._due[0])
            del self._due[0]

    def _append(self, event: str, facts: Mapping[str, object]) -> None:
        entry = Entry.following(self._head, event, facts, at=self._clock())
        assert self._file is not None  # noqa: S101 - _make_room has opened it
        self._file.append(entry.line)
        self._head = entry.head


def files_of(folder: Path) -> list[Path]:
    """The files of a log, in order."""
    return sorted(folder.glob("[0-9]*.jsonl"))


def verify(state_dir: Path, *, sought: str = "") -> Verdict:
    """Hold every line of the audit log against the one before.

    Args:
        state_dir: the agent's folder.
        sought: hash of a line, from a health message for example, that must be there.

    Raises:
        IntegrityError: a line was changed, removed or moved, or the sought one is not there; names the first.
        MissingError: there is no audit log.
        AuditError: it can not be read.
    """
    folder = state_dir / FOLDER
    verifier = Verifier(sought.lower())
    try:
        files = files_of(folder)
        for path in files:
            content = first_bytes(path)
            if len(content) > MOST_BYTES:
                raise IntegrityError(f"{path} is longer than an agent makes it: others have written into it")
            lines = content.removesuffix(b"\n").split(b"\n")
            for number, line in enumerate(lines, start=1):
                if line or len(lines) > 1:
                    verifier.take(line, f"{path}:{number}")
    except OSError as cause:
        raise AuditError(f"the audit log {folder} can not be read ({cause.strerror}); ask as root") from cause
    verifier.finish()
    if not verifier.first:
        raise MissingError(f"there is no audit log in {folder}; name the agent's folder with --state-dir")
    return Verdict(
        head=verifier.head,
        first=verifier.first,
        repaired=verifier.repaired,
        unfinished=verifier.unfinished,
        found_at=verifier.found_at,
        disturbed=verifier.disturbed,
    )
