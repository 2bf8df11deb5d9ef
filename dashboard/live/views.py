"""The newest picture of each agent that somebody looks at, asked for by the command `snapshot`."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from contract.messages import FrameReport
from contract.requests import Snapshot, TakeSnapshot
from dashboard.live.commands import apart, ask
from dashboard.live.fleet import AgentKey
from dashboard.live.hub import Hub
from mqttlink.settings import BrokerSettings

EVERY_S, AFTER_TROUBLE_S = 1.0, 5.0
"""Seconds between two pictures of one agent, which takes five commands a second in all; after a failure."""
WISH = TakeSnapshot(part="whole", max_side_px=1024, max_kb=256, annotated=False)


@dataclass(frozen=True, slots=True)
class View:
    """What an agent has shown.

    Attributes:
        jpeg: the picture; empty where there is none.
        frame_id: its frame.
        report: of the same frame; None where that is not known.
        trouble: why there is no newer picture, in words.
    """

    jpeg: bytes = b""
    frame_id: str = ""
    report: FrameReport | None = None
    trouble: str = ""


class Views:
    """Asks for pictures of an agent for as long as a page looks at it; for the thread of the event loop.

    Args:
        broker: where agents are asked.
        hub: is told of each new picture, as `("view", site, device)`.
        renewed: reads the broker's settings again, as before each connection.
    """

    def __init__(
        self, broker: BrokerSettings, hub: Hub, *, renewed: Callable[[], BrokerSettings] | None = None
    ) -> None:
        self._broker, self._hub, self._renewed = broker, hub, renewed
        self._watched = Counter[AgentKey]()
        self._tasks: dict[AgentKey, asyncio.Task[None]] = {}
        self._views: dict[AgentKey, View] = {}

    def of(self, key: AgentKey) -> View:
        """The newest picture of an agent."""
        return self._views.get(key, View())

    @asynccontextmanager
    async def watched(self, key: AgentKey) -> AsyncIterator[None]:
        """Have pictures of an agent in the block."""
        self._watched[key] += 1
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._watch(key))
        try:
            yield
        finally:
            self._watched[key] -= 1
            if not self._watched[key]:
                del self._watched[key]
                self._tasks.pop(key).cancel()

    async def _watch(self, key: AgentKey) -> None:
        while True:
            view = await apart(partial(self._look, key))
            before = self._views.get(key)
            self._views[key] = view
            if before is None or (view.frame_id, view.trouble) != (before.frame_id, before.trouble):
                self._hub.tell(("view", *key))
            await asyncio.sleep(AFTER_TROUBLE_S if view.trouble else EVERY_S)

    def _look(self, key: AgentKey) -> View:
        answer = ask(self._broker, key, "snapshot", WISH, renewed=self._renewed)
        if answer.error or not isinstance(answer.result, Snapshot):
            last = self.of(key)
            return View(last.jpeg, last.frame_id, last.report, answer.error.text if answer.error else "?")
        shown = answer.result
        report = shown.report if shown.report and shown.report.frame.id == shown.frame_id else None
        return View(base64.b64decode(shown.jpeg_base64), shown.frame_id, report)
