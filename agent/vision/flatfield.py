"""Even light: what the lamp and the optics do to a frame, measured once and divided out of every frame.

The flat field is a smooth surface for each colour, 1 where the light is best. It is taken from frames of an empty
field, or from many frames of a moving smear: at each place the brightest of them show the bare background.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.drawn_mark import PNG, marked
from common.durable import write_whole
from common.errors import CheckError, IntegrityError, UsageError
from common.words import counted
from contract.types import Image

Surface = NDArray[np.float32]
"""(height, width, 3) float32, blue-green-red."""

COARSE_SIDE = 160
"""Columns of the pictures that the light is measured in: fine enough to see cells, coarse enough to keep fifty."""
ORDER = 5
"""Of the surface: lamps and vignettes need four, cells and dust would need thirty."""
MIN_EMPTY_FRAMES = 3
MIN_MOVING_FRAMES = 20
"""Half of a smear is bare: at a place that twenty frames show, all but one in a million have three bare ones."""
BARE_PERCENTILE = 85
"""Of those twenty, three are brighter."""
STAINED_SHARE = 0.96
"""Share of the light around it below which a spot is stained, or dirt; noise and texture stay above."""
EMPTY = 0.002
"""Most of an empty field that may be so dark: dust."""
GRAIN = 2.0
"""Blur, in coarse pixels, that leaves cells and takes noise away."""
MAX_UNSMOOTH = 0.02
"""Most that the picture may differ from the smooth surface (root mean square): twenty frames of a moving smear leave
0.011, one that stands still 0.17."""
MAX_SATURATED = 0.001
LIMIT_LEVEL = 253
MIN_LEVEL = 0.3
"""Least brightness at the best place: below, noise and rounding are a few percent."""
MIN_LIGHT = 0.25
"""Least light at the worst place: evened out, its noise is four times as large, and grey levels are as rare."""
HOT_LEVELS = 12
"""Grey levels by which a pixel must differ from its neighbours, in every frame, to be called defect."""
NAMED = 5
FULL_SCALE = 65535
MAX_BYTES = 1 << 28
"""Longest file of a flat field that is read."""
MAX_PIXELS = 1 << 25
"""Largest flat field, 33 million pixels, as no microscope's camera has: in use it takes 12 bytes for each."""
IHDR = struct.Struct(">8x4x4sIIBB")
"""How a PNG begins: its mark, a length, the name of the first chunk, width, height, bits and kind of colour."""
DEEP_COLOUR = 16, 2
"""Bits of a sample, and the kind of colour: red, green and blue without alpha."""


@dataclass(frozen=True, slots=True)
class FlatField:
    """The light of a microscope.

    Attributes:
        light: share of the best light that each place and colour gets.
        frames: frames that it rests on.
        empty: whether these showed an empty field.
        notes: dust and defective pixels, in words.
    """

    light: Surface
    frames: int
    empty: bool
    notes: tuple[str, ...]

    @property
    def darkest(self) -> float:
        """Share of the best light that the worst place gets."""
        return float(self.light.min())


class Leveller:
    """Divides frames by a flat field."""

    def __init__(self, light: Surface) -> None:
        self._gain = np.reciprocal(light)

    def fits(self, image: Image) -> bool:
        """Whether a frame has the size that the flat field was taken at."""
        return image.shape == self._gain.shape

    def misfit(self, image: Image) -> str:
        """Why a frame does not fit, in words."""
        theirs, ours = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, self._gain.shape))
        return (
            f"the frame has {theirs} pixels and the flat field {ours}: set the camera to that, or take the flat field "
            "again (`microscope-agent calibrate flatfield`)"
        )

    def __call__(self, image: Image) -> Image:
        """The frame, which must fit, as it were in even light: a new image."""
        return np.asarray(cv2.multiply(image, self._gain, dtype=cv2.CV_8U), np.uint8)


