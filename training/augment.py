"""What may differ between two pictures of the same cell: orientation, place, size, stain, light, focus, noise.

A smear has no up: every rotation and both mirror images are as likely. Stain varies between laboratories and days; it
is jittered in optical density, where stains add (Beer-Lambert), not in colour values, where they do not.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.types import Crops, Image

LIGHT = 0.87, 0.82, 0.87
"""Red, green, blue of what takes the place of a cell's surroundings: an empty field."""
TURNS = 4
MARGIN = 1.5
"""Side of a stored crop in units of the network's field: room for turning and shifting with real pixels."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """How much may differ; zero everywhere leaves only the orientation.

    Attributes:
        shift_um: largest shift along each axis, in micrometres: the agent centres on a nucleus, data sets on a cell.
        scale: largest relative change of size.
        stain: standard deviation of the gain of each colour's optical density, and of what spills between colours.
        background: standard deviation of the optical density of the empty field.
        blur_px: largest standard deviation of a blur, in pixels of the crop.
        noise: largest standard deviation of the noise, in grey levels.
        tint: standard deviation of the gain of each colour that is left when a laboratory's colours are aligned.
        alone: share of the views in which the cell is seen without its surroundings.
        outline_px: how far its outline wavers outwards, in pixels of the crop; one less inwards.
        black: share of these views in which its surroundings are black.
    """

    shift_um: float = 1.5
    scale: float = 0.1
    stain: float = 0.15
    background: float = 0.06
    blur_px: float = 0.8
    noise: float = 4.0
    tint: float = 0.08
    alone: float = 0.8
    outline_px: int = 3
    black: float = 0.12


def augment(wide: NDArray[np.uint8], size: int, um_per_pixel: float, jitter: Jitter, rng: np.random.Generator) -> Crops:
    """A random view of each crop.

    Args:
        wide: (N, side, side, 4) uint8 with a margin around the field, at the network's scale; the fourth plane is 255
            within the cell's outline, or 0 everywhere where none is known.
        size: side of the field in pixels.
        um_per_pixel: the network's scale.
        jitter: how much may differ.
        rng: source of chance; the same state gives the same crops.

    Returns:
        (N, size, size, 3) uint8.
    """
    views = np.empty((len(wide), size, size, 3), np.uint8)
    for k, crop in enumerate(wide):
        moved = move(crop, size, jitter.shift_um / um_per_pixel, jitter.scale, rng)
        view = tint(stain(np.ascontiguousarray(moved[..., :3]), jitter, rng), jitter, rng)
        views[k] = degrade(alone(view, moved[..., 3], jitter, rng), jitter, rng)
    return views


def quarter_turns(crops: Crops) -> Crops:
    """Each crop turned by 0, 90, 180 and 270 degrees: (4 N, size, size, 3), first all by 0.

    A smear has no up, and a convolution has one: what heads learn of a cell must not hang on how it lay.
    """
    return np.concatenate([np.rot90(crops, k, axes=(1, 2)) for k in range(TURNS)])


def move(
    crop: NDArray[np.uint8], size: int, shift_px: float, scale: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn, mirror, shift and stretch in one resampling.

    One view in four is only turned by right angles and shifted by whole pixels, so that the network also sees pixels as
    sharp as the agent's.
    """
    exact = rng.random() < 0.25  # noqa: PLR2004
    turn = rng.integers(4) * np.pi / 2 if exact else rng.uniform(0, 2 * np.pi)
    zoom = 1.0 if exact else np.exp(rng.uniform(-scale, scale))
    shift = rng.uniform(-shift_px, shift_px, 2)
    shift = np.rint(shift) if exact else shift
    mirror = -1.0 if rng.random() < 0.5 else 1.0  # noqa: PLR2004
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    target, source = (size - 1) / 2, (np.array(crop.shape[1::-1]) - 1) / 2
    offset = source + shift - linear @ np.array([target, target])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.column_stack([linear, offset])
    view = cv2.warpAffine(crop, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
"""Optical density of each grey level; one is added so that black has a finite one."""


def stain(crop: Image, jitter: Jitter, rng: np.random.Generator) -> Image:
    """Stain more or less strongly, in another shade, under other light."""
    strength = np.exp(rng.normal(0, jitter.stain))
    mix = strength * (np.eye(3) + rng.normal(0, jitter.stain / 3, (3, 3)))
    light = rng.normal(0, jitter.background) + rng.normal(0, jitter.background / 2, 3)
    density = cv2.transform(DENSITY[crop], np.column_stack([mix, light]).astype(np.float32))
    return np.asarray(np.clip(256 * np.exp(-density) - 1, 0, 255), np.uint8)


def tint(crop: Image, jitter: Jitter, rng: np.random.Generator) -> Image:
    """Colours that are not quite the training's: those of a laboratory's cells are never known exactly."""
    if jitter.tint <= 0:
        return crop
    gain, offset = np.exp(rng.normal(0, jitter.tint, 3)), rng.normal(0, 60 * jitter.tint, 3)
    middle = crop.reshape(-1, 3).mean(axis=0)
    return np.asarray(np.clip((crop - middle) * gain + middle + offset, 0, 255), np.uint8)


def alone(crop: Image, mask: NDArray[np.uint8], jitter: Jitter, rng: np.random.Generator) -> Image:
    """Mostly the cell alone, as the network sees it in use, now and then on black or with its surroundings.

    The outline wavers: no two programs and no two people draw the same.
    """
    drawn, chance = (mask > 127).astype(np.uint8), rng.random()  # noqa: PLR2004
    if not drawn.any() or chance >= jitter.alone:
        return crop
    reach = int(rng.integers(min(0, 1 - jitter.outline_px), jitter.outline_px + 1))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(reach) + 1,) * 2)
    drawn = np.asarray(cv2.dilate(drawn, kernel) if reach > 0 else cv2.erode(drawn, kernel), np.uint8)
    black = rng.random() < jitter.black
    found = crop.copy()
    found[drawn == 0] = 0 if black else np.clip(np.array(LIGHT[::-1]) * 255 + rng.normal(0, 4, 3), 0, 255)
    return found


def degrade(crop: Image, jitter: Jitter, rng: np.random.Generator) -> Image:
    """Now and then out of focus, now and then noisy."""
    if jitter.blur_px > 0 and rng.random() < 0.3:  # noqa: PLR2004
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.2, 1) * jitter.blur_px), np.uint8)
    if jitter.noise > 0 and rng.random() < 0.3:  # noqa: PLR2004
        grain = rng.normal(0, rng.uniform(0, jitter.noise), crop.shape).astype(np.float32)
        crop = np.clip(crop + grain, 0, 255).astype(np.uint8)
    return crop
