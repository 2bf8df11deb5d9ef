"""systemd's notification protocol (sd_notify(3)): ready once frames flow, alive as long as work is completed."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from agent.ops.health import Pulse
from agent.pipeline import Sink
from common.errors import OutboxFull
from contract.messages import FrameReport

_FEEDS_PER_PERIOD = 8
"""How often the watchdog is fed within its period: a hang is seen within a period of its beginning."""
_NO_WORK = ["stale"]
"""Reasons of a report that says only that the camera is silent."""


class Notifier:
    """Speaks to the service manager that started this process; says nothing where there is none.

    Args:
        environment: ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` as systemd sets them; the first is absent elsewhere.
        clock: seconds, monotonic.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._every_s = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 / _FEEDS_PER_PERIOD
        self._clock, self._ready, self._fed_at = clock, False, float("-inf")

    def worked(self) -> None:
        """A frame was examined and its report is safe: the first time that is readiness, then life."""
        now = self._clock()
        if not self._ready:
            self._ready = True
            self._say("READY=1")
        elif now - self._fed_at < self._every_s:
            return
        self._fed_at = now
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._say(f"STATUS={text}")

    def needs(self, seconds: float) -> None:
        """The start takes this much longer."""
        self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def stopping(self) -> None:
        """The service is on its way down; nobody need restart it."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.sendto(text.encode(), address)


class WatchedSink:
    """A sink whose every completed report feeds the watchdog.

    A report that only says that the camera is silent is no work, and without a publisher (``fit`` is false) work
    helps nobody: both starve the watchdog, and the service is started again. A full sink is no hang: what was
    examined is tried again, and a new start would not make room. The pulse is told of every report.
    """

    def __init__(self, sink: Sink, notifier: Notifier, *, fit: Callable[[], bool], pulse: Pulse | None = None) -> None:
        self._sink, self._notifier, self._fit, self._pulse = sink, notifier, fit, pulse or Pulse()

    @property
    def epoch(self) -> str:
        """That of the sink behind."""
        return self._sink.epoch

    def next_seq(self) -> int:
        """That of the sink behind."""
        return self._sink.next_seq()

    def put(self, report: FrameReport) -> None:
        """Hand the report on, then feed the watchdog; raises OutboxFull as the sink does."""
        try:
            self._sink.put(report)
        except OutboxFull:
            self._feed(report, kept=False)
            raise
        self._feed(report, kept=True)

    def _feed(self, report: FrameReport, *, kept: bool) -> None:
        worked = report.quality.reasons != _NO_WORK
        self._pulse.beat(worked=worked, kept=kept)
        if worked and self._fit():
            self._notifier.worked()
