"""How a connection fares: since when it is there, how often it broke, how long to wait before another attempt."""

import random
import time

_BACK_OFF_S = 0.5, 8.0
"""Seconds before another attempt, at first and at most: a network that is whole again must be found so within 15."""
_STABLE_S = 10.0
_SOON_S, _OFTEN = 60.0, 2
"""A broker that closes so many connections in a row, each so soon after its welcome, without a word: not all say that
another client took over. It is longer than the longest back-off of that other one."""


class ReconnectBackoff:
    """One thread writes it; any may ask for ``age_s``."""

    def __init__(self) -> None:
        self._since = 0.0
        self._attempts = self._closed_soon = 0

    @property
    def age_s(self) -> float:
        """Seconds since the broker's welcome; 0 without one."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def made(self) -> None:
        """The broker has welcomed us."""
        self._since = time.monotonic()

    def worked(self) -> None:
        """The broker has taken something: the next failure is a first one."""
        self._attempts = 0

    def failed(self) -> None:
        """No connection came about: nobody closed it."""
        self._closed_soon = 0

    def closed(self) -> bool:
        """The connection ended; whether that happens so often, and so soon, that somebody may be behind it."""
        self._closed_soon = self._closed_soon + 1 if self.age_s < _SOON_S else 0
        return self._closed_soon >= _OFTEN

    def wait_s(self) -> float:
        """Seconds to wait before another attempt; longer each time, and never the same for two agents."""
        if self.age_s >= _STABLE_S:
            self._attempts = 0
        self._since = 0.0
        longest = min(_BACK_OFF_S[1], _BACK_OFF_S[0] * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - keeps agents apart, guards nothing
