"""The values that travel through the agent, in order of travel.

``Frame`` -> ``Cell`` -> crop -> batch -> scores -> ``Prediction``. All are frozen. The arrays inside are
shared, so no step writes into an image that it was given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract.labels import Label

Image: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), uint8, blue-green-red as OpenCV delivers it."""
Crops: TypeAlias = NDArray[np.uint8]
"""(N, size, size, 3), uint8, blue-green-red, at the manifest's micrometres per pixel."""
Tensor: TypeAlias = NDArray[np.float32]
"""float32: a batch (N, 3, size, size), or scores (N, classes)."""

TimedBy: TypeAlias = Literal["exif", "file", "arrival"]
"""How the time of a frame's capture is known."""
Doubt: TypeAlias = Literal["other", "unlike_training", "colours_unknown"]
"""Why a cell that is seen whole is not judged."""
NO_IMAGE: Image = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels of the frame as captured; (x, y) is its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class TrueCell:
    """A cell that a renderer drew: what an observer should find."""

    box: Box
    kind: Literal["white", "blast", "red", "platelet"]


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """What a camera says of a frame beside its picture; None where it does not.

    Attributes:
        exposure_us: exposure time in microseconds.
        gain_db: gain of the sensor in decibels.
        camera_s: seconds on the clock of the camera or of its stream. It starts anywhere and may start again with
            each connection: only the difference of two frames means something.
    """

    exposure_us: float | None = None
    gain_db: float | None = None
    camera_s: float | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source, or the reason why there is none.

    Attributes:
        source: what the picture is called where it comes from: a file name, a device.
        captured_at: wall-clock time of capture, with a time zone.
        um_per_pixel: micrometres per pixel.
        image: the picture; ``NO_IMAGE`` if there is a fault.
        fault: a reason of ``contract.messages.Reason``, or "" if the picture is whole.
        detail: the fault in words.
        truth: what is in the picture, where the source knows.
        read_ms: milliseconds spent on fetching and decoding it.
        timed_by: what ``captured_at`` is: ``exif``, the time of exposure by the picture's own tags; ``file``, the
            time at which its file was last written; ``arrival``, the moment when the picture reached this computer.
        skipped: frames that a live source delivered since the one before, and nobody took.
        meta: what the camera says of it beside the picture.
        id: a label, unique within a run of the agent; "" until the run loop has numbered the frame.
    """

    source: str
    captured_at: datetime
    um_per_pixel: float
    image: Image = field(default_factory=lambda: NO_IMAGE, repr=False)
    fault: str = ""
    detail: str = ""
    truth: tuple[TrueCell, ...] = ()
    read_ms: float = 0.0
    skipped: int = 0
    timed_by: TimedBy = "arrival"
    meta: FrameMeta = FrameMeta()
    id: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A white cell in a frame.

    Attributes:
        box: around the whole cell, cytoplasm included, in pixels of the frame.
        centre: (x, y) of the nucleus in pixels; where the crop is taken.
        area_um2: area of the whole cell in square micrometres.
        outline: (K, 2) int32 points around the cell, in pixels; may be empty.
        flags: what a reader should know: ``edge`` for a cell that the frame's border cuts.
        nucleus: (K, 2) int32 points around each lobe of the nucleus, in pixels; may be empty.
        nucleus_um2: area of the nucleus in square micrometres; 0 if it was not measured.
    """

    box: Box
    centre: tuple[float, float]
    area_um2: float
    outline: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32), repr=False)
    flags: tuple[str, ...] = ()
    nucleus: tuple[NDArray[np.int32], ...] = field(default=(), repr=False)
    nucleus_um2: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A cell with the network's word on it.

    Attributes:
        cell: which.
        label: what it is called.
        probability: the calibrated probability of a blast; None of a cell that is not judged.
        classes: the probability of each class by its name; they sum to 1, or there are none.
        doubts: why it is ``uncertain`` whatever its probability.
    """

    cell: Cell
    label: Label
    probability: float | None
    classes: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()


Cells: TypeAlias = Sequence[Cell]
