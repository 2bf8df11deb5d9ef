"""The ends of the agents' audit logs as this page has seen them: a log whose end goes backwards was cut or replaced.

An agent says the number of its log's last line and that line's hash with each `health`. What is seen here is kept in a
file, so that a page that is started again still knows it; that file lies on another computer than the log does.
"""

import logging
import threading
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common.durable import PRIVATE, write_whole
from contract.health_messages import Health
from dashboard.live.fleet import MOST_AGENTS, AgentKey

log = logging.getLogger(__name__)
FILE = "audit-heads.json"
MOST_CUTS = 20
"""Of one agent that are kept; the first of them always."""
MOST_DAYS = 92
"""Of which one agent's last end is kept."""


class Head(BaseModel):
    """The end of a log: number and hash of its last line, and when the agent said so, by its own clock."""

    model_config = ConfigDict(frozen=True)

    lines: int
    sha256: str
    at: datetime


class Cut(BaseModel):
    """The end of a log that can not follow the one before."""

    model_config = ConfigDict(frozen=True)

    before: Head
    after: Head


class Watched(BaseModel):
    """What was seen of one agent's log.

    Attributes:
        first: the first end that was seen.
        last: the latest.
        cuts: each time that it went backwards, or changed.
        days: the last end of each earlier day. One that is no more in the log shows that the past was written again,
            which no count of lines tells.
    """

    model_config = ConfigDict(frozen=True)

    first: Head
    last: Head
    cuts: tuple[Cut, ...] = ()
    days: tuple[Head, ...] = ()

    @property
    def sought(self) -> Head:
        """The end to look for in the log: the latest of an earlier day, else the first that was seen."""
        return self.days[-1] if self.days else self.first

    def followed_by(self, head: Head) -> "Watched":
        """The same with a newer end."""
        same = head.lines == self.last.lines and head.sha256 == self.last.sha256
        cuts = self.cuts
        if not same and head.lines <= self.last.lines:
            cuts = (*cuts, Cut(before=self.last, after=head))
            cuts = (*cuts[:1], *cuts[1:][-MOST_CUTS + 1 :])
        days = (*self.days, self.last)[-MOST_DAYS:] if head.at.date() > self.last.at.date() else self.days
        return Watched(first=self.first, last=head, cuts=cuts, days=days)


_FORM = TypeAdapter(dict[str, Watched])


class AuditHeads:
    """What was seen of every agent; any thread may call. A file that can not be read is replaced, with a warning."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._changed = False
        self._known: dict[str, Watched] = {}
        try:
            self._known = _FORM.validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as cause:
            log.warning("%s can not be read (%s): what was seen of audit logs before is lost", path, cause)

    def see(self, key: AgentKey, health: Health, *, retained: bool) -> None:
        """Take note of what an agent says; a broker may have kept, and give again, what is older than we have seen."""
        if health.audit is None:
            return
        head = Head(lines=health.audit.lines, sha256=health.audit.sha256, at=health.at)
        name = "/".join(key)
        with self._lock:
            known = self._known.get(name)
            is_old = known is not None and retained and head.at <= known.last.at
            if is_old or (known is None and len(self._known) >= MOST_AGENTS):
                return
            now = known.followed_by(head) if known else Watched(first=head, last=head)
            if known and now.cuts != known.cuts:
                log.warning("the audit log of %s has %d lines, and had %d", name, head.lines, known.last.lines)
            self._known[name] = now
            self._changed |= (
                known is None or known.model_copy(update={"last": now.last}) != now or known.last.lines != head.lines
            )

    def of(self, key: AgentKey) -> Watched | None:
        """What was seen of an agent; None if it has said nothing of its log."""
        with self._lock:
            return self._known.get("/".join(key))

    def save(self) -> None:
        """Write what is new into the file; what can not be written is tried again at the next call."""
        with self._lock:
            if not self._changed:
                return
            data, self._changed = _FORM.dump_json(self._known, indent=1), False
        try:
            write_whole(self._path, data, mode=PRIVATE)
        except OSError as cause:
            log.warning("%s can not be written (%s)", self._path, cause.strerror)
            with self._lock:
                self._changed = True
