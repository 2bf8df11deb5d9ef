"""A blood smear without end, drawn as the stage moves over it, and the camera that looks at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from agent import render
from agent.render import Sprite
from contract.types import Box, Image, TrueCell

TILE_UM = 40.0
"""Side of the squares that the smear is made of, each from its own random numbers."""
MARGIN_UM = 8.5
"""Nearest that a white cell's centre comes to its tile's border: cells of two tiles do not overlap."""
RED_PITCH_UM = 8.2
"""Mean distance of red cells: a monolayer with some overlap."""
RED_SHARE = 0.8
"""Share of places that hold a red cell."""
PLATELETS_PER_TILE = 1.2
ROOM_UM = 3.0
"""Gap in um from a white cell's edge at which red cells' centres begin."""
VARIANTS = {"red": 24, "platelet": 8, "blast": 10, "neutrophil": 12, "lymphocyte": 8, "monocyte": 6, "eosinophil": 4}
"""Drawings of each kind; each is used in eight positions."""
BARE = np.array([200, 226, 246], np.float32)
"""Blue, green, red of the bare background: a warm lamp."""
REACH_UM = 12.0
"""Farthest that a drawing reaches from its centre."""
KINDS = {"blast": "blast", "red": "red", "platelet": "platelet"}


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
        self.white_per_tile = white_per_mm2 * TILE_UM**2 / 1e6
        self.blast_share = blast_share
        self._tiles: dict[tuple[int, int], tuple[Placed, ...]] = {}

    @cached_property
    def bank(self) -> dict[str, list[Sprite]]:
        """Every drawing, by kind."""
        painters = {"red": render.red_cell, "platelet": render.platelet, "blast": render.blast}
        painters |= {name: painter for name, (painter, _) in render.WHITE.items()}
        rng = np.random.default_rng([self.seed, 1])
        return {kind: [painters[kind](self.um, rng) for _ in range(n)] for kind, n in VARIANTS.items()}

    def placed(self, x: float, y: float, width: float, height: float) -> Iterator[Placed]:
        """What reaches into a field (um), what lies beneath first."""
        found = [
            cell
            for row in range(_tile(y - REACH_UM), _tile(y + height + REACH_UM) + 1)
            for column in range(_tile(x - REACH_UM), _tile(x + width + REACH_UM) + 1)
            for cell in self._tile_at(column, row)
        ]
        order = {"red": 0, "platelet": 1}
        return iter(sorted(found, key=lambda cell: order.get(cell.kind, 2)))

    def _rng(self, column: int, row: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, column & 0xFFFFFFFF, row & 0xFFFFFFFF])

    def _tile_at(self, column: int, row: int) -> tuple[Placed, ...]:
        if (column, row) not in self._tiles:
            if len(self._tiles) > 4096:
                self._tiles.clear()
            self._tiles[column, row] = (
                *self._white(column, row),
                *self._red(column, row),
                *self._platelets(column, row),
            )
        return self._tiles[column, row]

    def _white(self, column: int, row: int) -> list[Placed]:
        """White cells; the second and later ones of a tile keep clear of the first."""
        rng = self._rng(column, row, 2)
        cells: list[Placed] = []
        for _ in range(int(rng.poisson(self.white_per_tile))):
            kind = "blast" if rng.random() < self.blast_share else _normal_kind(rng)
            x, y = rng.uniform(MARGIN_UM, TILE_UM - MARGIN_UM, 2) + (column * TILE_UM, row * TILE_UM)
            if all(np.hypot(cell.x - x, cell.y - y) > 2 * MARGIN_UM for cell in cells):
                cells.append(self._pick(rng, kind, float(x), float(y)))
        return cells

    def _pick(self, rng: np.random.Generator, kind: str, x: float, y: float) -> Placed:
        return Placed(kind, int(rng.integers(VARIANTS[kind])), int(rng.integers(8)), x, y)

    def _red(self, column: int, row: int) -> list[Placed]:
        rng = self._rng(column, row, 3)
        whites = [w for c in (-1, 0, 1) for r in (-1, 0, 1) for w in self._white(column + c, row + r)]
        cells = []
        steps = round(TILE_UM / RED_PITCH_UM)
        for place in np.ndindex(steps, steps):
            x, y = (np.array(place) + 0.5 + rng.normal(0, 0.27, 2)) * TILE_UM / steps + (
                column * TILE_UM,
                row * TILE_UM,
            )
            if rng.random() < RED_SHARE and all(np.hypot(w.x - x, w.y - y) > self._radius(w) + ROOM_UM for w in whites):
                cells.append(self._pick(rng, "red", float(x), float(y)))
        return cells

    def _radius(self, cell: Placed) -> float:
        extent = self.bank[cell.kind][cell.variant].extent
        return max(abs(v) for v in extent) * self.um

    def _platelets(self, column: int, row: int) -> list[Placed]:
        rng = self._rng(column, row, 4)
        places = rng.uniform(0, TILE_UM, (int(rng.poisson(PLATELETS_PER_TILE)), 2)) + (column * TILE_UM, row * TILE_UM)
        return [self._pick(rng, "platelet", float(x), float(y)) for x, y in places]


def _tile(um: float) -> int:
    return int(np.floor(um / TILE_UM))


def _normal_kind(rng: np.random.Generator) -> str:
    shares = np.array([share for _, share in render.WHITE.values()])
    return str(rng.choice(list(render.WHITE), p=shares / shares.sum()))


class Camera:
    """Looks at a smear: uneven light, blur, noise, eight bits."""

    def __init__(self, smear: Smear, *, width: int, height: int, noise_levels: float) -> None:
        self.smear, self.width, self.height = smear, width, height
        self._light = np.log(BARE * _light(width, height))
        rng = np.random.default_rng([smear.seed, 5])
        self._noise = rng.normal(0, noise_levels, (height + 64, width + 64, 3)).astype(np.float32)

    def look(
        self, x: float, y: float, *, blur_um: float, rng: np.random.Generator
    ) -> tuple[Image, tuple[TrueCell, ...]]:
        """The picture whose upper left corner is at (x, y) um, and what is in it."""
        density = np.zeros((self.height, self.width, 3), np.float32)
        truth = []
        um = self.smear.um
        for cell in self.smear.placed(x, y, self.width * um, self.height * um):
            seen = self._paste(density, cell, round((cell.x - x) / um), round((cell.y - y) / um))
            if seen:
                truth.append(seen)
        return self._expose(density, blur_um, rng), tuple(truth)

    def _paste(self, density: NDArray[np.float32], cell: Placed, x: int, y: int) -> TrueCell | None:
        sprite = self.smear.bank[cell.kind][cell.variant]
        half = sprite.density.shape[0] // 2
        left, top = x - half, y - half
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + 2 * half + 1, self.width), min(top + 2 * half + 1, self.height)
        if x0 >= x1 or y0 >= y1:
            return None
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        below = density[y0:y1, x0:x1]
        if cell.kind not in ("red", "platelet"):
            below *= 1 - _turned(sprite.cover, cell.turn)[part][..., None]
        below += _turned(sprite.density, cell.turn)[part]
        box = _box(_turned_extent(sprite.extent, cell.turn), x, y, self.width, self.height)
        return TrueCell(box, KINDS.get(cell.kind, "white")) if box else None

    def _expose(self, density: NDArray[np.float32], blur_um: float, rng: np.random.Generator) -> Image:
        density *= np.float32(-np.log(10))
        density += self._light
        picture = cv2.exp(density)
        sigma = blur_um / self.smear.um
        if sigma > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma)
        dy, dx = rng.integers(0, 64, 2)
        picture += self._noise[dy : dy + self.height, dx : dx + self.width]
        return cv2.convertScaleAbs(np.maximum(picture, 0))


def _light(width: int, height: int) -> NDArray[np.float32]:
    """Share of the light at each pixel: a vignette, and a lamp that stands a little to the side."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - 0.06 * (x * x + y * y) + 0.03 * x - 0.02 * y)[..., None].astype(np.float32)


def _turned(plane: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """One of the eight positions of a square."""
    turned = np.rot90(plane, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


def _turned_extent(extent: tuple[int, int, int, int], turn: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = extent
    for _ in range(turn % 4):
        left, top, right, bottom = top, 1 - right, bottom, 1 - left
    return (1 - right, top, 1 - left, bottom) if turn >= 4 else (left, top, right, bottom)


def _box(extent: tuple[int, int, int, int], x: int, y: int, width: int, height: int) -> Box | None:
    x0, y0 = max(x + extent[0], 0), max(y + extent[1], 0)
    x1, y1 = min(x + extent[2], width), min(y + extent[3], height)
    return Box(x0, y0, x1 - x0, y1 - y0) if x0 < x1 and y0 < y1 else None
