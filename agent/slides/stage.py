"""Where on the slide the stage stands, told from the frames alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import nlargest

from agent.slides.registration import PEAKS, Move, View, likeness, register, view_of
from contract.types import Image

KEYFRAMES = 64
"""Places that are remembered; the largest take 0.8 MiB each."""
RECALLED, RECALL_PEAKS = 2, 3
"""Places, the likeliest of all but the last, that a frame is held against, and peaks that are tried beside each: a
return to a place shares much with it, and its peak is high."""
KEEP_SHARE = 0.25
"""Share of a frame by which the stage must have moved for a new place to be remembered: a stage that stands still
is held against one and the same frame, so that small errors do not add up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies.

    Attributes:
        part: number of the connected part of the slide, from 1; a jump begins a new one.
        x: micrometres from the upper left corner of the part's first frame to that of this frame.
        y: the same, down.
        confidence: 0 to 1; 0 for the first frame of a part, which nothing can be held against.
    """

    part: int
    x: float
    y: float
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Joint:
    """Two parts of the slide that have turned out to be one.

    Attributes:
        part: the later of both, which is gone.
        dx: micrometres from the corner of the part that stays to that of the part that is gone.
        dy: the same, down.
        place: that of the frame that showed it, in the part that stays.
    """

    part: int
    dx: float
    dy: float
    place: Place


@dataclass(slots=True, eq=False)
class _Keyframe:
    """A remembered place."""

    view: View
    place: Place


class Stage:
    """Follows the stage from frame to frame; frames that were refused are simply not shown to it.

    Attributes:
        parts: numbers of the connected parts that the slide has.
        named: the last number that was given.
    """

    def __init__(self) -> None:
        self._keyframes: list[_Keyframe] = []
        self.parts: set[int] = set()
        self.named = 0

    def place(self, image: Image, um_per_pixel: float) -> Place:
        """Find where a frame lies beside the remembered places, the last one first."""
        view = view_of(image, um_per_pixel)
        for keyframe, peaks in self._likely(view):
            if move := register(keyframe.view, view, peaks=peaks):
                return self._moved(keyframe, view, move, image.shape, um_per_pixel)
        self.named += 1
        self.parts.add(self.named)
        return self._remember(view, Place(self.named, 0.0, 0.0))

    def correct(self, place: Place, dx: float, dy: float) -> Place:
        """Shift a place that was just found by micrometres, and what was remembered of it."""
        better = replace(place, x=place.x + dx, y=place.y + dy)
        if self._keyframes[0].place is place:
            self._keyframes[0].place = better
        return better

    def forget_since(self, part: int) -> None:
        """Take back the parts that were begun after this one; their numbers are not given again."""
        self._keyframes = [keyframe for keyframe in self._keyframes if keyframe.place.part <= part]
        self.parts = {kept for kept in self.parts if kept <= part}

    def join(self, place: Place, um_per_pixel: float) -> Joint | None:
        """Make two parts one, if a place that was just remembered lies beside one of another part."""
        newest = self._keyframes[0]
        others = [keyframe for keyframe in self._keyframes if keyframe.place.part != place.part]
        if newest.place is not place or not place.confidence:
            return None  # nothing new; or the first of a part, which has just been held against the others
        for other in _likeliest(others, newest.view):
            if move := register(other.view, newest.view, peaks=RECALL_PEAKS):
                dx = other.place.x + move.dx * um_per_pixel - place.x
                dy = other.place.y + move.dy * um_per_pixel - place.y
                return self._joined(other.place.part, place.part, dx, dy)
        return None

    def _joined(self, part: int, new_part: int, dx: float, dy: float) -> Joint:
        """Places of the new part lie (dx, dy) farther in the other one; the lower number stays."""
        if part > new_part:
            part, new_part, dx, dy = new_part, part, -dx, -dy
        for keyframe in self._keyframes:
            was = keyframe.place
            if was.part == new_part:
                keyframe.place = replace(was, part=part, x=was.x + dx, y=was.y + dy)
        self.parts.discard(new_part)
        return Joint(new_part, dx, dy, self._keyframes[0].place)

    def _likely(self, view: View) -> Iterator[tuple[_Keyframe, int]]:
        """Places to hold a frame against, and how many peaks to try: the last one, then the likeliest of the others."""
        for last in self._keyframes[:1]:
            yield last, PEAKS
        for other in _likeliest(self._keyframes[1:], view):
            yield other, RECALL_PEAKS

    def _moved(self, keyframe: _Keyframe, view: View, move: Move, shape: tuple[int, ...], um_per_pixel: float) -> Place:
        self._keyframes.sort(key=lambda other: other is not keyframe)
        was = keyframe.place
        place = Place(was.part, was.x + move.dx * um_per_pixel, was.y + move.dy * um_per_pixel, move.confidence)
        far = max(abs(move.dx) / shape[1], abs(move.dy) / shape[0]) > KEEP_SHARE
        return self._remember(view, place) if far else place

    def _remember(self, view: View, place: Place) -> Place:
        self._keyframes.insert(0, _Keyframe(view, place))
        del self._keyframes[KEYFRAMES:]
        return place


def _likeliest(keyframes: Iterable[_Keyframe], view: View) -> list[_Keyframe]:
    return nlargest(RECALLED, keyframes, key=lambda keyframe: likeness(keyframe.view, view))
