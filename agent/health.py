"""What the agent has done and lost since it started."""

import threading
from collections import Counter
from datetime import datetime, timezone
from typing import Protocol

from contract.messages import FrameReport, Health


class Books(Protocol):
    """What the health message must know of the outbox."""

    @property
    def epoch(self) -> str:
        """Identity of the store."""
        ...

    def oldest(self) -> int:
        """Lowest number that is held."""
        ...

    def alarms(self) -> list[str]:
        """What a person should see to."""
        ...


class Counters:
    """Counts that one thread writes and another reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames = self._refused = self._cells = 0
        self._dropped: Counter[str] = Counter()

    def add(self, report: FrameReport) -> None:
        """Count a report that is safe in the sink."""
        with self._lock:
            self._frames += 1
            self._refused += not report.quality.accepted
            self._cells += len(report.cells)

    def drop(self, cause: str, count: int = 1) -> None:
        """Count frames never examined, or reports lost."""
        if count:
            with self._lock:
                self._dropped[cause] += count

    def health(self, *, queued: int, engine: str, outbox: Books | None = None) -> Health:
        """A snapshot, ready to be published; with what the outbox says of itself."""
        with self._lock:
            return Health(
                at=datetime.now(timezone.utc),
                frames=self._frames,
                refused=self._refused,
                cells=self._cells,
                dropped=dict(self._dropped),
                queued=queued,
                engine=engine,
                epoch=outbox.epoch if outbox else "",
                oldest=outbox.oldest() if outbox else 0,
                alarms=outbox.alarms() if outbox else [],
            )
