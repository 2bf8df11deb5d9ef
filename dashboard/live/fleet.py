"""How each agent is, by what it has said: pure, no network and no clock of its own."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from pydantic import ValidationError

from contract.health_messages import Health, Status
from contract.messages import FrameReport, SlideSummary
from contract.topic_words import is_topic_word
from dashboard.link import Arrival

Condition = Literal["online", "stalled", "refusing", "offline", "stopped", "unknown"]
"""`stalled`: it is said to be there, but no frame or no word comes; `refusing`: none of its latest frames is judged."""
ENDED: frozenset[Condition] = frozenset({"offline", "stopped"})
"""Of an agent that is not there: it takes no command and examines no frame."""
STALLED_S = 15.0
"""Seconds without a frame, or without a word. Health is said every few seconds."""
REFUSING = 5
"""So many frames in turn that are refused are no accident."""
MOST_AGENTS = 2000
"""Whoever may publish could name any number of agents."""
_RATE_OVER = 50
"""Frames by whose times a rate is told."""


class AgentKey(NamedTuple):
    """Which agent."""

    site: str
    device: str


Kind = Literal["status", "health", "slide", "frame"]
Said: TypeAlias = Status | Health | SlideSummary | FrameReport
_FORMS: dict[Kind, type[Said]] = {
    "status": Status,
    "health": Health,
    "slide": SlideSummary,
    "frame": FrameReport,
}


@dataclass
class Agent:
    """One agent, as seen from here.

    Attributes:
        heard_at: when it last said something itself; what the broker had kept is older, nobody knows how much.
        refused: how many frames in turn were refused up to now.
        times: when the latest reports came.
        came: ids of the frames of these reports, each with when it came.
    """

    key: AgentKey
    status: Status | None = None
    health: Health | None = None
    slide: SlideSummary | None = None
    report: FrameReport | None = None
    heard_at: datetime | None = None
    refused: int = 0
    times: deque[datetime] = field(default_factory=lambda: deque(maxlen=_RATE_OVER))
    came: deque[tuple[str, datetime]] = field(default_factory=lambda: deque(maxlen=_RATE_OVER))

    def take(self, message: Said, arrival: Arrival) -> None:
        """Note what it says."""
        if isinstance(message, Status):
            self.status = message
        elif isinstance(message, Health):
            self.health = message
        elif isinstance(message, SlideSummary):
            self.slide = message
        else:
            self.report = message
            self.refused = 0 if message.quality.accepted else self.refused + 1
            self.times.append(arrival.at)
            self.came.append((message.frame.id, arrival.at))
        if not arrival.retained:
            self.heard_at = arrival.at

    def condition(self, now: datetime) -> Condition:
        """How it is, in a word."""
        state = self.status.state if self.status else None
        if state in {"offline", "stopped"}:
            return "stopped" if state == "stopped" else "offline"
        if state is None and self.heard_at is None:
            return "unknown"
        if self.silence_s(now) > STALLED_S or (self.frame_age_s(now) or 0) > STALLED_S:
            return "stalled"
        return "refusing" if self.refused >= REFUSING else "online"

    def silence_s(self, now: datetime) -> float:
        """Seconds for which it has said nothing; endless if we have not heard it ourselves."""
        return (now - self.heard_at).total_seconds() if self.heard_at else float("inf")

    def frame_age_s(self, now: datetime) -> float | None:
        """Seconds since it last examined a frame; None if we do not know of one."""
        ages = [(now - self.times[-1]).total_seconds()] if self.times else []
        if self.health and self.health.frame_age_s is not None:
            ages.append(self.health.frame_age_s + max(0.0, (now - self.health.at).total_seconds()))
        return min(ages, default=None)

    def came_at(self, report: FrameReport) -> datetime:
        """When the report of a frame came; of one that was not heard, when the frame was taken by the agent's clock."""
        return dict(list(self.came)).get(report.frame.id, report.frame.captured_at)

    def rate(self, now: datetime) -> float | None:
        """Frames a second of late; None if too few have come."""
        recent = [at for at in self.times if (now - at).total_seconds() < STALLED_S]
        if len(recent) < 2:  # noqa: PLR2004 - the ends of a span
            return None
        span = (recent[-1] - recent[0]).total_seconds()
        return (len(recent) - 1) / span if span > 0 else None


class Fleet:
    """All agents that were heard of.

    Attributes:
        malformed: messages that were none.
    """

    def __init__(self) -> None:
        self.agents: dict[AgentKey, Agent] = {}
        self.malformed = 0

    def take(self, arrival: Arrival) -> tuple[Agent, Kind] | None:
        """Note a message; whose it was and of which kind, or None if it says nothing to us."""
        words = arrival.topic.split("/")
        kind = next((known for known in _FORMS if known == words[-1]), None)
        if len(words) < 4 or kind is None:  # noqa: PLR2004 - version, site, device, name
            return None
        key = AgentKey(words[-3], words[-2])
        try:
            message = _FORMS[kind].model_validate_json(arrival.payload)
        except ValidationError:
            self.malformed += bool(arrival.payload)
            return None
        odd = isinstance(message, FrameReport) and (message.site, message.device) != key
        full = key not in self.agents and len(self.agents) >= MOST_AGENTS
        if odd or full or not all(map(is_topic_word, key)):
            self.malformed += 1
            return None
        agent = self.agents.setdefault(key, Agent(key))
        agent.take(message, arrival)
        return agent, kind
