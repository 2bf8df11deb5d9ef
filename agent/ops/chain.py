"""The chain of the audit log: every line holds the hash of the line before. Bytes in, verdict out; no disk."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.errors import IntegrityError

START = "0" * 64
"""What stands for the hash before the first line."""
REPAIRED, GIVEN_UP = "repaired", "given_up"
_MOST_TORN = 2
"""Lines that power cuts can leave torn in a row: one, and the note of its repair."""


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


def last_entry(content: bytes) -> tuple[Entry | None, bytes]:
    """The last good line of a file's content, and what stands behind it."""
    end = len(content)
    while end > 0:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if entry := Entry.of(content[begin:end].removesuffix(b"\n")):
            return entry, content[end:]
        end = begin
    return None, content


def repair_facts(torn: bytes) -> dict[str, object]:
    """What the note of a repair says of the bytes that a power cut left behind the last good line."""
    torn = torn.removesuffix(b"\n")
    return {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}


class Verifier:
    """Takes the lines of a log one by one, in order.

    Args:
        sought: the hash of a line that must be there; "" if none must.
    """

    def __init__(self, sought: str = "") -> None:
        self.head, self.first, self.repaired = Head(), 0, 0
        self.found_at = 0
        """Number of the line with the hash that is sought; 0: not seen."""
        self._sought = sought
        self._torn: list[bytes] = []
        self._torn_at = ""
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
            if len(self._torn) > _MOST_TORN:
                raise self._changed()
            return
        if self._torn:
            self._accept_repair(entry)
        self._follow(entry, where)

    def finish(self) -> None:
        """Say that this was the last line; a torn one at the end is the next start's to repair.

        Raises:
            IntegrityError: lines at the beginning are missing, or the sought one is.
        """
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

    @property
    def unfinished(self) -> bool:
        """Whether the last line is torn, or just being written."""
        return bool(self._torn)

    def _accept_repair(self, entry: Entry) -> None:
        facts = repair_facts(b"\n".join(self._torn))
        if entry.event != REPAIRED or entry.facts != facts:
            raise self._changed()
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
