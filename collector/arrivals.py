"""What came, sorted by what it is, before anything of it is stored."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple, TypeAlias

from pydantic import Field

from collector.tables import Row
from contract.health_messages import Health, Status
from contract.messages import LARGEST_MESSAGE, FrameReport, Message, Name, SlideSummary
from contract.topic_words import WORD, is_topic_word

Key: TypeAlias = tuple[str, str, int]
"""Device, epoch and number of a report."""
StreamName: TypeAlias = tuple[str, str]
"""Device and epoch of an outbox."""
_MAX_PAYLOAD = 64 * 1024
_AS_IT_CAME = 64 * 1024
"""Bytes of a message that is kept as it came, with keys that this release does not know; of a longer one what it knows
is kept."""


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

    slide_id: Name
    count_id: Name = Field("")


def sorted_by_kind(arrivals: Sequence[Arrival]) -> Batch:
    """Read each message; what is none of ours goes into quarantine."""
    batch = Batch()
    for arrival in arrivals:
        try:
            _sort_in(arrival, batch)
        except ValueError as cause:  # pydantic's is one
            batch.quarantined.append(quarantine_row(arrival, "malformed", str(cause)))
    return batch


def _sort_in(arrival: Arrival, batch: Batch) -> None:
    """Believe a message as far as its topic, which the broker's access list guards; ValueError if it is no good."""
    *_, site, device, name = ["", "", *arrival.topic.split("/")]
    sort = _SORTED.get(name)
    if sort is None:
        return
    if not (is_topic_word(site) and is_topic_word(device)):
        raise ValueError(f"site and device in the topic must each have {WORD}")
    if len(arrival.payload) > LARGEST_MESSAGE:
        raise ValueError(f"it is longer than the {LARGEST_MESSAGE} bytes that are read of a message")
    sort(arrival, batch, _Sender(site, device, arrival.topic.removesuffix(name) + "ack"))


class _Sender(NamedTuple):
    """Who has sent a message, and where to answer."""

    site: str
    device: str
    answer: str


def _report(arrival: Arrival, batch: Batch, sender: _Sender) -> None:
    report = FrameReport.model_validate_json(arrival.payload)
    if (report.site, report.device) != sender[:2]:
        raise ValueError(f"it names {report.site}/{report.device}, and its topic {sender.site}/{sender.device}")
    key = report.device, report.epoch, report.seq
    batch.topics[key[:2]] = sender.answer
    first, _ = batch.reports.setdefault(key, (report, arrival))
    if first is not report:
        batch.again += 1
        if not same_report(first, report):
            batch.quarantined.append(conflict_row(arrival))


def _health(arrival: Arrival, batch: Batch, sender: _Sender) -> None:
    health = Health.model_validate_json(arrival.payload)
    for epoch, oldest in {**health.rescued, health.epoch: health.oldest}.items():
        if epoch and oldest:
            batch.floors[sender.device, epoch] = sender.site, oldest - 1
            batch.topics[sender.device, epoch] = sender.answer


def _status(arrival: Arrival, batch: Batch, sender: _Sender) -> None:
    if Status.model_validate_json(arrival.payload).state == "online":
        batch.greeted[sender.site, sender.device] = sender.answer


def _slide(arrival: Arrival, batch: Batch, sender: _Sender) -> None:
    if not arrival.payload:  # it only clears what the broker retained
        return
    names = _SlideName.model_validate_json(arrival.payload)
    long = len(arrival.payload) > _AS_IT_CAME
    row = {
        "device": sender.device,
        "slide_id": names.slide_id,
        "count_id": names.count_id,
        "site": sender.site,
        "received_at": arrival.at.astimezone(timezone.utc),
        "body": kept_body(SlideSummary.model_validate_json(arrival.payload) if long else names, arrival),
    }
    batch.slides.append(row)


_SORTED = {"frame": _report, "health": _health, "slide": _slide, "status": _status}
"""Who reads a message, by the end of its topic."""


def same_report(one: FrameReport, other: FrameReport) -> bool:
    """Whether two reports of one key say the same; an agent that moves sends what waits as from its new site."""
    return one == other.model_copy(update={"site": one.site})


def kept_body(message: Message, arrival: Arrival) -> str:
    """What is stored of a message: all of it, or, of a long one, what is known of it."""
    return arrival.payload.decode() if len(arrival.payload) <= _AS_IT_CAME else message.model_dump_json()


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
