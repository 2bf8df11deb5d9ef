"""How often somebody may try to sign in: guessing is slow, for a name and from an address."""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

FREE = 5
"""Failures without a wait."""
LONGEST_S = 300.0
_REMEMBERED = 10_000


class Attempts:
    """Failures by name and by address; each after the first few doubles the wait, up to ``LONGEST_S``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failed = OrderedDict[str, tuple[int, float]]()
        """By name or address: failures, and when the next attempt may be."""

    def wait_s(self, *who: str) -> int:
        """Whole seconds until one of this name or address may try; 0: now."""
        with self._lock:
            until = max((self._failed[one][1] for one in who if one in self._failed), default=0.0)
        return max(0, math.ceil(until - self._clock()))

    def failed(self, *who: str) -> None:
        """Note a failure of each."""
        with self._lock:
            for one in who:
                count = self._failed.pop(one, (0, 0.0))[0] + 1
                wait = min(LONGEST_S, 2.0 ** (count - FREE)) if count >= FREE else 0.0
                self._failed[one] = count, self._clock() + wait
            while len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)

    def succeeded(self, *who: str) -> None:
        """Forget the failures of each."""
        with self._lock:
            for one in who:
                self._failed.pop(one, None)


def network_of(address: str) -> str:
    """An address, or the network of one whose owner has as many as he likes: of IPv6 the first 64 bits."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address):
            plain = found.ipv4_mapped
            return str(plain or ipaddress.ip_network((found, 64), strict=False))
    return address[:64]
