"""Commands that programs give again and again, in the audit log: each asker once a minute, with a count of the rest.

A collector that fetches pictures asks several times a second, for as long as a slide runs. Noted one by one, these
commands would push all else out of the audit log within hours.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pydantic import BaseModel

EVERY_S = 60.0
MOST_ASKERS = 32
"""That are counted at a time; whoever asks under ever new names is noted each time."""
_SHOWN = 4
Asker: TypeAlias = tuple[str, str]
"""Command and response topic."""


class OftenAsked:
    """Counts such commands; one thread may use it.

    Args:
        audit: notes an event and its facts; raises MicroscopeError if it can not.
        clock: seconds, monotonic.
    """

    def __init__(self, audit: Callable[[str, Mapping[str, object]], None], clock: Callable[[], float]) -> None:
        self._audit, self._clock = audit, clock
        self._noted_at: dict[Asker, float] = {}
        self._since: dict[Asker, int] = {}
        """By asker: commands that were carried out and not noted."""

    def note(self, command: str, reply_to: str, request: BaseModel) -> bool:
        """Count a command before it is carried out, and note it if it is due; whether it was noted.

        Raises:
            MicroscopeError: it can not be noted.
        """
        asker, now = (command, reply_to), self._clock()
        if now - self._noted_at.get(asker, float("-inf")) < EVERY_S:
            self._since[asker] = self._since.get(asker, 0) + 1
            return False
        facts = {"command": command, "reply_to": reply_to, "request": shortened(request)}
        self._audit("command", {**facts, "counted_before": self._since.get(asker, 0)})
        self._since.pop(asker, None)
        self._noted_at.pop(asker, None)
        self._noted_at[asker] = now
        if len(self._noted_at) > MOST_ASKERS:
            self._forget(next(iter(self._noted_at)))
        return True

    def close(self) -> None:
        """Note what was counted and not told; raises MicroscopeError if that can not be."""
        for asker in list(self._noted_at):
            self._forget(asker)

    def _forget(self, asker: Asker) -> None:
        self._noted_at.pop(asker, None)
        times = self._since.pop(asker, 0)
        if times:
            self._audit("commands_counted", {"command": asker[0], "reply_to": asker[1], "times": times})


def shortened(request: BaseModel) -> dict[str, object]:
    """A request without the length of its lists."""
    return {name: _short(value) for name, value in request.model_dump(mode="json").items()}


def _short(value: object) -> object:
    if not isinstance(value, list) or len(value) <= _SHOWN:
        return value
    return [*value[:_SHOWN], f"and {len(value) - _SHOWN} more"]
