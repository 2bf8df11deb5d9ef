"""What comes in with a return address, and answers on their way to the broker: few, and one at a time."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MOST_WAITING = 32
"""ResponseQueue that wait at most; then the oldest is given up, for nobody waits for it any more."""
OURS = frozenset({"status", "frame", "slide", "health", "ack", "command"})
"""Names of agents' own topics: what comes on one is believed, so no stranger may have us write there."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from a topic that is subscribed to; of MQTT 5 also where an answer is wanted.

    Attributes:
        packet_id: under which the broker waits for its acknowledgement; 0 if it does not.
    """

    topic: str
    payload: bytes
    retained: bool = False
    reply_to: str = ""
    correlation: bytes = b""
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and where it is awaited."""

    topic: str
    body: bytes
    correlation: bytes


class ResponseQueue:
    """Each is sent when the broker has answered the one before.

    Any thread may ``say`` something; the rest is the publisher's.
    """

    def __init__(self) -> None:
        self._waiting: deque[Reply] = deque(maxlen=MOST_WAITING)
        self._sent: Reply | None = None
        self._ticket: Hashable = None

    def say(self, reply: Reply) -> None:
        """Send this when that is possible."""
        self._waiting.append(reply)

    def publish(self, send: Callable[[Reply], Hashable]) -> None:
        """Send the next one, if it may be sent; ``send`` gives 0 if it never can, None if it can not now."""
        if self._waiting and self._ticket is None:
            ticket = send(self._waiting[0])
            if ticket is not None:
                self._sent, self._ticket = self._waiting.popleft(), ticket or None

    def again(self) -> None:
        """There is a new connection: send again what was not answered."""
        if self._ticket is not None and self._sent and len(self._waiting) < MOST_WAITING:
            self._waiting.appendleft(self._sent)
        self._ticket = None

    def answered(self, ticket: Hashable) -> str:
        """Note that the broker answered; the answer's topic, "" if the ticket is none of ours."""
        if ticket != self._ticket or self._sent is None:
            return ""
        self._ticket = None
        return self._sent.topic


def may_answer_on(topic: str, root: str) -> bool:
    """Whether an answer may be published on a topic that a stranger has named.

    Args:
        topic: a response topic.
        root: of this agent's topics, `<prefix>/v1/<site>/<device>`.
    """
    everybody = root.rsplit("/", 2)[0] + "/"
    words = topic.removeprefix(everybody).split("/")
    believed = topic.startswith(everybody) and len(words) > 2 and words[2] in OURS  # noqa: PLR2004 - site, device
    return topic.isprintable() and not believed and not topic.startswith("$") and not {"+", "#"} & set(topic)
