"""The audit log: what happened on this agent, one JSON line each, appended, synced and chained by hashes.

`audit/` in the state folder holds files named by the number of their first line. Nothing in it is ever rewritten. What
the chain proves, and what only a head kept elsewhere can prove, stands in docs/threat-model.md.
"""

import fcntl
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from agent.ops.chain import GIVEN_UP, REPAIRED, Entry, Head, Verifier, last_entry, repair_facts
from contract.arguments import make_state_dir
from contract.errors import AuditError, MissingError

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

    A line that a power cut left torn is kept, and followed by a line that says so.

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
        self._head, self._clean_bytes, self._unclean = Head(), 0, False
        self._torn, self._ended = b"", True
        self._missed: Counter[str] = Counter()
        self._trouble = ""
        self._guard = self._file = -1
        try:
            make_state_dir(state_dir)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._guard = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        """Why events were not noted, in words; "" while all were."""
        return self._trouble

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        """Note an event; when this returns, the line is on the disk.

        Raises:
            AuditError: the line can not be written, and is not there.
        """
        with self._lock:
            try:
                self._tell_missed()
                self._append(event, facts)
            except OSError as cause:
                self._missed[event] += 1
                self._trouble = (
                    f"the audit log {self._folder} can not be written ({cause.strerror}); free the disk, or correct "
                    "the folder's owner"
                )
                raise AuditError(self._trouble) from cause
            self._trouble = ""

    def catch_up(self) -> None:
        """Where events were missed, try to tell how many; nothing more may happen that would."""
        if self._missed:
            with self._lock, suppress(OSError):
                self._tell_missed()
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
                entries = (Entry.of(line) for line in reversed(path.read_bytes().splitlines()))
                if found := next((entry for entry in entries if entry and entry.event == event), None):
                    return found
        except OSError as cause:
            raise AuditError(f"the audit log {self._folder} can not be read ({cause.strerror})") from cause
        return None

    def close(self) -> None:
        """Let another agent have it; a second call does nothing."""
        for descriptor in (self._file, self._guard):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._guard = -1

    def _resume(self) -> None:
        """Find the end of the chain, what a power cut left behind it, and the file that goes on."""
        files = files_of(self._folder)
        for path in reversed(files):
            content = path.read_bytes()
            entry, rest = last_entry(content)
            if path == files[-1]:
                self._torn, self._ended = rest, not content or content.endswith(b"\n")
            if entry:
                self._head = entry.head
                break
        if files:
            self._open(files[-1])

    def _tidy(self) -> None:
        """Take back a line that was written in part, or, if a power cut left it, end it and say so."""
        if self._unclean:
            os.ftruncate(self._file, self._clean_bytes)
            self._unclean = False
        if not self._ended:
            _write_whole(self._file, b"\n")
            self._ended = True
        if self._torn:
            self._append(REPAIRED, repair_facts(self._torn))
            self._torn = b""

    def _open(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fresh = os.open(path, flags, 0o600)
        os.fsync(self._guard)
        if self._file >= 0:
            os.close(self._file)
        self._file = fresh

    def _make_room(self) -> None:
        if self._file >= 0 and os.fstat(self._file).st_size < self._file_bytes:
            return
        self._open(self._folder / f"{self._head.count + 1:012d}.jsonl")
        outdated = files_of(self._folder)[: -self._kept_files]
        if outdated:
            last, _ = last_entry(outdated[-1].read_bytes())
            self._append(GIVEN_UP, {"upto": last.seq, "sha256": last.hash} if last else {})
            for path in outdated:
                path.unlink()

    def _tell_missed(self) -> None:
        """Make ready for a line, which says first what was missed before it."""
        self._tidy()
        self._make_room()
        if self._missed:
            self._append(MISSED, {"events": dict(self._missed)})
            self._missed.clear()

    def _append(self, event: str, facts: Mapping[str, object]) -> None:
        entry = Entry.following(self._head, event, facts, at=self._clock())
        self._clean_bytes, self._unclean = os.fstat(self._file).st_size, True
        _write_whole(self._file, entry.line)
        os.fsync(self._file)
        self._head, self._unclean = entry.head, False


def _write_whole(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def files_of(folder: Path) -> list[Path]:
    """The files of a log, in order."""
    return sorted(folder.glob("[0-9]*.jsonl"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a whole log is.

    Attributes:
        head: its end.
        first: number of the first line that is kept.
        repaired: places where a power cut left a torn line, and a later line says so.
        unfinished: the last line is torn, or just being written.
        found_at: number of the line whose hash was sought; 0: none was.
    """

    head: Head
    first: int
    repaired: int
    unfinished: bool
    found_at: int

    def lines(self) -> Iterator[str]:
        """The verdict in words."""
        yield f"whole: lines {self.first} to {self.head.count}; the last has the hash {self.head.sha256}"
        if self.first > 1:
            yield f"lines 1 to {self.first - 1} were given up for the bound, as a later line says"
        if self.repaired:
            yield f"in {self.repaired} places a line was torn by a power cut, as the line behind it says"
        if self.unfinished:
            yield "the last line is unfinished: it is just being written, or the next start will say that it was torn"
        if self.found_at:
            yield f"the hash that was asked for is that of line {self.found_at}: nothing up to there was changed or cut"
        else:
            yield "whether lines were cut off at the end, only a hash kept elsewhere can tell: see --head"


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
            lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
            for number, line in enumerate(lines, start=1):
                if line or len(lines) > 1:
                    verifier.take(line, f"{path}:{number}")
    except OSError as cause:
        raise AuditError(f"the audit log {folder} can not be read ({cause.strerror}); ask as root") from cause
    verifier.finish()
    if not verifier.first:
        raise MissingError(f"there is no audit log in {folder}; name the agent's folder with --state-dir")
    return Verdict(verifier.head, verifier.first, verifier.repaired, verifier.unfinished, verifier.found_at)
