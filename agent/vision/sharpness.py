"""How sharp a frame is, in which directions, and how much of it is the camera's noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.look import sharpness
from contract.ranks import quantile
from contract.types import Image

NOISE_UM = 0.2
"""Micrometres per pixel at which noise counts: where cells are sought. Finer pixels are averaged."""
STRIP = 24
"""Rows that the noise is measured in, amid the frame."""
SECOND_DIFFERENCES = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Blind to planes and edges; the noise comes out six times as large (Immerkaer, CVIU 64, 1996)."""
MEDIAN_OF_NORMAL = 0.6745
"""Median of |x| for a normal x of standard deviation one."""


@dataclass(frozen=True, slots=True)
class Sharpness:
    """How sharp edges are, whatever their number and strength.

    Attributes:
        per_um: root mean square of the Laplacian over that of the gradient, in 1/um.
        motion: difference of curvature between the sharpest direction and the one across it, as a share of their
            sum, 0 to 1; a frame that moved is sharp in one direction only.
    """

    per_um: float
    motion: float


def measure(density: NDArray[np.float32], um_per_pixel: float) -> Sharpness:
    """Measure sharpness in one plane of optical density."""
    return Sharpness(sharpness(density, um_per_pixel), _anisotropy(cv2.GaussianBlur(density, (3, 3), 0)))


def _anisotropy(smooth: NDArray[np.integer | np.floating]) -> float:
    """Of the mean square of the Hessian: its eigenvalues' difference over their sum."""
    xx, yy, xy = (cv2.Sobel(smooth, cv2.CV_32F, dx, dy).ravel() for dx, dy in ((2, 0), (0, 2), (1, 1)))
    cross = float(xy @ xy)
    along, across, mixed = float(xx @ xx) + cross, float(yy @ yy) + cross, float(xy @ (xx + yy))
    return float(np.hypot(along - across, 2 * mixed) / (along + across)) if along + across > 0 else 0.0


def noise_of(image: Image, um_per_pixel: float) -> float:
    """Standard deviation of the noise, as cells are sought in it, 0 to 1; a median, so that texture hardly counts."""
    middle = image.shape[0] // 2
    strip = np.ascontiguousarray(image[max(0, middle - STRIP // 2) : middle + STRIP // 2, ..., 1])
    differences = np.abs(cv2.filter2D(strip, cv2.CV_16S, SECOND_DIFFERENCES)).ravel()
    sigma = quantile(differences, 0.5) / 6 / MEDIAN_OF_NORMAL
    return sigma / 255 * min(1.0, um_per_pixel / NOISE_UM)
