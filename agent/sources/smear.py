"""A blood smear without end, drawn as the stage moves over it, and the camera that looks at it."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.sources import cell_drawing
from agent.sources.cell_drawing import Extent, Painter, Plane, Random, Sprite
from contract.types import Box, Image, TrueCell

TILE_UM = 40.0
"""Side of the squares that the smear is made of, each from its own random numbers."""
TILES_KEPT = 1024
MARGIN_UM = 8.5
"""Nearest that a white cell's centre comes to its tile's border: cells of two tiles hardly ever touch."""
APART_UM = 15.0
"""Least distance of two white cells' centres: the largest touch."""
TRIES = 12
"""Places tried for a white cell before it is given up."""
RED_STEPS = 5
"""Red cells stand on a shaken grid of so many places each way in a tile: 8 um apart, a monolayer that overlaps."""
RED_SHAKE = 0.27
"""Standard deviation of a red cell's place, in steps."""
RED_SHARE = 0.82
"""Share of places that hold a red cell."""
PLATELETS_PER_TILE = 1.2
ROOM_UM = 3.0
"""Distance from a white cell's edge at which red cells' centres begin: they touch it, some lie beneath."""
REACH_UM = 12.0
"""Farthest that a drawing reaches from its centre."""
VARIANTS = {"red": 30, "platelet": 8, "blast": 10, "neutrophil": 12, "lymphocyte": 8, "monocyte": 6, "eosinophil": 4}
"""Drawings of each kind; each is used in eight positions."""
LAYERS = {"red": 0, "platelet": 1}
"""What lies beneath what; white cells are on top."""
TRUE_KINDS: dict[str, Literal["blast", "red", "platelet"]] = {"blast": "blast", "red": "red", "platelet": "platelet"}
"""What the truth says of a drawing; the rest is ``white``."""
BARE = np.array([200, 226, 246], np.float32)
"""Blue, green, red of the bare background: a warm lamp."""
NOISE_PLAY = 64
"""Pixels by which the sensor's noise is shifted from frame to frame."""
MIN_BLUR_PIXELS = 0.3
"""Blur below which a picture stays as it is."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A drawing in the smear: which, in which of eight positions, and its centre in um."""

    kind: str
    variant: int
    turn: int
    x: float
    y: float