def measure(images: Iterable[Image]) -> FlatField:
    """Measure the light, and refuse what does not show it.

    Args:
        images: (height, width, 3) uint8, all of one size.

    Raises:
        CheckError: they do not show it; the text says why, and what to do.
    """
    stack = _Stack()
    for image in images:
        stack.add(image)
    coarse, empty = stack.picture()
    smooth = _smooth(coarse)
    _refuse(coarse, smooth, empty=empty)
    light = cv2.resize(smooth, stack.size, interpolation=cv2.INTER_CUBIC)
    light = (light / light.max(axis=(0, 1))).astype(np.float32)
    return FlatField(light, stack.count, empty, tuple(stack.notes()) if empty else ())


class _Stack:
    """The frames, reduced, and what they have in common."""

    def __init__(self) -> None:
        self._coarse: list[Surface] = []
        self._sum: NDArray[np.float32] | None = None
        self.size = (0, 0)

    @property
    def count(self) -> int:
        return len(self._coarse)

    def add(self, image: Image) -> None:
        height, width = image.shape[:2]
        if self._sum is None:
            self.size, self._sum = (width, height), np.zeros(image.shape, np.float32)
        if self.size != (width, height):
            raise CheckError(
                f"the frames differ in size ({self.size[0]}x{self.size[1]} and {width}x{height} pixels): take them "
                "with one camera at one setting"
            )
        if _share(image.min(axis=2) >= LIMIT_LEVEL) > MAX_SATURATED:
            raise CheckError("pixels are at the sensor's limit: shorten the exposure until the brightest are below 250")
        self._sum += image
        columns = min(COARSE_SIDE, width)
        small = cv2.resize(image, (columns, max(1, round(columns * height / width))), interpolation=cv2.INTER_AREA)
        self._coarse.append(np.asarray(small, np.float32))

    def picture(self) -> tuple[Surface, bool]:
        """The light at reduced size, and whether the field was empty."""
        if self.count < MIN_EMPTY_FRAMES:
            few = counted(self.count, "frame is", "frames are")
            raise CheckError(f"{few} too few: {MIN_EMPTY_FRAMES} of an empty field are needed")
        if all(_is_empty(small) for small in self._coarse):
            return np.asarray(np.mean(self._coarse, axis=0), np.float32), True
        if self.count < MIN_MOVING_FRAMES:
            raise CheckError(
                f"the field is not empty, and {self.count} frames of a moving smear are too few: {MIN_MOVING_FRAMES} "
                "are needed; or move to where there is nothing on the slide"
            )
        even = [small / np.percentile(small[..., 1], 95) for small in self._coarse]
        level = np.median([np.percentile(small, 95) for small in self._coarse])
        return np.asarray(np.percentile(even, BARE_PERCENTILE, axis=0) * level, np.float32), False

    def notes(self) -> list[str]:
        """Dust and defective pixels, which stay where they are in all frames."""
        assert self._sum is not None  # noqa: S101 - picture() has refused an empty stack
        mean = np.ascontiguousarray((self._sum / self.count)[..., 1])
        usual = np.asarray(cv2.medianBlur(mean, 5), np.float32)
        hot = np.argwhere(np.abs(mean - usual) > HOT_LEVELS)
        spots = cv2.connectedComponentsWithStats(_is_spot(self._coarse).astype(np.uint8))[3][1:, ::-1]
        dust = (np.asarray(spots) + 0.5) * (self.size[0] / self._coarse[0].shape[1])
        return [
            f"{what} at (x, y) {_places(found)}"
            for found, what in ((hot, "defective pixels"), (dust, "dust"))
            if len(found)
        ]


def _places(found: NDArray[np.integer] | NDArray[np.floating]) -> str:
    named = ", ".join(f"({x:.0f}, {y:.0f})" for y, x in found[:NAMED].tolist())
    return named + (" and more" if len(found) > NAMED else "")


def _is_spot(pictures: list[Surface]) -> NDArray[np.bool_]:
    mean = np.asarray(np.mean(pictures, axis=0), np.float32)
    return np.asarray(mean[..., 1] < STAINED_SHARE * _smooth(mean)[..., 1])


