"""Other laboratories, simulated: pictures as another light, camera or stain would have given them."""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.reference import StainProfile
from contract.types import Image

Shift: TypeAlias = Callable[[Image], Image]
Numbers: TypeAlias = NDArray[np.float64]


def shifts(look: StainProfile) -> dict[str, Shift]:
    """By name; ``look`` says where bare background is, and which way each stain colours."""
    bare = np.array(look.bare) * 255
    red, blue = np.array(look.stains.red), np.array(look.stains.blue)
    basis = np.stack([red, blue, np.cross(red, blue)], axis=1)

    def stain(gain: float) -> Shift:
        return _mixed(np.eye(3) * gain, bare)

    def stains(of_red: float, of_blue: float) -> Shift:
        return _mixed(basis @ np.diag([of_red, of_blue, 1]) @ np.linalg.inv(basis), bare)

    return {
        "none": lambda image: image,
        "blue light x 0.8": _lit(0.8, 1, 1),
        "green light x 0.85": _lit(1, 0.85, 1),
        "red light x 0.8": _lit(1, 1, 0.8),
        "exposure x 0.75": _lit(0.75, 0.75, 0.75),
        "gamma 0.75": _bent(0.75),
        "gamma 1.35": _bent(1.35),
        "stain x 0.5": stain(0.5),
        "stain x 0.7": stain(0.7),
        "stain x 1.4": stain(1.4),
        "azure x 0.7": stains(1, 0.7),
        "azure x 1.4": stains(1, 1.4),
        "eosin x 0.7": stains(0.7, 1),
        "eosin x 1.6": stains(1.6, 1),
        "hue + 10 degrees": _mixed(_turn(10), bare),
        "hue - 10 degrees": _mixed(_turn(-10), bare),
        "hue + 20 degrees": _mixed(_turn(20), bare),
        "hue - 20 degrees": _mixed(_turn(-20), bare),
    }


def _lit(*gains: float) -> Shift:
    """Another colour of the light, or another exposure."""
    table = np.clip(np.arange(256)[:, None] * np.array(gains) + 0.5, 0, 255).astype(np.uint8)[None]
    return lambda image: np.asarray(cv2.LUT(image, table), np.uint8)


def _bent(gamma: float) -> Shift:
    """Another curve of the camera."""
    table = np.clip(255 * (np.arange(256) / 255) ** gamma + 0.5, 0, 255).astype(np.uint8)
    return lambda image: np.asarray(cv2.LUT(image, table), np.uint8)


def _mixed(matrix: Numbers, bare: Numbers) -> Shift:
    """Another stain: the optical densities beside the bare background, mixed again."""
    densities = -np.log10((np.arange(256)[:, None] + 1) / (bare + 1)).astype(np.float32)[None]

    def shift(image: Image) -> Image:
        mixed = cv2.transform(cv2.LUT(image, densities), matrix.astype(np.float32))
        return np.clip((bare + 1) * 10**-mixed - 0.5, 0, 255).astype(np.uint8)

    return shift


def _turn(degrees: float) -> Numbers:
    """The rotation about the grey axis (Rodrigues)."""
    angle, axis = np.deg2rad(degrees), np.ones(3) / np.sqrt(3)
    cross = np.cross(np.eye(3), axis)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
