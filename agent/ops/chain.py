"""The chain of the audit log: every line holds the hash of the line before. Bytes in, verdict out; no disk."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from common.errors import IntegrityError
from common.words import counted

START = "0" * 64
"""What stands for the hash before the first line."""
REPAIRED, GIVEN_UP, FOREIGN, REMOVED, CUT = "repaired", "given_up", "foreign", "removed", "cut"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the number of its last line, and that line's hash."""

    count: int = 0
    sha256: str = START


class Entry(BaseModel):
    """One line: JSON with sorted keys, without spaces, in ASCII, so that there is one way to write it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seq: int = Field(ge=1, description="Number of the line, from 1, without gaps.")
    at: str = Field(description="Time of the event, UTC; never an order, for clocks are set back.")
    event: str = Field(description="What happened.")
    facts: dict[str, Any] = Field(description="What is known of it.")
    previous: str = Field(description="Hash of the line before.")
    hash: str = Field(description="SHA-256 of this line without its hash.")

    @classmethod
    def following(cls, head: Head, event: str, facts: Mapping[str, object], *, at: str) -> "Entry":
        """The entry that comes after ``head``; facts that are no JSON are written as text."""
        plain = json.loads(json.dumps(dict(facts), default=str))
        bare = {"seq": head.count + 1, "at": at, "event": event, "facts": plain, "previous": head.sha256}
        return cls.model_validate({**bare, "hash": hashlib.sha256(_canonical(bare)).hexdigest()})

    @classmethod
    def of(cls, line: bytes) -> "Entry | None":
        """Read a line without its end; None if it is not exactly what was once written."""
        try:
            entry = cls.model_validate_json(line)
        except ValidationError:
            return None
        hashed = _canonical(entry.model_dump(exclude={"hash"}))
        is_true = entry.hash == hashlib.sha256(hashed).hexdigest() and entry.line == line + b"\n"
        return entry if is_true else None

    @property
    def line(self) -> bytes:
        """The line, with its end."""
        return _canonical(self.model_dump()) + b"\n"

    @property
    def head(self) -> Head:
        """The end of the chain once this line stands."""
        return Head(self.seq, self.hash)


_KEYS = sorted(Entry.model_fields)
_AMID = re.compile(
    rb'"?[\]}]*"?[\]}]*,?'  # ends of what is known
    rb'(?:"(?:[^"\\]|\\.)*"?:?)?'  # a name
    rb"[-+.0-9A-Za-z]*(?:\\(?:u[0-9a-f]{0,4})?){0,2}"  # a number, a word, or what stands for one character
)
"""What may stand behind the last whole value of a line that was cut."""


def last_entry(content: bytes) -> tuple[Entry | None, bytes]:
    """The last good line of a file's content, and what stands behind it."""
    end = len(content)
    while end > 0:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if entry := Entry.of(content[begin:end].removesuffix(b"\n")):
            return entry, content[end:]
        end = begin
    return None, content


