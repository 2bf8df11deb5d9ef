"""What is done to masks and planes at working scale; radii in pixels, rounded, at least one."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_RADIUS_PIXELS = 64
"""Bound of every radius, for absurd scales."""
LARGEST_ROUND = 3
"""Radius in pixels of the largest disc that is one."""

Plane = NDArray[np.float32]
Mask = NDArray[np.uint8]
"""Zeros and ones."""


def above(plane: NDArray[np.float32] | NDArray[np.uint8], level: float) -> Mask:
    """Where a plane is above a level."""
    return np.asarray(plane > level).view(np.uint8)


def opened(mask: Mask, radius: float) -> Mask:
    """Without what a disc of that radius does not fit into."""
    return _each(cv2.dilate, _each(cv2.erode, mask, radius), radius)


def closed(mask: Mask, radius: float) -> Mask:
    """With the gaps that a disc of that radius does not fit into."""
    return _each(cv2.erode, _each(cv2.dilate, mask, radius), radius)


def squarely_grown(mask: Mask, radius: float) -> Mask:
    """By a square, which takes a tenth of the time."""
    return np.asarray(cv2.dilate(mask, np.ones([2 * pixels(radius) + 1] * 2, np.uint8)), np.uint8)


def depth(mask: Mask) -> Plane:
    """Distance to the nearest pixel outside, in pixels; beyond the border is outside."""
    return np.asarray(cv2.distanceTransform(framed(mask), cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def distance(mask: Mask) -> Plane:
    """To the nearest pixel of the mask, in pixels."""
    return np.asarray(cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5), np.float32)


def framed(mask: Mask) -> Mask:
    """With a border of one pixel of zeros."""
    return np.asarray(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0), np.uint8)


def outlines(mask: Mask, corner: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
    """The outer outline of each connected patch, moved by ``corner``."""
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    return [np.asarray(outline, np.int32) for outline in found]


def filled(mask: Mask) -> Mask:
    """Without holes."""
    rings, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return painted(mask.shape, rings)


def painted(shape: tuple[int, ...], within: Sequence[NDArray[Any]], corner: tuple[int, int] = (0, 0)) -> Mask:
    """What outlines enclose, moved by ``corner``."""
    blank: Mask = np.zeros(shape, np.uint8)
    return np.asarray(cv2.drawContours(blank, within, -1, (1,), cv2.FILLED, offset=corner), np.uint8)


def nearest(seeds: Mask) -> NDArray[np.int32]:
    """For each pixel the number, from 1, of the seed that is nearest to it."""
    _, labels = cv2.distanceTransformWithLabels(1 - seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    return np.asarray(labels, np.int32)


def pixels(radius: float) -> int:
    """A radius in whole pixels."""
    return min(max(1, round(radius)), MAX_RADIUS_PIXELS)


def _each(change: Callable[[Mask, Mask], Any], mask: Mask, radius: float) -> Mask:
    for element in _disc(pixels(radius)):
        mask = np.asarray(change(mask, element), np.uint8)
    return mask


@lru_cache(maxsize=64)
def _disc(radius: int) -> tuple[Mask, ...]:
    """One after the other: a large disc is an octagon, which a square and a diamond make in half the time."""
    if radius <= LARGEST_ROUND:
        return (np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * radius + 1] * 2), np.uint8),)
    square = radius // 3
    away = np.abs(np.arange(square - radius, radius - square + 1))
    return np.ones([2 * square + 1] * 2, np.uint8), (away[:, None] + away <= radius - square).astype(np.uint8)
