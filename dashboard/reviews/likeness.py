"""How like two cells look: by the colours of their pictures and their size.

A descriptor holds histograms of the cell's lightness and colours in CIE L*a*b*, measured from the bare background of
its picture, and the logarithm of its area. Cells are compared by the distance of Hellinger between histograms, which
weighs rare colours as much as frequent ones. It orders cells for a person's eye; it is no classifier.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.pictures import UnfitPictureError, decode_picture
from contract.pixels import continued
from contract.types import Image

Descriptor: TypeAlias = NDArray[np.float32]
"""(DIMENSIONS,) float32; cells are compared by the Euclidean distance."""
CHROMA_BINS, LIGHT_BINS = 12, 16
DIMENSIONS = CHROMA_BINS**2 + LIGHT_BINS + 1
_LIGHT, _RED, _BLUE = (0.0, 100.0), (-30.0, 60.0), (-70.0, 20.0)
"""Ranges of L*, a* and b* that the histograms divide: what Romanowsky stains colour lies within them."""
_BARE = (90.0, 0.0, 0.0)
"""L*, a*, b* that the background is moved to, so that a tinted light does not count."""
_BARE_PERCENTILE = 60
"""Lightness above which what lies around the cell is taken for background."""
_WITHIN = 1.1
"""Radius that is looked at, in radii of a disc of the cell's area: cells are not round."""
_CHROMA_WEIGHT, _AREA_WEIGHT = 0.5, 0.5
"""Of colour beside lightness, which shows the nucleus; and of a factor e in area beside both."""
_BLUR = 1.0
"""Of the histograms, in bins: a cell whose colour moves by one bin stays like itself."""
_LARGEST = 64
"""Side in pixels to which larger pictures are reduced before they are measured."""


class StoredPicture(NamedTuple):
    """A cell's picture as it is stored.

    Attributes:
        data: the bytes of the picture file, the cell in its middle.
        um_per_pixel: its scale.
    """

    data: bytes
    um_per_pixel: float


def descriptor_of(image: Image, um_per_pixel: float, area_um2: float) -> Descriptor:
    """Describe the cell in the middle of a picture.

    Args:
        image: (height, width, 3) uint8, blue-green-red.
        um_per_pixel: its scale.
        area_um2: of the cell, square micrometres; tells which part of the picture is the cell.
    """
    shrink = max(max(image.shape[:2]) / _LARGEST, 1.0)
    size = max(round(image.shape[1] / shrink), 1), max(round(image.shape[0] / shrink), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink > 1 else image
    area = max(area_um2, 1.0)
    radius = max(_WITHIN * math.sqrt(area / math.pi) / (um_per_pixel * shrink), 1.0)
    within = np.zeros(small.shape[:2], np.uint8)
    cv2.circle(within, (size[0] // 2, size[1] // 2), min(round(radius), max(size)), 255, cv2.FILLED)
    lab = _balanced(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), within)
    chroma = cv2.calcHist([lab], [1, 2], within, [CHROMA_BINS, CHROMA_BINS], [*_RED, *_BLUE])
    light = cv2.calcHist([lab], [0], within, [LIGHT_BINS], list(_LIGHT))
    log_area = np.array([_AREA_WEIGHT * math.log(area)], np.float32)
    return np.concatenate([_CHROMA_WEIGHT * _roots(chroma), _roots(light), log_area]).astype(np.float32)


def described(picture: StoredPicture | None, area_um2: float) -> Descriptor | None:
    """The same of a stored picture; None where there is none, or none that can be decoded.

    Most of the time, milliseconds a cell, goes into decoding: ``reviews.descriptors`` keeps what was measured.
    """
    if picture is None:
        return None
    try:
        image = continued(decode_picture(bytearray(picture.data)))  # what is beyond the frame is no background
        return descriptor_of(image, picture.um_per_pixel, area_um2)
    except UnfitPictureError:
        return None


def distances(descriptors: Mapping[str, Descriptor], to: str) -> dict[str, float]:
    """How far each described cell is from one of them, 0 for itself."""
    names = list(descriptors)
    table = np.stack([descriptors[name] for name in names])
    apart = np.linalg.norm(table - descriptors[to], axis=1)
    return dict(zip(names, map(float, apart), strict=True))


def by_likeness(names: Sequence[str], descriptors: Mapping[str, Descriptor], to: str) -> list[str]:
    """Cells by how like they are to one of them, which comes first; those without a descriptor come last.

    Args:
        names: of the cells, in any order, which equals keep.
        descriptors: by the cell's name.
        to: the cell that the others are compared with; without a descriptor the order stays as it is.
    """
    if to not in descriptors:
        return [to, *_others(names, to)]
    apart = distances(descriptors, to)
    return [to, *sorted(_others(names, to), key=lambda name: apart.get(name, math.inf))]


def _others(names: Iterable[str], to: str) -> list[str]:
    return [name for name in names if name != to]


def _balanced(lab: NDArray[Any], within: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture in L*a*b* with its background at ``_BARE``, each value within its histogram's range."""
    around = lab[within == 0]
    bare = around[around[:, 0] >= np.percentile(around[:, 0], _BARE_PERCENTILE)] if len(around) else around
    moved = lab - (np.median(bare, axis=0) - _BARE) if len(bare) else lab
    low, high = np.array([_LIGHT, _RED, _BLUE], np.float32).T
    return np.asarray(np.clip(moved, low, high - 0.01), np.float32)


def _roots(histogram: NDArray[Any]) -> NDArray[np.float32]:
    """Roots of the shares of a histogram: their Euclidean distance is that of Hellinger, times the root of 2."""
    smooth = cv2.GaussianBlur(histogram, (0, 0), sigmaX=_BLUR)
    return np.asarray(np.sqrt(smooth / max(float(smooth.sum()), 1.0)), np.float32).ravel()
