"""What came, sorted by what it is, before anything of it is stored."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeAlias

from pydantic import ValidationError

from collector.tables import Row
from contract.messages import FrameReport, Health, Message, Status

Key: TypeAlias = tuple[str, str, int]
"""Device, epoch and number of a report."""
StreamName: TypeAlias = tuple[str, str]
"""Device and epoch of an outbox."""
_MAX_PAYLOAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came."""

    topic: str
    payload: bytes
    at: datetime


@dataclass(slots=True)
class Batch:
    """The arrivals of one transaction, sorted by what they are."""

    reports: dict[Key, tuple[FrameReport, Arrival]] = field(default_factory=dict)
    quarantined: list[Row] = field(default_factory=list)
    slides: list[Row] = field(default_factory=list)
    floors: dict[StreamName, tuple[str, int]] = field(default_factory=dict)
    topics: dict[StreamName, str] = field(default_factory=dict)
    """Where to answer: the streams that were heard of."""
    greeted: dict[StreamName, str] = field(default_factory=dict)
    """(site, device) of agents that came online, and where to answer."""
    again: int = 0


class _SlideName(Message):
    """What the collector must know of a slide's summary; the rest is kept as it is."""

    slide_id: str
    count_id: str = ""


def sorted_by_kind(arrivals: Sequence[Arrival]) -> Batch:
    """Read each message; what is none of ours goes into quarantine."""
    batch = Batch()
    for arrival in arrivals:
        try:
            _sort_in(arrival, batch)
        except ValidationError as cause:
            batch.quarantined.append(quarantine_row(arrival, "malformed", str(cause)))
    return batch


def _sort_in(arrival: Arrival, batch: Batch) -> None:
    *_, site, device, name = ["", "", *arrival.topic.split("/")]
    answer = arrival.topic.removesuffix(name) + "ack"
    if name == "frame":
        report = FrameReport.model_validate_json(arrival.payload)
        key = report.device, report.epoch, report.seq
        batch.topics[key[:2]] = answer
        first, _ = batch.reports.setdefault(key, (report, arrival))
        if first is not report:
            batch.again += 1
            if first != report:
                batch.quarantined.append(conflict_row(arrival))
    elif name == "slide" and arrival.payload:  # an empty one only clears what the broker retained
        batch.slides.append(_slide_row(arrival, site, device))
    elif name == "health":
        health = Health.model_validate_json(arrival.payload)
        for epoch, oldest in {**health.rescued, health.epoch: health.oldest}.items():
            if epoch and oldest:
                batch.floors[device, epoch] = site, oldest - 1
                batch.topics[device, epoch] = answer
    elif name == "status" and Status.model_validate_json(arrival.payload).state == "online":
        batch.greeted[site, device] = answer


def _slide_row(arrival: Arrival, site: str, device: str) -> Row:
    names = _SlideName.model_validate_json(arrival.payload)
    return {
        "device": device,
        "slide_id": names.slide_id,
        "count_id": names.count_id,
        "site": site,
        "received_at": arrival.at.astimezone(timezone.utc),
        "body": arrival.payload.decode(),
    }


def conflict_row(arrival: Arrival) -> Row:
    """A row of the quarantine for a report whose key another report has."""
    return quarantine_row(
        arrival, "conflict", "another report has this device, epoch and seq: was an outbox copied, or restored?"
    )


def quarantine_row(arrival: Arrival, cause: str, error: str) -> Row:
    """A row of the quarantine."""
    at = arrival.at.astimezone(timezone.utc)
    digest = hashlib.sha256(arrival.topic.encode(errors="replace") + b"\0" + arrival.payload).hexdigest()
    return {
        "digest": digest,
        "cause": cause,
        "topic": _clean(arrival.topic),
        "error": _clean(error[:2000]),
        "payload": arrival.payload if cause == "conflict" else arrival.payload[:_MAX_PAYLOAD],
        "times": 1,
        "first_at": at,
        "last_at": at,
    }


def _clean(text: str) -> str:
    """Text that every database takes."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
