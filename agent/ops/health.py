"""What the agent has done and lost since it started."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from agent.ops.board import power_w, temperatures_c
from agent.ops.chain import Head
from contract.health_messages import AuditHead, Health, PictureHealth
from contract.messages import FrameReport

log = logging.getLogger(__name__)
STALL_S = 60.0
"""A loop that has handed over nothing for so long hangs; an outbox that is full is tried again far more often."""
Cause = Literal["skipped", "outbox_full"]
"""Why a frame was never examined, or its report lost."""


class OutboxStats(Protocol):
    """What the health message must know of the outbox."""

    @property
    def epoch(self) -> str:
        """Identity of the store."""
        ...

    def oldest(self) -> int:
        """Lowest number that is held."""
        ...

    def oldest_rescued(self) -> dict[str, int]:
        """The same by epoch, of what was rescued from a damaged store."""
        ...

    def alarms(self) -> list[str]:
        """What a person should see to."""
        ...

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Reports that wait, the oldest first: (place, JSON)."""
        ...


class BrokerState(Protocol):
    """What the health message must know of the publisher."""

    @property
    def state(self) -> str:
        """How it stands with its broker."""
        ...

    @property
    def silence_s(self) -> float | None:
        """For how long no consumer has acknowledged anything new."""
        ...


class AuditState(Protocol):
    """What the health message must know of the audit log."""

    @property
    def head(self) -> Head:
        """Its end."""
        ...

    @property
    def alarm(self) -> str:
        """Why events were not noted; "" while all were."""
        ...


class PictureState(Protocol):
    """What the health message must know of the kept pictures."""

    def health(self) -> PictureHealth:
        """How many were kept."""
        ...

    def alarms(self) -> list[str]:
        """What a person should see to."""
        ...


class Pulse:
    """When the loop last did something; its thread writes, others read.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._turned_at = clock, clock()
        self._worked_at: float | None = None
        self._seen_at = self._turned_at
        self.kept = True
        """Whether there was room for the latest report."""
        self.silence = ""
        """Why the latest report is of no frame, in words; "" if it is of one."""
        self.on_silence: Callable[[], None] = _nobody
        """Called when ``silence`` begins or ends."""

    def beat(self, *, worked: bool, kept: bool) -> None:
        """The loop has handed over a report; ``worked`` if it is of a frame and not of the camera's silence."""
        self._turned_at, self.kept = self._clock(), kept
        if worked:
            self._worked_at = self._seen_at = self._turned_at
        if worked == bool(self.silence):
            self._turn(silent=not worked)

    def _turn(self, *, silent: bool) -> None:
        """Say once that the camera has fallen silent, and once that it is back."""
        if silent:
            since = datetime.now(timezone.utc) - timedelta(seconds=self._turned_at - self._seen_at)
            self.silence = (
                f"the camera has delivered no frame since {since:%Y-%m-%d %H:%M:%S} UTC; check it and its cable"
            )
            log.warning("%s", self.silence)
        else:
            self.silence = ""
            log.info("the camera delivers frames again")
        self.on_silence()

    @property
    def idle_s(self) -> float:
        """Seconds since the loop last handed over a report of any kind, or since the start."""
        return self._clock() - self._turned_at

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the last frame was examined; None before the first."""
        return None if self._worked_at is None else self._clock() - self._worked_at

    def hangs(self) -> str:
        """Why only a new start can help, in words; "" if none is needed."""
        return f"the loop has done nothing for {self.idle_s:.0f} s" if self.idle_s > STALL_S else ""

    def idles(self) -> str:
        """Why no frames become reports that are safe, in words; "" if they do."""
        if self.frame_age_s is None:
            return "no frame has been examined yet"
        if self.frame_age_s > STALL_S:
            return f"the last frame was examined {self.frame_age_s:.0f} s ago"
        return "" if self.kept else "there is no room for reports"


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

    def drop(self, cause: Cause, count: int = 1) -> None:
        """Count frames never examined, or reports lost."""
        if count:
            with self._lock:
                self._dropped[cause] += count

    def health(
        self,
        *,
        queued: int,
        engine: str,
        outbox: OutboxStats | None = None,
        broker: BrokerState | None = None,
        pulse: Pulse | None = None,
        audit: AuditState | None = None,
        pictures: PictureState | None = None,
        sys: Path | None = None,
        alarms: Sequence[str] = (),
    ) -> Health:
        """A snapshot, ready to be published; with what outbox, loop and audit log say of themselves.

        Args:
            queued: reports that wait.
            engine: name of the engine in use.
            outbox: where they wait.
            broker: how it stands with the broker.
            pulse: of the loop, which knows of the camera's silence.
            audit: the audit log.
            pictures: those that are kept.
            sys: where the kernel shows the board's sensors; None: they are not told.
            alarms: what else a person should see to.
        """
        frames, refused, cells, dropped = self._counted()
        return Health(
            at=datetime.now(timezone.utc),
            frames=frames,
            refused=refused,
            cells=cells,
            dropped=dropped,
            queued=queued,
            engine=engine,
            epoch=outbox.epoch if outbox else "",
            oldest=outbox.oldest() if outbox else 0,
            rescued=outbox.oldest_rescued() if outbox else {},
            alarms=[*_alarms(outbox, audit, pulse), *(pictures.alarms() if pictures else []), *alarms],
            frame_age_s=_rounded(pulse.frame_age_s if pulse else None),
            oldest_s=_rounded(_waits_for_s(outbox) if outbox else None),
            broker=broker.state if broker else "",
            silence_s=_rounded(broker.silence_s if broker else None),
            temperatures_c=temperatures_c(sys) if sys else {},
            power_w=power_w(sys) if sys else {},
            audit=AuditHead(lines=audit.head.count, sha256=audit.head.sha256) if audit else None,
            pictures=pictures.health() if pictures else None,
        )

    def _counted(self) -> tuple[int, int, int, dict[str, int]]:
        with self._lock:
            return self._frames, self._refused, self._cells, dict(self._dropped)


def _alarms(outbox: OutboxStats | None, audit: AuditState | None, pulse: Pulse | None) -> list[str]:
    """What a person should see to, in the words of outbox, audit log and loop."""
    told = (audit.alarm if audit else "", pulse.silence if pulse else "")
    return [*(outbox.alarms() if outbox else []), *filter(None, told)]


def _nobody() -> None:
    """Stand in until somebody listens."""


def _waits_for_s(outbox: OutboxStats) -> float | None:
    """Seconds since the oldest report that waits was captured; a clock that was set back makes it 0, never less."""
    for _, body in outbox.pending(0, 1):
        with suppress(ValidationError):  # damaged within
            captured_at = FrameReport.model_validate_json(body).frame.captured_at
            return max(0.0, (datetime.now(timezone.utc) - captured_at).total_seconds())
    return None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
