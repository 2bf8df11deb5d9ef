"""The only road from pixels to the network's numbers: training, calibration, bench and agent all take it."""

from collections.abc import Iterable

import cv2
import numpy as np

from contract.manifest import InputSpec
from contract.types import Crops, Image, Tensor


def cut(image: Image, centre: tuple[float, float], um_per_pixel: float, spec: InputSpec) -> Image:
    """Cut the square field around a cell and resample it to the manifest's scale.

    A field that reaches over the frame's border is continued with the border's own pixels.

    Args:
        image: (height, width, 3) uint8.
        centre: (x, y) in pixels of ``image``.
        um_per_pixel: scale of ``image``.
        spec: what the network expects.

    Returns:
        (size, size, 3) uint8, a new array.
    """
    side = max(1, round(spec.field_um / um_per_pixel))
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the field around {centre} lies outside the {width}x{height} frame")
    region = image[y0:y1, x0:x1]
    if region.shape[:2] != (side, side):
        pads = (y0 - top, top + side - y1, x0 - left, left + side - x1)
        region = np.asarray(cv2.copyMakeBorder(region, *pads, cv2.BORDER_REPLICATE), np.uint8)
    shrinking = side >= spec.size
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(region, (spec.size, spec.size), interpolation=how), np.uint8)


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
    for plane in range(3):
        np.take(table[:, plane], crops[..., 2 - plane], out=batch[:, plane])
    return batch
