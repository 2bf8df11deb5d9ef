"""The pictures in which white cells are sought, each relative to what the frame itself shows.

*Nuclear* is 0 in the frame's usual red cell and 1 in its usual nucleus, both by the direction in which the two kinds
lie the farthest apart and by azure alone: red cells over one another or folded may have much of one, not of both.
*Foreign* is what a density has beside the colour of the red cells, however thick these are, in their own standard
deviations. *Pale* is what is stained, but less than red cells are: cytoplasm that is no other colour than theirs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light
from agent.vision.kinds import AZURE, LEAST_APART, NOISE, Kinds, kinds_of
from agent.vision.masks import Mask, Plane, above
from agent.vision.touching import Where
from contract.ranks import quantile
from contract.types import Image

WORKING_UM = 0.2
"""Micrometres per pixel to work at: the lobes of a nucleus (2 um) stay apart, at a small part of the pixels."""
BLUR_PIXELS = 1.0
"""Standard deviation of the blur against noise and colour fringes; twice that still leaves a 2 um lobe."""
SPARSE, SPARSE_PIXELS = 2, 40_000
"""The kinds are sought in every other row and column, and in large frames at about so many places."""
BAND_PIXELS = 30_000
"""Of the frame at a time, so that its planes (40 bytes a pixel) stay in the cache."""
NUCLEAR = 0.4
"""Of the way from the frame's red cells to its nuclei, from which a pixel is nucleus."""
FOREIGN_SHARE = 0.9
"""Share of the red cells' pixels that foreign is to leave out; openings take care of the rest."""
FOREIGN = (1.35, 2.35)
"""Bounds of the level above which a pixel is foreign."""
MOST_SPREAD = 0.15
"""Of the red cells' colour, as a share of their density: what differs by more is not red cells alone."""
MANY_UM2 = 120.0
"""Area of red cells that tells how much more foreign thick ones are."""
THICK, HELD = 0.6, 2.0
"""Share of the red cells' density from which a pixel must be the more foreign, the more it is stained, and by how much
at most: so far as the frame's own thick red cells are more foreign than thin ones."""
THICKER, THICKER_SHARE = 1.1, 0.95
"""Red cells that are called thick, by their usual density, and share of their pixels that foreign is to leave out."""
AZURISH = 0.12
"""Nuclear from which that does not hold: cytoplasm of white cells has some azure, and red cells do not."""
PALE = (0.12, 0.55)
"""Share of the red cells' density, in the colour that they take most of, from which to which a pixel is pale."""
LEAST_PALE = 0.03
"""Density from which a pixel is; a good camera's noise is 0.01."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a frame is searched in, drawn part by part: fresh memory for whole planes costs more than the work.

    Attributes:
        lit: the frame at working scale, and its light.
        smooth: the same without noise.
        kinds: what its red cells and nuclei are like.
        axes: (4, 3) rows nuclear by the farthest direction and by azure, and two of foreign.
        offsets: what red cells have of the first two.
        leans: how much of shade each row sees.
        level: foreign above which a pixel may belong to a white cell.
        red_level: foreign that the frame's red cells reach, unbounded.
        held: how much more foreign than others thick pixels must be.
    """

    lit: light.Light
    smooth: Image
    kinds: Kinds
    axes: NDArray[np.float32]
    offsets: tuple[float, float]
    leans: tuple[float, ...]
    level: float
    red_level: float
    held: float

    @property
    def um(self) -> float:
        """Micrometres per pixel."""
        return self.lit.um_per_pixel

    def density(self, where: Where) -> Plane:
        """Of a part of the smoothed frame, the uneven light left in it."""
        return self.lit.shaded_density(self.smooth[where])

    def planes(self, density: Plane, where: Where) -> tuple[Plane, Plane, Plane]:
        """Nuclear, foreign and how much is stained in red cells' densities, of the part that has this density."""
        shade = self.lit.shade[where]
        far, azure, across, along = self._along(self.axes, density, shade)
        nuclear = self._nuclear(far, azure)
        colour = int(np.argmax(self.kinds.red))
        stained = cv2.subtract(cv2.extractChannel(density, colour), shade) / np.float32(self.kinds.red[colour])
        foreign = cv2.magnitude(across, along)
        if self.held > 1:
            held = np.where(nuclear > AZURISH, np.float32(1), np.clip(stained / np.float32(THICK), 1, self.held))
            foreign = cv2.divide(foreign, held)
        return nuclear, np.asarray(foreign, np.float32), np.asarray(stained, np.float32)

    def nuclear(self, density: Plane, where: Where) -> Plane:
        """Nuclear alone, as in ``planes``."""
        return self._nuclear(*self._along(self.axes[:2], density, self.lit.shade[where]))

    def _nuclear(self, far: Plane, azure: Plane) -> Plane:
        return np.asarray(cv2.min(far - np.float32(self.offsets[0]), azure - np.float32(self.offsets[1])), np.float32)

    def _along(self, axes: NDArray[np.float32], density: Plane, shade: Plane) -> Iterator[Plane]:
        """What a density, the uneven light taken out of it, has along each of some of the axes."""
        rows = (axes @ density.reshape(-1, 3).T).reshape(-1, *shade.shape)
        for row, lean in zip(rows, self.leans, strict=False):
            yield np.asarray(cv2.scaleAdd(shade, -lean, row) if lean else row, np.float32)

    def pale(self, stained: Plane) -> Mask:
        """Where so much is pale; nowhere in a frame without red cells, where pale is not known."""
        if not len(self.kinds.red_pixels):
            return np.zeros(stained.shape, np.uint8)
        least = max(PALE[0], LEAST_PALE / float(self.kinds.red.max()))
        return np.asarray((stained > least) & (stained < PALE[1])).view(np.uint8)

    def masks(self) -> tuple[Mask, Mask, Mask]:
        """What is nucleus, what is foreign and what is pale, in bands of some rows."""
        shape = self.smooth.shape[:2]
        nuclei, foreign, pale = (np.empty(shape, np.uint8) for _ in range(3))
        rows = max(1, BAND_PIXELS // shape[1])
        for top in range(0, shape[0], rows):
            band = np.s_[top : top + rows, :]
            planes = self.planes(self.density(band), band)
            nuclei[band], foreign[band] = map(above, planes[:2], (NUCLEAR, self.level))
            pale[band] = self.pale(planes[2])
        return nuclei, foreign, pale


def pictures_of(image: Image, um_per_pixel: float) -> Pictures:
    """The pictures of a frame, (height, width, 3) uint8; errors are those of ``find_cells``."""
    lit = light.measure(image, um_per_pixel, working_um=WORKING_UM)
    smooth = np.asarray(cv2.GaussianBlur(lit.small, (0, 0), BLUR_PIXELS), np.uint8)
    step = max(SPARSE, round(math.sqrt(lit.shade.size / SPARSE_PIXELS)))
    density = lit.shaded_density(_sparse(smooth, step)) - _sparse(lit.shade, step)[..., None]
    kinds = kinds_of(np.asarray(density, np.float32), lit.um_per_pixel * step)
    azure = AZURE[0] / max(float(AZURE[0] @ (kinds.nuclei - kinds.red)), LEAST_APART)
    foreign = _foreign(kinds)
    axes = np.stack([kinds.axis, azure, *foreign]).astype(np.float32)
    reached = _length(kinds.red_pixels @ foreign.T)
    red_level = quantile(reached, FOREIGN_SHARE) if len(reached) else FOREIGN[0]
    colour = int(np.argmax(kinds.red))
    thick = reached[kinds.red_pixels[:, colour] > THICKER * kinds.red[colour]]
    many = len(kinds.red_pixels) * (lit.um_per_pixel * step) ** 2 > MANY_UM2 and len(thick)
    held = quantile(thick, THICKER_SHARE) / FOREIGN[0] if many else 1.0
    return Pictures(
        lit=lit,
        smooth=smooth,
        kinds=kinds,
        axes=axes,
        offsets=(kinds.offset, float(azure @ kinds.red)),
        leans=tuple(np.where(np.abs(axes.sum(axis=1)) < 1e-6, 0, axes.sum(axis=1)).tolist()),  # noqa: PLR2004
        level=float(np.clip(red_level, *FOREIGN)),
        red_level=red_level,
        held=float(np.clip(held, 1, HELD)),
    )


def _sparse(picture: NDArray[Any], step: int) -> NDArray[Any]:
    """Of every so many rows and columns one; OpenCV takes a quarter of NumPy's time."""
    height, width = (-(-side // step) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)


def _length(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each of (N, 2)."""
    x, y = rows.T
    return np.asarray(np.sqrt(x * x + y * y), np.float64)


def _foreign(kinds: Kinds) -> NDArray[np.float64]:
    """(2, 3): directions at right angles to the red cells' colour, by their own standard deviations."""
    length = max(float(np.linalg.norm(kinds.red)), 1e-6)
    _, _, rows = np.linalg.svd(kinds.red[None] / length)
    across = rows[1:]
    off = kinds.red_pixels @ across.T
    if len(off):
        far = _length(off)
        off = off.compress(far <= quantile(far, FOREIGN_SHARE), axis=0)
    spread = off.T @ off / max(1, len(off))
    values, ways = np.linalg.eigh(spread)
    deviations = np.sqrt(np.minimum(values, (MOST_SPREAD * length) ** 2) + NOISE**2)
    return np.asarray((ways / deviations).T @ across)
