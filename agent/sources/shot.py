"""One picture as a camera or a video hands it over, before it is a frame."""

from dataclasses import dataclass, field

from common.errors import SourceError
from contract.pictures import Fault
from contract.types import NO_IMAGE, FrameMeta, Image


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, or in its place what is wrong with it: a reason and its words."""

    image: Image = field(default_factory=lambda: NO_IMAGE)
    fault: str = ""
    detail: str = ""
    meta: FrameMeta = FrameMeta()  # noqa: RUF009 - frozen


class UnfitStreamError(SourceError):
    """A camera or a video is there, but none of its pictures can be judged.

    Args:
        fault: the reason that a frame in their place bears.
        text: names the thing, the cause and the remedy.
    """

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault
