"""Posts the latest frame as a small picture, for Home Assistant: seldom, bounded, and not retained."""

import base64
import time
from collections.abc import Callable

from agent.wire.snapshot import SnapshotTap
from contract.requests import TakeSnapshot

EVERY_S = 10.0
"""Least seconds between two pictures."""
LOOK_EVERY_S = 2.0
"""Seconds between two looks for a newer frame."""
MOST_KB = 64
"""Of base64, as of a snapshot: the picture itself has 48 KiB or less."""
WISH = TakeSnapshot(part="whole", max_side_px=800, max_kb=MOST_KB, annotated=True)


class PicturePost:
    """Says the newest picture whose frame was examined, its cells outlined; one thread calls ``post``.

    Args:
        tap: has the newest frame.
        say: publishes a picture; must not wait.
        clock: seconds, monotonic.
    """

    def __init__(
        self, tap: SnapshotTap, say: Callable[[bytes], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tap, self._say, self._clock = tap, say, clock
        self._said_at, self._said = float("-inf"), ""

    def post(self) -> None:
        """Say the newest picture, if it is another than the last one and that is long enough ago."""
        if self._clock() - self._said_at < EVERY_S or self._tap.frame_id in {"", self._said}:
            return
        shown = self._tap.look(WISH)
        self._said_at, self._said = self._clock(), shown.frame_id
        self._say(base64.b64decode(shown.jpeg_base64))
