"""The only road from pixels to the network's numbers: training, calibration, bench and agent all take it."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.manifest import CellColours, InputSpec
from contract.types import Crops, Image, Tensor

LEAST_STD = 0.01
"""Of a laboratory's colours: cells that are all of one colour say nothing of its spread."""
BEYOND = (225, 225, 225)
"""What people are shown beyond a frame's border, blue-green-red: a grey, for nothing is known there."""
SUBPIXEL_BITS = 4
"""Binary digits after the point with which an outline is drawn into a crop."""


def cut(
    image: Image,
    centre: tuple[float, float],
    um_per_pixel: float,
    spec: InputSpec,
    *,
    outline: NDArray[np.int32] | None = None,
    colours: CellColours | None = None,
) -> Image:
    """Cut the square field around a cell and resample it to the manifest's scale.

    A field that reaches over the frame's border is continued with the border's own pixels. Where the manifest says
    that the network sees the cell alone, its surroundings are replaced and its laboratory's colours are moved.

    Args:
        image: (height, width, 3) uint8.
        centre: (x, y) in pixels of ``image``.
        um_per_pixel: scale of ``image``.
        spec: what the network expects.
        outline: (K, 2) points around the cell in pixels of ``image``; without one the surroundings stay.
        colours: of the laboratory's cells; without them colours stay.

    Returns:
        (size, size, 3) uint8, a new array.
    """
    side = max(1, round(spec.field_um / um_per_pixel))
    field, corner = square_around(image, centre, side)
    shrinking = side >= spec.size
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    crop = np.ascontiguousarray(cv2.resize(field, (spec.size, spec.size), interpolation=how), np.uint8)
    if spec.cell is None:
        return crop
    if colours is not None:
        crop = moved(crop, colours, spec.cell.colours)
    if spec.cell.surroundings is not None and outline is not None and len(outline) > 2:  # noqa: PLR2004 - no line
        beside = drawn(outline, corner, side, spec.size) == 0
        surroundings = np.full_like(crop, _blue_green_red(spec.cell.surroundings))
        cv2.copyTo(surroundings, beside.view(np.uint8), crop)
    return crop


def square_around(
    image: Image, centre: tuple[float, float], side: int, *, beyond: tuple[int, int, int] | None = None
) -> tuple[Image, tuple[int, int]]:
    """The square around a point, and the place of its upper left pixel in the image.

    Args:
        image: (height, width, 3) uint8.
        centre: (x, y) in pixels of ``image``.
        side: of the square in pixels.
        beyond: what stands where it reaches over the border, blue-green-red; None: the border's own pixels go on,
            which is what networks see.

    Returns:
        (side, side, 3) uint8, perhaps a part of ``image`` itself; and (x, y).

    Raises:
        ValueError: the square lies outside the image.
    """
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the field around {centre} lies outside the {width}x{height} frame")
    field = image[y0:y1, x0:x1]
    if field.shape[:2] != (side, side):
        pads = (y0 - top, top + side - y1, x0 - left, left + side - x1)
        how = cv2.BORDER_REPLICATE if beyond is None else cv2.BORDER_CONSTANT
        field = np.asarray(cv2.copyMakeBorder(field, *pads, how, value=beyond or BEYOND), np.uint8)
    return field, (left, top)


def continued(picture: Image) -> Image:
    """A picture with ``BEYOND`` around what the frame shows, as networks see it: the border's own pixels go on.

    One row and column more is replaced, in which a picture that was made smaller has both. A picture without such a
    border is given back as it is.

    Args:
        picture: (height, width, 3) uint8.

    Returns:
        Of the same form.
    """
    seen = (picture != np.array(BEYOND, np.uint8)).any(axis=2)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return picture
    top, bottom = _within(rows, len(picture))
    left, right = _within(columns, picture.shape[1])
    pads = (top, len(picture) - bottom, left, picture.shape[1] - right)
    if not any(pads):
        return picture
    inner = picture[top:bottom, left:right]
    return np.asarray(cv2.copyMakeBorder(inner, *pads, cv2.BORDER_REPLICATE), np.uint8)


def _within(shown: NDArray[np.intp], length: int) -> tuple[int, int]:
    """First and end of what is shown along one side, without its outermost pixel where something lies beyond it."""
    first, end = int(shown[0]), int(shown[-1]) + 1
    inner = first + (first > 0), end - (end < length)
    return inner if inner[0] < inner[1] else (first, end)


def moved(crops: NDArray[np.uint8], colours: CellColours, goal: CellColours) -> NDArray[np.uint8]:
    """Move mean and standard deviation of each colour from those of a laboratory to a goal (Reinhard et al. 2001).

    Args:
        crops: (..., 3) uint8, blue-green-red.
        colours: of the laboratory's cells.
        goal: of the training's cells.
    """
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    gain = np.array(goal.std) / np.maximum(colours.std, LEAST_STD)
    table = (levels - np.array(colours.mean)) * gain + np.array(goal.mean)
    table = np.clip(np.rint(table * 255), 0, 255).astype(np.uint8)[:, ::-1]
    rows = np.ascontiguousarray(crops).reshape(-1, 1, 3)
    return np.asarray(cv2.LUT(rows, table[None]), np.uint8).reshape(crops.shape)


def drawn(outline: NDArray[np.int32], corner: tuple[int, int], side: int, size: int) -> NDArray[np.uint8]:
    """An outline filled with 1 in a square of a frame, (size, size).

    Args:
        outline: (K, 2) points in pixels of the frame.
        corner: (x, y) of the square's upper left pixel.
        side: of the square in pixels of the frame.
        size: of what is drawn.
    """
    mask = np.zeros((size, size), np.uint8)
    points = (np.asarray(outline, np.float64) + 0.5 - corner) * (size / side) - 0.5
    fixed = np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=SUBPIXEL_BITS)
    return mask


def _blue_green_red(rgb: tuple[float, float, float]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.array(rgb[::-1]) * 255), np.uint8)


def stack(crops: Iterable[Image], spec: InputSpec) -> Crops:
    """Put crops into one array, (N, size, size, 3) uint8; N may be 0."""
    return np.array(list(crops), np.uint8).reshape(-1, spec.size, spec.size, 3)


def to_batch(crops: Crops, spec: InputSpec) -> Tensor:
    """Turn crops into the network's numbers.

    Args:
        crops: (N, size, size, 3) uint8, blue-green-red.
        spec: what the network expects.

    Returns:
        (N, 3, size, size) float32, red-green-blue, (value / 255 - mean) / std.
    """
    if crops.dtype != np.uint8 or crops.shape[1:] != (spec.size, spec.size, 3):
        raise ValueError(f"crops must be uint8 (N, {spec.size}, {spec.size}, 3), not {crops.dtype} {crops.shape}")
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    table = ((levels - mean) / std).astype(np.float32)
    batch = np.empty((len(crops), 3, spec.size, spec.size), np.float32)
    for crop, planes in zip(crops, batch, strict=True):
        for plane in range(3):
            planes[plane] = cv2.LUT(cv2.extractChannel(crop, 2 - plane), table[:, plane])
    return batch
