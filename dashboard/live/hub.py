"""Tells browsers what has changed: each open page has a listener that collects names of changes until it sends them.

A listener that is slow sends fewer, newer states; its memory is bounded by the number of names.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Change = tuple[str, ...]
"""What has changed: `("agent", site, device, kind)`, or `("broker",)`."""


class Listener:
    """What has changed since one page was last told."""

    def __init__(self, concerns: Callable[[Change], bool]) -> None:
        self._concerns, self._changes = concerns, dict.fromkeys(list[Change]())
        self._came = asyncio.Event()

    def note(self, change: Change) -> None:
        """Remember a change, if it concerns the page."""
        if self._concerns(change):
            self._changes[change] = None
            self._came.set()

    def wake(self) -> None:
        """End a wait for changes."""
        self._came.set()

    async def changes(self, *, within_s: float, pace_s: float) -> list[Change]:
        """Wait for a change, and then a little for those that come with it; empty if none comes in time."""
        try:
            await asyncio.wait_for(self._came.wait(), within_s)
        except asyncio.TimeoutError:  # which Python 3.10 has beside its own
            return []
        await asyncio.sleep(pace_s)
        found, self._changes = list(self._changes), {}
        self._came.clear()
        return found


class Hub:
    """The listeners of all open pages; for the thread of the event loop.

    Attributes:
        over: the server ends, and pages are told nothing more.
    """

    def __init__(self) -> None:
        self._listeners: dict[Listener, str] = {}
        """With the person of each."""
        self.over = False

    @contextmanager
    def listening(self, concerns: Callable[[Change], bool], person: str = "") -> Iterator[Listener]:
        """A listener for the changes that concern a page of a person."""
        listener = Listener(concerns)
        self._listeners[listener] = person
        try:
            yield listener
        finally:
            del self._listeners[listener]

    def tell(self, change: Change) -> None:
        """Note a change for every page that it concerns."""
        for listener in self._listeners:
            listener.note(change)

    def end(self) -> None:
        """Let every page go."""
        self.over = True
        for listener in self._listeners:
            listener.wake()

    @property
    def watched(self) -> int:
        """How many pages are open."""
        return len(self._listeners)

    def watched_by(self, person: str) -> int:
        """How many of them are a person's."""
        return list(self._listeners.values()).count(person)
