"""The thread between broker and pages: it takes what arrives, keeps the fleet, and wakes the pages."""

import asyncio
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timezone

from typing_extensions import Self

from dashboard.link import Link
from dashboard.live import heads
from dashboard.live.fleet import Agent, AgentKey, Fleet
from dashboard.live.heads import AuditHeads
from dashboard.live.hub import Change, Hub
from dashboard.settings import DashboardSettings
from mqttlink.settings import BrokerSettings

_TURN_S = 0.25
_LET_GO_S = 1.0


class Watcher:
    """Listens to the broker for as long as it is entered.

    Args:
        settings: broker, laboratories and agents.
        renewed: reads the broker's settings again, as before each connection.

    Attributes:
        hub: tells the pages of changes.
        heads: what was seen of the agents' audit logs.
        news_at: when an agent last said something; None: not yet. What the broker had kept is no news.
    """

    def __init__(self, settings: DashboardSettings, *, renewed: Callable[[], BrokerSettings] | None = None) -> None:
        topics = f"{settings.mqtt.prefix}/v1/{settings.site}/{settings.device}/#"
        self._link = Link(settings.mqtt, topics, renewed=renewed)
        self._fleet, self._lock = Fleet(), threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.hub = Hub()
        self.news_at: datetime | None = None
        self.heads = AuditHeads(settings.state_dir / heads.FILE)

    def enter(self, loop: asyncio.AbstractEventLoop) -> Self:
        """Begin; ``hub`` is told on this loop."""
        self._loop = loop
        self._link.__enter__()
        self._thread.start()
        return self

    def leave(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(_LET_GO_S)
        self._link.__exit__(None, None, None)

    def reconnect(self) -> None:
        """End the connection and make another, with what we log in with as it then stands on disk; any thread may."""
        self._link.reconnect()

    def let_pages_go(self) -> None:
        """End what open pages are told, so that the server need not wait for them; any thread may."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.hub.end)

    @property
    def trouble(self) -> str:
        """Why nothing comes from the broker; "" while we are subscribed."""
        return self._link.trouble

    @property
    def malformed(self) -> int:
        """How many messages were heard that were none."""
        with self._lock:
            return self._fleet.malformed

    def agents(self) -> list[Agent]:
        """Every agent, by laboratory and name."""
        with self._lock:
            return [agent for _, agent in sorted(self._fleet.agents.items())]

    def agent(self, key: AgentKey) -> Agent | None:
        """One agent; None if it was not heard of."""
        with self._lock:
            return self._fleet.agents.get(key)

    @staticmethod
    def now() -> datetime:
        """The time by which ages are told, UTC."""
        return datetime.now(timezone.utc)

    def _run(self) -> None:
        trouble = ""
        while not self._stop.is_set():
            try:
                arrival = self._link.arrivals.get(timeout=_TURN_S)
            except queue.Empty:
                arrival = None
            if arrival is not None:
                self.news_at = self.news_at if arrival.retained else arrival.at
                with self._lock:
                    taken = self._fleet.take(arrival)
                if taken:
                    agent, kind = taken
                    if kind == "health" and agent.health:
                        self.heads.see(agent.key, agent.health, retained=arrival.retained)
                    self._tell(("agent", *agent.key, kind))
            if self._link.trouble != trouble:
                trouble = self._link.trouble
                self._tell(("broker",))

    def _tell(self, change: Change) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.hub.tell, change)