def _is_empty(small: Surface) -> bool:
    return _share(small[..., 1] < STAINED_SHARE * _smooth(small)[..., 1]) < EMPTY


def _smooth(picture: Surface) -> Surface:
    """The surface of order ``ORDER`` through each colour, by least squares in which dark spots do not count."""
    height, width = picture.shape[:2]
    terms = _terms(height, width)
    values = picture.reshape(-1, 3)
    fit = np.linalg.lstsq(terms, values, rcond=None)[0]
    bare = (values > STAINED_SHARE * (terms @ fit)).all(axis=1)
    if bare.mean() > 0.5:  # noqa: PLR2004 - else it is no matter of spots
        fit = np.linalg.lstsq(terms[bare], values[bare], rcond=None)[0]
    return np.asarray((terms @ fit).reshape(picture.shape), np.float32)


@lru_cache(maxsize=4)
def _terms(height: int, width: int) -> NDArray[np.float32]:
    """Legendre's polynomials in x and y, up to a total order: (height * width, terms)."""
    x, y = (np.polynomial.legendre.legvander(np.linspace(-1, 1, n), ORDER) for n in (width, height))
    terms = [np.outer(y[:, k], x[:, order - k]) for order in range(ORDER + 1) for k in range(order + 1)]
    return np.stack(terms, axis=-1).reshape(height * width, -1).astype(np.float32)


def _refuse(coarse: Surface, smooth: Surface, *, empty: bool) -> None:
    level = float(coarse.max()) / 255
    if level < MIN_LEVEL:
        raise CheckError(
            f"the brightest place is at {level:.0%} of the sensor's limit: expose until it is at 80 to 95 %"
        )
    rough = float(np.sqrt(np.mean((cv2.GaussianBlur(coarse, (0, 0), GRAIN) / smooth - 1) ** 2)))
    if rough > MAX_UNSMOOTH:
        raise CheckError(
            f"the light is not smooth (it differs by {rough:.1%} from place to place, and {MAX_UNSMOOTH:.0%} is the "
            f"most): {'clean the optics' if empty else 'cells stand still in it; take frames while the stage moves'}"
        )
    darkest = float((smooth / smooth.max(axis=(0, 1))).min())
    if darkest < MIN_LIGHT:
        raise CheckError(
            f"the worst place gets {darkest:.0%} of the best light, and {MIN_LIGHT:.0%} is the least that can be made "
            "good: centre the condenser and open the field diaphragm (Koehler)"
        )


def write_flat(flat: FlatField, path: Path) -> None:
    """Write a flat field as a PNG of 16 bits and three colours, of the frames' size; UsageError if it can not be."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} is no PNG: name the file of the flat field like flat.png")
    encoded = cv2.imencode(".png", np.rint(flat.light * FULL_SCALE).astype(np.uint16))[1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, marked(encoded.tobytes()))
    except OSError as cause:
        raise UsageError(f"{path} can not be written ({cause.strerror}); choose another place with --out") from cause


def read_flat(content: bytes, path: Path) -> Surface:
    """The light from the bytes of a PNG; IntegrityError if they are no flat field, which is told before decoding."""
    if not _is_flat(content):
        raise IntegrityError(f"{path} is no flat field; make it with `microscope-agent calibrate flatfield`")
    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise IntegrityError(f"{path} is no flat field: the PNG is damaged; measure it again")
    light = np.multiply(levels, np.float32(1 / FULL_SCALE), dtype=np.float32)
    if light.min() < MIN_LIGHT / 2:
        raise IntegrityError(f"{path} is no flat field: it holds no light in places; measure it again")
    return light


def _is_flat(content: bytes) -> bool:
    """Whether the head of a PNG says what a flat field's does: a picture of any other kind may fill the memory."""
    if not content.startswith(PNG) or len(content) < IHDR.size:
        return False
    name, width, height, bits, colour = IHDR.unpack_from(content)
    return name == b"IHDR" and (bits, colour) == DEEP_COLOUR and width * height <= MAX_PIXELS


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask) / mask.size)