def note_of(rest: bytes, head: Head) -> tuple[str, dict[str, object]]:
    """The event and facts of the line that must follow what stands behind the last good line.

    That is what a power cut left of a line, or bytes that the agent did not write; without the end of its last line.
    """
    event = REPAIRED if is_torn(rest, head) else FOREIGN
    return event, {"bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}


def is_torn(rest: bytes, head: Head) -> bool:
    """Whether power cuts can have left this behind the line that ``head`` tells: the beginning of the next line.

    Where the power fails again, the beginning of the note of its repair stands below it. What has not reached the disk
    may be zeros.
    """
    return all(line and _begins_line(line.rstrip(b"\0"), head) for line in rest.split(b"\n"))


def _begins_line(part: bytes, head: Head) -> bool:
    """Whether a line that follows ``head`` can begin so, and is not finished."""
    if not part:
        return True
    part = part.rstrip(b"-+.0123456789eE")  # a number that is cut in two is another
    try:
        tree = from_json(part, allow_partial="trailing-strings")
    except ValueError:
        return False
    if not isinstance(tree, dict) or list(tree) != _KEYS[: len(tree)]:
        return False
    if len(tree) > _KEYS.index("facts") + 1:  # these are whole, so the rest of the line is given
        return _following(tree, head).startswith(part)
    written = _canonical(tree)
    known = written.rstrip(b'"]}')
    return part.startswith(known) and not part.startswith(written) and bool(_AMID.fullmatch(part, len(known)))


def _following(tree: Mapping[str, Any], head: Head) -> bytes:
    try:
        return Entry.following(head, tree["event"], tree["facts"], at=tree["at"]).line
    except (ValueError, TypeError):
        return b""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a whole log is.

    Attributes:
        head: its end.
        first: number of the first line that is kept.
        repaired: places where a power cut left a torn line, and a later line says so.
        unfinished: the last line is torn, or just being written.
        found_at: number of the line whose hash was sought; 0: none was.
        disturbed: number of the first line that says that others removed or cut files beneath the agent; 0: none does.
    """

    head: Head
    first: int
    repaired: int
    unfinished: bool
    found_at: int
    disturbed: int

    def lines(self) -> Iterator[str]:
        """The verdict in words."""
        yield f"whole: lines {self.first} to {self.head.count}; the last has the hash {self.head.sha256}"
        if self.first > 1:
            yield f"lines 1 to {self.first - 1} were given up for the bound, as a later line says"
        if self.repaired:
            yield f"in {counted(self.repaired, 'place')} a line was torn by a power cut, as the line behind it says"
        if self.disturbed:
            yield f"others removed, replaced or cut files of the log while the agent ran: see line {self.disturbed}"
        if self.unfinished:
            yield "the last line is unfinished: it is just being written, or the next start will say that it was torn"
        if self.found_at:
            yield f"the hash that was asked for is that of line {self.found_at}: nothing up to there was changed or cut"
        else:
            yield "whether lines were cut off at the end, only a hash kept elsewhere can tell: see --head"


class Verifier:
    """Takes the lines of a log one by one, in order.

    Args:
        sought: the hash of a line that must be there; "" if none must.
    """

    def __init__(self, sought: str = "") -> None:
        self.head, self.first, self.repaired = Head(), 0, 0
        self.found_at = 0
        """Number of the line with the hash that is sought; 0: not seen."""
        self.disturbed = 0
        """Number of the first line that says that others removed or cut files; 0: none."""
        self._sought = sought
        self._torn: list[bytes] = []
        self._torn_at = ""
        self._foreign_at = ""
        """Where bytes begin that the agent did not write, as it noted itself; the first of such places."""
        self._given_up: Head | None = None
        """Where the lines before the first end, if they were given up; to be found in a later line."""

    def take(self, line: bytes, where: str) -> None:
        """Hold a line, without its end, against those before.

        Raises:
            IntegrityError: it, or what stands before it, is not as it was written.
        """
        entry = Entry.of(line)
        if entry is None:
            self._torn.append(line)
            self._torn_at = self._torn_at or where
            return
        if self._torn:
            self._accept_note(entry)
        self._follow(entry, where)

    def finish(self) -> None:
        """Say that this was the last line; a torn one at the end is the next start's to repair.

        Raises:
            IntegrityError: the end is no torn line, or bytes amid were not written by the agent; lines at the
                beginning are missing, or the sought one is.
        """
        if self._torn and not is_torn(b"\n".join(self._torn), self.head):
            raise IntegrityError(
                f"{self._torn_at} was changed, or added behind line {self.head.count}: it is not what its hash says, "
                "and no power cut leaves it so"
            )
        if self._given_up:
            raise IntegrityError(
                f"the audit log begins with line {self.first}, and no line says that those before it were given up for "
                "the bound: they were removed"
            )
        if self._sought and not self.found_at:
            raise IntegrityError(
                f"no line of the audit log has the hash {self._sought}: lines were cut off at its end or replaced, or "
                f"it is another log's, or one of the lines given up before line {self.first}"
            )
        if self._foreign_at:
            raise IntegrityError(
                f"{self._foreign_at} was not written by the agent, as a line behind it says; the others, lines "
                f"{self.first} to {self.head.count}, are whole"
            )

    @property
    def unfinished(self) -> bool:
        """Whether the last line is torn, or just being written."""
        return bool(self._torn)

    def _accept_note(self, entry: Entry) -> None:
        """A line behind what is no line must say what that is."""
        event, facts = note_of(b"\n".join(self._torn), self.head)
        if entry.facts != facts or entry.event not in {event, FOREIGN}:
            raise self._changed()
        if entry.event == FOREIGN:
            self._foreign_at = self._foreign_at or self._torn_at
        else:
            self.repaired += 1
        self._torn, self._torn_at = [], ""

    def _follow(self, entry: Entry, where: str) -> None:
        if not self.first:
            self.first = entry.seq
            if entry.seq > 1:
                self._given_up = self.head = Head(entry.seq - 1, entry.previous)
        if entry.seq != self.head.count + 1:
            raise _out_of_line(entry, self.head.count + 1, where)
        if entry.previous != self.head.sha256:
            raise IntegrityError(
                f"{where} does not follow from the line before it: one of the two is not the one that was written"
            )
        self.head = entry.head
        if entry.hash == self._sought:
            self.found_at = entry.seq
        if entry.event in {REMOVED, CUT}:
            self.disturbed = self.disturbed or entry.seq
        if self._given_up and entry.event == GIVEN_UP and self._excuses(entry, self._given_up):
            self._given_up = None

    @staticmethod
    def _excuses(entry: Entry, given_up: Head) -> bool:
        """A power cut may have come when some of the files that a line gives up were gone, and others not yet."""
        upto, sha256 = entry.facts.get("upto"), entry.facts.get("sha256")
        return isinstance(upto, int) and (upto > given_up.count or (upto, sha256) == (given_up.count, given_up.sha256))

    def _changed(self) -> IntegrityError:
        return IntegrityError(f"{self._torn_at} was changed: it is not what its hash says")


def _out_of_line(entry: Entry, due: int, where: str) -> IntegrityError:
    if entry.seq > due:
        what = f"line {due} is missing" if entry.seq == due + 1 else f"lines {due} to {entry.seq - 1} are missing"
        return IntegrityError(f"{where} is line {entry.seq}, and {what} before it: removed, or moved")
    return IntegrityError(f"{where} is line {entry.seq} again, or moved: line {due} was due")


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
