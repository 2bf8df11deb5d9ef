"""From a frame to how much light the smear takes away: reduced size, even light, optical density."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.look import bare_of, density_table, reduced
from contract.ranks import quantile
from contract.types import Image

COARSE = (32, 24)
"""Columns and rows of the picture that the shade is fitted to."""
BLOCK_UM, MAX_BLOCKS = 1.6, 4
"""Where its blocks would be larger than this, smaller than the gaps between cells, each is cut into up to so many each
way, of which the brightest counts: a block that holds some of a cell would pass for less light."""
DARK_WEIGHT = 0.015
"""Weight of a block darker than the fitted light: cells cover up to 9 blocks in 10, so 1/60 leaves them mute."""
DARK_DENSITY = 0.01
"""Optical density from which a block counts as darker; 2 % of the light."""
BARE_DENSITY = 0.03
"""Optical density to either side of the surface within which a block counts as bare."""
STIFFNESS = 1.0
"""Pull of the shade's terms to zero, in blocks: small beside the 768 blocks."""
ROUNDS = 8
"""Reweightings; on vignetted frames the fit no longer moves after six."""

Density = NDArray[np.float32]
"""(height, width, 3) float32, blue-green-red: minus the decimal logarithm of the light let through."""


@dataclass(frozen=True, slots=True)
class Light:
    """A frame at reduced size, and its light.

    Attributes:
        small: the frame, a whole number of times smaller.
        shrink: how many times.
        um_per_pixel: micrometres per pixel of ``small``.
        bare: (blue, green, red) of the bare background, 0 to 255.
        shade: (height, width) float32, optical density of the uneven light, of the size of ``small``.
        blocks: density of the green in coarse blocks of ``small``.
        surface: that of the uneven light in the same blocks.
    """

    small: Image
    shrink: int
    um_per_pixel: float
    bare: tuple[int, int, int]
    shade: NDArray[np.float32]
    blocks: NDArray[np.float32]
    surface: NDArray[np.float32]

    @property
    def unevenness(self) -> float:
        """Share of the light that the darkest bare block lacks beside the brightest; bare is what the surface meets."""
        bare = self.surface[np.abs(self.blocks - self.surface) < BARE_DENSITY]
        if not bare.size:
            return 0.0
        return float(1 - 10 ** (quantile(bare, 0.01) - quantile(bare, 0.99)))

    def density(self) -> Density:
        """Optical density of ``small`` beside the bare background, as if the light were even."""
        shaded = self.shaded_density(self.small)
        return np.asarray(cv2.subtract(shaded, cv2.cvtColor(self.shade, cv2.COLOR_GRAY2BGR), dst=shaded), np.float32)

    def shaded_density(self, image: Image) -> Density:
        """Optical density of a picture beside the bare background, the uneven light left in it."""
        return _to_density(image, self.bare)


def measure(image: Image, um_per_pixel: float, *, working_um: float) -> Light:
    """Reduce a frame to about ``working_um`` micrometres per pixel and measure its light.

    The light is the upper envelope of the picture's brightness: a smooth surface (second order, and the fourth
    power of the radius, which a vignette needs) fitted to the logarithm of the green by least squares, where
    what is darker than the surface (cells) hardly counts.
    """
    small, shrink = reduced(image, um_per_pixel, working_um=working_um)
    bare = bare_of(small)
    blocks = _blocks(small, bare, um_per_pixel * shrink)
    surface = _surface(blocks)
    shade = np.asarray(cv2.resize(surface, small.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return Light(small, shrink, um_per_pixel * shrink, bare, shade, blocks, surface)


def _blocks(small: Image, bare: tuple[int, int, int], um: float) -> NDArray[np.float32]:
    """Density of the green in at most ``COARSE`` blocks."""
    columns, rows = COARSE
    wanted = round(max(small.shape[1] / columns, small.shape[0] / rows) * um / BLOCK_UM)
    cuts = min(max(1, wanted), MAX_BLOCKS, *small.shape[:2])
    size = (min(columns * cuts, small.shape[1]), min(rows * cuts, small.shape[0]))
    green = np.asarray(cv2.resize(cv2.extractChannel(small, 1), size, interpolation=cv2.INTER_AREA), np.uint8)
    fine = _table(bare)[0, :, 1][green]
    height, width = (side // cuts for side in fine.shape)
    return np.asarray(fine[: height * cuts, : width * cuts].reshape(height, cuts, width, cuts).min(axis=(1, 3)))


@lru_cache(maxsize=64)
def _table(bare: tuple[int, int, int]) -> NDArray[np.float32]:
    return density_table(np.array(bare, np.float64))


def _to_density(small: Image, bare: tuple[int, int, int]) -> Density:
    return np.asarray(cv2.LUT(small, _table(bare)), np.float32)


def _surface(green: NDArray[np.float32]) -> NDArray[np.float32]:
    terms = _terms(*green.shape)
    values = green.ravel()
    pull = STIFFNESS * np.eye(terms.shape[1])
    surface: NDArray[np.float64] = np.zeros(values.shape)
    darker = values > DARK_DENSITY
    for _ in range(ROUNDS):
        weighted = terms.T * np.where(darker, DARK_WEIGHT, 1)
        surface = terms @ np.linalg.solve(weighted @ terms + pull, weighted @ values)
        before, darker = darker, values - surface > DARK_DENSITY
        if np.array_equal(before, darker):
            break
    return surface.reshape(green.shape).astype(np.float32)


@lru_cache(maxsize=8)
def _terms(height: int, width: int) -> NDArray[np.float64]:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = [np.ones_like(x), x, y, x * x, y * y, x * y, (x * x + y * y) ** 2]
    return np.stack(terms, axis=-1).reshape(height * width, -1)
