"""How an agent is follows from what it has said, and from what it has not."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from contract.health_messages import Health, Status
from contract.messages import FrameReport, Message, Quality
from dashboard.link import Arrival
from dashboard.live.fleet import MOST_AGENTS, REFUSING, STALLED_S, Agent, AgentKey, Condition, Fleet

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
KEY = AgentKey("lab", "scope-1")
Make = Callable[..., FrameReport]


def say(fleet: Fleet, name: str, message: Message, at: datetime = NOON, *, retained: bool = False) -> None:
    topic = f"microscopy/v1/lab/scope-1/{name}"
    fleet.take(Arrival(topic, message.model_dump_json().encode(), retained, at))


def health(age_s: float | None, at: datetime = NOON, **facts: Any) -> Health:
    return Health(at=at, frames=1, refused=0, cells=0, queued=0, engine="x", frame_age_s=age_s, **facts)


def known(fleet: Fleet) -> Agent:
    return fleet.agents[KEY]


@pytest.mark.parametrize(
    ("state", "age_s", "silent_s", "refused", "expected"),
    [
        ("online", 0.1, 0.0, 0, "online"),
        ("online", 0.1, 0.0, REFUSING, "refusing"),
        ("online", STALLED_S + 1, 0.0, 0, "stalled"),
        ("online", 0.1, STALLED_S + 1, 0, "stalled"),
        ("offline", 0.1, 0.0, 0, "offline"),
        ("stopped", 0.1, 0.0, 0, "stopped"),
    ],
)
def test_an_agent_s_condition(
    make_report: Make, state: Any, age_s: float, silent_s: float, refused: int, expected: Condition
) -> None:
    fleet = Fleet()
    say(fleet, "status", Status(state=state))
    for seq in range(refused):
        say(fleet, "frame", make_report(seq + 1, cells=[], quality=Quality(accepted=False, reasons=["empty"])))
    say(fleet, "health", health(age_s))
    assert known(fleet).condition(NOON + timedelta(seconds=silent_s)) == expected


def test_a_dead_system_is_never_shown_as_healthy(make_report: Make) -> None:
    """What the broker had kept of an agent says nothing of it now."""
    fleet = Fleet()
    say(fleet, "status", Status(state="online"), retained=True)
    say(fleet, "health", health(0.1), retained=True)
    assert known(fleet).condition(NOON) == "stalled"
    say(fleet, "frame", make_report(), NOON)
    assert known(fleet).condition(NOON) == "online"
    assert known(fleet).condition(NOON + timedelta(seconds=STALLED_S + 1)) == "stalled"


def test_a_frame_that_is_judged_ends_a_run_of_refused_ones(make_report: Make) -> None:
    fleet = Fleet()
    for seq in range(REFUSING):
        say(fleet, "frame", make_report(seq + 1, cells=[], quality=Quality(accepted=False, reasons=["empty"])))
    say(fleet, "frame", make_report(REFUSING + 1))
    assert (known(fleet).refused, known(fleet).condition(NOON)) == (0, "online")


def test_the_rate_is_that_of_the_latest_frames(make_report: Make) -> None:
    fleet = Fleet()
    for seq in range(11):
        say(fleet, "frame", make_report(seq + 1), NOON + timedelta(seconds=seq / 5))
    assert known(fleet).rate(NOON + timedelta(seconds=2)) == pytest.approx(5)
    assert known(fleet).rate(NOON + timedelta(seconds=60)) is None


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("microscopy/v1/lab/scope-1/frame", b"{"),
        ("microscopy/v1/lab/scope-1/health", b'{"frames": "many"}'),
        ("microscopy/v1/la b/scope-1/status", b'{"state": "online"}'),
        ("microscopy/v1/lab/scope-2/frame", None),
    ],
)
def test_what_is_no_message_or_of_another_than_its_topic_is_counted_and_changes_nothing(
    make_report: Make, topic: str, payload: bytes | None
) -> None:
    fleet = Fleet()
    body = make_report().model_dump_json().encode() if payload is None else payload
    assert fleet.take(Arrival(topic, body, retained=False, at=NOON)) is None
    assert (fleet.agents, fleet.malformed) == ({}, 1)


def test_any_number_of_agents_takes_bounded_memory() -> None:
    fleet = Fleet()
    body = Status(state="online").model_dump_json().encode()
    for number in range(MOST_AGENTS + 10):
        fleet.take(Arrival(f"m/v1/lab/scope-{number}/status", body, retained=False, at=NOON))
    assert (len(fleet.agents), fleet.malformed) == (MOST_AGENTS, 10)