class Smear:
    """The smear; the same seed makes the same smear, wherever one looks first."""

    def __init__(self, *, um_per_pixel: float, seed: int, white_per_mm2: float, blast_share: float) -> None:
        self.um = um_per_pixel
        self.seed = seed
        self._white_per_tile = white_per_mm2 * TILE_UM**2 / 1e6
        self._blast_share = blast_share
        self._bank = _bank(um_per_pixel, seed)
        self._whites = lru_cache(maxsize=TILES_KEPT)(self._draw_whites)
        self._tile = lru_cache(maxsize=TILES_KEPT)(self._draw_tile)

    def sprite(self, cell: Placed) -> Sprite:
        """Its drawing, before it is turned."""
        return self._bank[cell.kind][cell.variant]

    def placed(self, x: float, y: float, width: float, height: float) -> list[Placed]:
        """What reaches into a field (um), what lies beneath first."""
        columns, rows = (
            range(int((low - REACH_UM) // TILE_UM), int((low + size + REACH_UM) // TILE_UM) + 1)
            for low, size in ((x, width), (y, height))
        )
        found = [cell for row, column in product(rows, columns) for cell in self._tile(column, row)]
        return sorted(found, key=lambda cell: LAYERS.get(cell.kind, len(LAYERS)))

    def _draw_tile(self, column: int, row: int) -> tuple[Placed, ...]:
        return *self._whites(column, row), *self._reds(column, row), *self._platelets(column, row)

    def _draw_whites(self, column: int, row: int) -> tuple[Placed, ...]:
        rng = self._random(column, row, 2)
        cells: list[Placed] = []
        for _ in range(int(rng.poisson(self._white_per_tile))):
            kind = "blast" if rng.random() < self._blast_share else _normal_kind(rng)
            places = rng.uniform(MARGIN_UM, TILE_UM - MARGIN_UM, (TRIES, 2)) + np.array([column, row]) * TILE_UM
            free = [(x, y) for x, y in places.tolist() if all(_distance(c, x, y) > APART_UM for c in cells)]
            cells += [_pick(rng, kind, x, y) for x, y in free[:1]]
        return tuple(cells)

    def _reds(self, column: int, row: int) -> list[Placed]:
        rng = self._random(column, row, 3)
        near = [w for dx, dy in product((-1, 0, 1), repeat=2) for w in self._whites(column + dx, row + dy)]
        grid = np.array(list(np.ndindex(RED_STEPS, RED_STEPS)))
        places = (grid + 0.5 + rng.normal(0, RED_SHAKE, grid.shape)) / RED_STEPS + np.array([column, row])
        taken = places[rng.random(len(places)) < RED_SHARE] * TILE_UM
        free = [(x, y) for x, y in taken.tolist() if all(_distance(w, x, y) > self._room(w) for w in near)]
        return [_pick(rng, "red", x, y) for x, y in free]

    def _platelets(self, column: int, row: int) -> list[Placed]:
        rng = self._random(column, row, 4)
        places = rng.random((int(rng.poisson(PLATELETS_PER_TILE)), 2)) + np.array([column, row])
        return [_pick(rng, "platelet", x, y) for x, y in (places * TILE_UM).tolist()]

    def _room(self, white: Placed) -> float:
        return max(abs(edge) for edge in self.sprite(white).extent) * self.um + ROOM_UM

    def _random(self, column: int, row: int, purpose: int) -> Random:
        return np.random.default_rng([self.seed, purpose, column & 0xFFFFFFFF, row & 0xFFFFFFFF])


@lru_cache(maxsize=4)
def _bank(um_per_pixel: float, seed: int) -> dict[str, list[Sprite]]:
    """Every drawing, by kind."""
    painters: dict[str, Painter] = {
        "red": cell_drawing.red_cell,
        "platelet": cell_drawing.platelet,
        "blast": cell_drawing.blast,
        **{name: painter for name, (painter, _) in cell_drawing.WHITE.items()},
    }
    rng = np.random.default_rng([seed, 1])
    return {kind: [painters[kind](um_per_pixel, rng) for _ in range(count)] for kind, count in VARIANTS.items()}


def _pick(rng: Random, kind: str, x: float, y: float) -> Placed:
    return Placed(kind, int(rng.integers(VARIANTS[kind])), int(rng.integers(8)), x, y)


def _normal_kind(rng: Random) -> str:
    shares = np.array([share for _, share in cell_drawing.WHITE.values()])
    return str(rng.choice(list(cell_drawing.WHITE), p=shares / shares.sum()))


def _distance(cell: Placed, x: float, y: float) -> float:
    return float(np.hypot(cell.x - x, cell.y - y))


class Camera:
    """Looks at a smear: uneven light, blur, noise, eight bits."""

    def __init__(self, smear: Smear, *, width: int, height: int, noise_levels: float) -> None:
        self.smear, self.width, self.height = smear, width, height
        self._light = np.log(BARE * _light(width, height)).astype(np.float32)
        shape = (height + NOISE_PLAY, width + NOISE_PLAY, 3)
        rng = np.random.default_rng([smear.seed, 5])
        self._noise = rng.standard_normal(shape, np.float32) * np.float32(noise_levels)

    def look(self, x: float, y: float, *, blur_um: float, rng: Random) -> tuple[Image, tuple[TrueCell, ...]]:
        """The picture whose upper left corner is at (x, y) um, and what is in it."""
        um = self.smear.um
        density = np.zeros((self.height, self.width, 3), np.float32)
        seen = [
            self._paste(density, cell, round((cell.x - x) / um), round((cell.y - y) / um))
            for cell in self.smear.placed(x, y, self.width * um, self.height * um)
        ]
        return self._expose(density, blur_um / um, rng), tuple(cell for cell in seen if cell)

    def _paste(self, density: Plane, cell: Placed, x: int, y: int) -> TrueCell | None:
        """Add a drawing with its middle at pixel (x, y)."""
        sprite = self.smear.sprite(cell)
        half = len(sprite.density) // 2
        field = self._clipped((-half, -half, half + 1, half + 1), x, y)
        if not field:
            return None
        here = np.s_[field.y : field.y + field.height, field.x : field.x + field.width]
        top, left = field.y - y + half, field.x - x + half
        part = np.s_[top : top + field.height, left : left + field.width]
        if sprite.cover is not None:
            density[here] *= 1 - cell_drawing.turned(sprite.cover, cell.turn)[part][..., None]
        density[here] += cell_drawing.turned(sprite.density, cell.turn)[part]
        box = self._clipped(cell_drawing.turned_extent(sprite.extent, cell.turn), x, y)
        return TrueCell(box, TRUE_KINDS.get(cell.kind, "white")) if box else None

    def _clipped(self, extent: Extent, x: int, y: int) -> Box | None:
        """What the frame shows of a rectangle around pixel (x, y)."""
        x0, y0 = max(x + extent[0], 0), max(y + extent[1], 0)
        x1, y1 = min(x + extent[2], self.width), min(y + extent[3], self.height)
        return Box(x0, y0, x1 - x0, y1 - y0) if x0 < x1 and y0 < y1 else None

    def _expose(self, density: Plane, blur_pixels: float, rng: Random) -> Image:
        density *= np.float32(-np.log(10))
        density += self._light
        picture = np.asarray(cv2.exp(density), np.float32)
        if blur_pixels > MIN_BLUR_PIXELS:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur_pixels), np.float32)
        y, x = rng.integers(0, NOISE_PLAY, 2)
        picture += self._noise[y : y + self.height, x : x + self.width]
        return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0)), np.uint8)


def _light(width: int, height: int) -> NDArray[np.float32]:
    """Share of the light at each pixel: a vignette, and a lamp that stands a little to the side."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - 0.06 * (x * x + y * y) + 0.03 * x - 0.02 * y
    return np.asarray(light[..., None], np.float32)
