"""What has arrived, counted once: pure, no network and no terminal."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

from contract.health_messages import Health, Status
from contract.labels import LABELS
from contract.messages import FrameReport, SlideSummary
from contract.sightings import Sightings
from contract.topic_words import is_topic_word

_LATEST = 8
_LATENCIES = 20_000
_EPOCHS = 100
"""Of one agent that are remembered; it begins one with each new store."""
_STRAGGLERS = 10_000
"""Numbers beside the run without holes that are remembered: whoever may write on a topic could send any."""


class Summary(TypedDict):
    """The counts at the end; `--summary` writes them as JSON. Cells are counted in every frame that shows them."""

    received: int
    frames: int
    refused: int
    cells: int
    normal: int
    blast: int
    uncertain: int
    not_judged: int
    taken_back: int
    duplicates: int
    gaps: int
    malformed: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None


@dataclass
class Numbers:
    """The numbers seen of one epoch: a run without holes, and the stragglers around it."""

    low: int = 0
    high: int = -1
    others: set[int] = field(default_factory=set)
    given_up: int = 0
    """Numbers in holes that are waited for no more."""

    def add(self, number: int) -> bool:
        """Note a number; False if it was seen before."""
        if self.low <= number <= self.high or number in self.others:
            return False
        if self.high < self.low:
            self.low, self.high = number, number - 1
        self.others.add(number)
        self._join()
        if len(self.others) > _STRAGGLERS:
            self._give_up_a_hole()
        return True

    def _join(self) -> None:
        while self.high + 1 in self.others:
            self.high += 1
            self.others.remove(self.high)
        while self.low - 1 in self.others:
            self.low -= 1
            self.others.remove(self.low)

    def _give_up_a_hole(self) -> None:
        """The one beside the run: what comes there later is taken for known."""
        above = [number for number in self.others if number > self.high]
        before = self.high - self.low + 1 + len(self.others)
        self.low, self.high = (self.low, min(above) - 1) if above else (max(self.others) + 1, self.high)
        self.given_up += self.high - self.low + 1 + len(self.others) - before
        self._join()

    @property
    def gaps(self) -> int:
        """How many numbers are missing between the lowest and the highest."""
        first, last = min({self.low} | self.others), max({self.high} | self.others)
        return last - first + 1 - (self.high - self.low + 1) - len(self.others) + self.given_up


@dataclass
class Device:
    """One agent, as seen from here."""

    state: str = "unknown"
    frames: int = 0
    refused: int = 0
    duplicates: int = 0
    sightings: Sightings = field(default_factory=Sightings)
    epochs: dict[str, Numbers] = field(default_factory=dict)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    latest: deque[FrameReport] = field(default_factory=lambda: deque(maxlen=_LATEST))
    slide: SlideSummary | None = None
    health: Health | None = None
    heard_at: datetime | None = None
    """When it last said something; what the broker had kept of it is older, nobody knows how much."""
    alarms_before: frozenset[str] = frozenset()

    def add(self, report: FrameReport, received_at: datetime) -> bool:
        """Count a report; False if (device, epoch, seq) was here before."""
        if not self.epochs.setdefault(report.epoch, Numbers()).add(report.seq):
            self.duplicates += 1
            return False
        if len(self.epochs) > _EPOCHS:
            del self.epochs[next(iter(self.epochs))]
        self.frames += 1
        self.refused += not report.quality.accepted
        self.sightings.add(report)
        age = received_at - report.frame.captured_at
        self.latencies_ms.append(round(age.total_seconds() * 1000, 3))
        self.latest.append(report)
        return True

    @property
    def gaps(self) -> int:
        """Numbers that are missing in between, over all epochs."""
        return sum(numbers.gaps for numbers in self.epochs.values())


Kind = Literal["new", "again", "slide", "status", "stopped", "health", "malformed", "other"]


@dataclass
class Tally:
    """Every agent that was heard; ``devices`` by `site/device`."""

    devices: dict[str, Device] = field(default_factory=dict)
    malformed: int = 0
    link: str = ""
    """How we stand with the broker, in a line."""
    connected: bool = True
    """Whether anything can come from there."""

    def take(self, topic: str, payload: bytes, *, received_at: datetime, retained: bool) -> Kind:
        """Count a message; says what it was. Only a live `stopped` is ``stopped``: a retained one is history.

        It is believed as far as its topic, which the broker's access list guards: a report of another agent's name is
        ``malformed``, and so is whatever names nobody.
        """
        *_, site, device, name = ["", "", *topic.split("/")]
        try:
            kind = self._take(name, payload, (site, device), received_at=received_at, retained=retained)
        except ValueError:  # pydantic's is one
            self.malformed += 1
            return "malformed"
        if not retained and (known := self.devices.get(f"{site}/{device}")):
            known.heard_at = received_at
        return kind

    def _take(
        self, name: str, payload: bytes, sender: tuple[str, str], *, received_at: datetime, retained: bool
    ) -> Kind:
        if name not in {"frame", "slide", "status", "health"}:
            return "other"
        if not all(map(is_topic_word, sender)):
            raise ValueError("no site and device")
        if name == "frame":
            report = FrameReport.model_validate_json(payload)
            if (report.site, report.device) != sender:
                raise ValueError("another agent's name")
            return "new" if self._device(sender).add(report, received_at) else "again"
        if name == "slide":
            self._device(sender).slide = SlideSummary.model_validate_json(payload)
            return "slide"
        if name == "health":
            device, health = self._device(sender), Health.model_validate_json(payload)
            device.alarms_before = frozenset(device.health.alarms if device.health else ())
            device.health = health
            return "health"
        state = Status.model_validate_json(payload).state
        self._device(sender).state = state
        return "stopped" if state == "stopped" and not retained else "status"

    def fresh_alarms(self, topic: str) -> list[str]:
        """Alarms of an agent's latest health message that the one before did not have."""
        agent = "/".join(topic.split("/")[-3:-1])
        device = self.devices[agent]
        alarms = device.health.alarms if device.health else []
        return [f"{agent} alarm: {alarm}" for alarm in alarms if alarm not in device.alarms_before]

    def before(self, latest: FrameReport) -> FrameReport | None:
        """What its agent reported before this, the latest report of that agent."""
        reports = self.devices[f"{latest.site}/{latest.device}"].latest
        return reports[-2] if len(reports) > 1 else None

    def _device(self, sender: tuple[str, str]) -> Device:
        return self.devices.setdefault("/".join(sender), Device())

    @property
    def received(self) -> int:
        """Reports, each counted once."""
        return sum(device.frames for device in self.devices.values())

    @property
    def gaps(self) -> int:
        """Numbers that are missing in between, over all devices."""
        return sum(device.gaps for device in self.devices.values())

    def slides(self) -> list[SlideSummary]:
        """The last slide of each agent that told of one."""
        return [device.slide for _, device in sorted(self.devices.items()) if device.slide]

    def summary(self) -> Summary:
        """All devices together."""
        devices = self.devices.values()
        kinds = {name: sum(d.sightings.kinds[name] for d in devices) for name in LABELS}
        latencies = [latency for d in devices for latency in d.latencies_ms]
        return Summary(
            received=self.received,
            frames=self.received,
            refused=sum(d.refused for d in devices),
            cells=sum(kinds.values()),
            normal=kinds["normal"],
            blast=kinds["blast"],
            uncertain=kinds["uncertain"],
            not_judged=kinds["not_judged"],
            taken_back=sum(d.sightings.taken_back for d in devices),
            duplicates=sum(d.duplicates for d in devices),
            gaps=self.gaps,
            malformed=self.malformed,
            latency_p50_ms=percentile(latencies, 50),
            latency_p99_ms=percentile(latencies, 99),
        )


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest-rank percentile: the least value that ``percent`` of all do not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None
