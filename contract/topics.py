"""What is said on which topic, with which promises: the agent, its consumers and the docs read this table."""

from dataclasses import dataclass
from typing import Literal

from contract.health_messages import Health, Status
from contract.messages import CONTENT_TYPE, Ack, FrameReport, Message, SlideSummary

TopicName = Literal["status", "frame", "slide", "health", "picture", "ack"]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of one agent.

    Attributes:
        message: what is said on it; None where it is no message of ours but bytes of a media type.
        heard: the agent hears it, and a consumer says it; else the agent says it.
        retained: the broker keeps the latest.
        expiry_s: after so many seconds the broker throws it away; 0: never.
        qos: quality of service; 1: at least once.
        media_type: of what is said.
    """

    message: type[Message] | None
    heard: bool = False
    retained: bool = False
    expiry_s: int = 0
    qos: int = 1
    media_type: str = CONTENT_TYPE


TOPICS: dict[TopicName, Topic] = {
    "frame": Topic(FrameReport),
    "slide": Topic(SlideSummary, retained=True),
    "status": Topic(Status, retained=True),
    "health": Topic(Health, retained=True, expiry_s=300),
    "picture": Topic(None, expiry_s=60, media_type="image/jpeg"),
    "ack": Topic(Ack, heard=True),
}
"""By the last word of the topic. What commands and their answers are stands in ``contract.requests``."""


class Topics:
    """The topics of one agent: `<prefix>/v1/<site>/<device>/<name>`."""

    def __init__(self, *, prefix: str, site: str, device: str) -> None:
        self.root = f"{prefix}/v1/{site}/{device}"
        self.status = f"{self.root}/status"
        self.frame = f"{self.root}/frame"
        self.slide = f"{self.root}/slide"
        self.health = f"{self.root}/health"
        self.picture = f"{self.root}/picture"
        self.ack = f"{self.root}/ack"
        self.commands = f"{self.root}/command/#"

    def command(self, name: str) -> str:
        """The topic of one command."""
        return f"{self.root}/command/{name}"
