"""Real frames made worse in the ways in which a microscope makes them worse; seeded, so that they come out the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.messages import Reason
from contract.types import Image

Spoil = Callable[[Image, float, float, np.random.Generator], Image]
"""A frame, its micrometres per pixel, how much, and chance."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to spoil a frame.

    Attributes:
        reason: what such a frame must be refused for.
        levels: how much, all of them severe.
        spoil: does it.
    """

    reason: Reason
    levels: tuple[float, ...]
    spoil: Spoil


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A frame that was made worse, and how."""

    kind: str
    level: float
    image: Image


def defocus(image: Image, um_per_pixel: float, radius_um: float, _: np.random.Generator) -> Image:
    """A point becomes a disc, as geometrical optics has it."""
    radius = radius_um / um_per_pixel
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _filtered(image, disc)


def motion(image: Image, um_per_pixel: float, length_um: float, rng: np.random.Generator) -> Image:
    """The stage moves by a length while the shutter is open, in any direction."""
    length, angle = length_um / um_per_pixel, rng.uniform(0, np.pi)
    reach = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _filtered(image, np.clip(length / 2 + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1))


def exposure(image: Image, _um: float, gain: float, _rng: np.random.Generator) -> Image:
    """More or less light at the same settings of the camera."""
    return np.asarray(np.clip(image * np.float32(gain) + np.float32(0.5), 0, 255), np.uint8)


def vignette(image: Image, _um: float, loss: float, rng: np.random.Generator) -> Image:
    """A lamp off its centre: light falls with the square of the distance, by ``loss`` from best to worst corner."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    at = rng.uniform(-0.3, 0.3, 2)
    square = (x - at[0]) ** 2 + (y - at[1]) ** 2
    shade = 1 - loss * (square - square.min()) / np.ptp(square)
    return np.asarray(image * shade[..., None], np.uint8)


def noise(image: Image, um_per_pixel: float, levels: float, rng: np.random.Generator) -> Image:
    """A camera at high gain: pixels of 0.2 um would be off by that many grey levels (standard deviation)."""
    sigma = levels * max(1.0, 0.2 / um_per_pixel)
    return np.asarray(np.clip(image + rng.normal(0, sigma, image.shape) + 0.5, 0, 255), np.uint8)


def rescaled(image: Image, _um: float, factor: float, _rng: np.random.Generator) -> Image:
    """Another objective than the settings say: everything is so many times as large as they make believe."""
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=way), np.uint8)


def turned_hue(image: Image, _um: float, degrees: float, _rng: np.random.Generator) -> Image:
    """Another stain: every hue goes round the circle of colours."""
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    planes[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_HSV2BGR_FULL), np.uint8)


def swapped(image: Image, _um: float, _level: float, _rng: np.random.Generator) -> Image:
    """Blue taken for red, as a wrong driver does."""
    return np.ascontiguousarray(image[..., ::-1])


def grey(image: Image, _um: float, tint: float, _rng: np.random.Generator) -> Image:
    """A monochrome camera, with a tint."""
    one = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(one * np.array([1 - tint, 1 - tint / 2, 1.0]), np.uint8)


def torn(image: Image, _um: float, share: float, _rng: np.random.Generator) -> Image:
    """The lower part never came; the driver filled it with one colour."""
    worse = image.copy()
    worse[round(image.shape[0] * (1 - share)) :] = 128
    return worse


KINDS: dict[str, Kind] = {
    "defocus": Kind("out_of_focus", (2.0, 2.5, 3.0), defocus),
    "motion": Kind("motion", (6.0, 8.0, 10.0), motion),
    "too bright": Kind("overexposed", (1.5, 2.0, 3.0), exposure),
    "too dark": Kind("underexposed", (0.5, 0.4, 0.3, 0.2), exposure),
    "vignette": Kind("uneven", (0.8, 0.87, 0.95), vignette),
    "noise": Kind("noise", (15.0, 20.0, 30.0), noise),
    "too small": Kind("wrong_scale", (0.5, 0.4, 0.33), rescaled),
    "too large": Kind("wrong_scale", (2.0, 2.5, 3.0), rescaled),
    "other hue": Kind("wrong_stain", (60.0, 90.0, 120.0, 180.0, 240.0, 270.0), turned_hue),
    "swapped colours": Kind("wrong_stain", (1.0,), swapped),
    "grey": Kind("no_colour", (0.0, 0.2), grey),
    "torn": Kind("incomplete", (0.2, 0.4, 0.6), torn),
}


def spoiled(image: Image, um_per_pixel: float, *, seed: int) -> Iterator[Spoiled]:
    """One frame in every way that there is, each at one of its levels."""
    for name, kind in KINDS.items():
        rng = np.random.default_rng([seed, *name.encode()])
        level = float(rng.choice(kind.levels))
        yield Spoiled(name, level, kind.spoil(image, um_per_pixel, level, rng))


def _filtered(image: Image, kernel: NDArray[np.float64]) -> Image:
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)
