"""What may have to be taken back: a wrong scale shows only after frames at that scale have been judged and counted.

The scale is watched over many frames (``agent.vision.watch``). Frames that come before it is known are in doubt, and so
are the latest of those that come after: an objective that has been changed takes a while to show.
"""

from collections import deque
from dataclasses import dataclass

from agent.vision.watch import EVERY, KEPT

DELAY_FRAMES = 2 * EVERY + KEPT
"""Frames after which another objective has shown, where each has red cells: two looks, for one may not be at odds, and
those that it calls for."""


@dataclass(frozen=True, slots=True)
class Confidences:
    """Number, sum and least of the confidences of places."""

    count: int = 0
    total: float = 0.0
    least: float = 1.0

    def with_(self, value: float) -> "Confidences":
        """These and one more."""
        return Confidences(self.count + 1, self.total + value, min(self.least, value))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a slide had come before a frame: accepted frames, names of cells and of parts given, confidences."""

    frames: int
    cells: int
    parts: int
    confidences: Confidences


class CheckpointRing:
    """Remembers how far the slide had come before the frames that are in doubt."""

    def __init__(self) -> None:
        self._checkpoints: deque[Checkpoint] = deque(maxlen=DELAY_FRAMES)

    def add(self, before: Checkpoint, *, scale_known: bool) -> None:
        """Another frame is counted; while the scale is unknown all frames since the first stay in doubt."""
        if scale_known or not self._checkpoints:
            self._checkpoints.append(before)

    def take(self) -> Checkpoint | None:
        """Where the frames in doubt begin, if there are any; from now on none are."""
        first = self._checkpoints[0] if self._checkpoints else None
        self._checkpoints.clear()
        return first
