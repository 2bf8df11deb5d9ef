"""Cells of a stained blood smear, drawn by formula: each a small picture of optical density.

Light that passes a stain of density d is weakened to 10 ** -d (Beer and Lambert), and densities add where
cells overlap. The colours are those of a Wright-Giemsa stain: a nucleus takes green and red (azure), a red
cell green and some blue (eosin, haemoglobin).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Random = np.random.Generator
Extent = tuple[int, int, int, int]

EDGE_UM = 0.3
"""Width over which an outline fades; the resolution of a good objective."""
MIN_LOBES, MAX_LOBES = 2, 5
YIELDING = 0.55
"""Share of a red cell's thickness that it loses where another lies on it: cells that dry upon each other flatten, and
two of them are never twice as dark."""
# Blue, green, red densities, as measured in smears of two laboratories.
HAEMOGLOBIN = np.array([0.115, 0.20, 0.125], np.float32)
DARK_CHROMATIN = np.array([0.16, 0.74, 0.45], np.float32)
PALE_CHROMATIN = np.array([0.12, 0.50, 0.34], np.float32)
PINK_CYTOPLASM = np.array([0.05, 0.15, 0.08], np.float32)
BLUE_CYTOPLASM = np.array([0.06, 0.22, 0.20], np.float32)
GREY_CYTOPLASM = np.array([0.07, 0.19, 0.14], np.float32)
ORANGE_GRANULES = np.array([0.20, 0.33, 0.12], np.float32)
PLATELET = np.array([0.09, 0.32, 0.22], np.float32)


@dataclass(frozen=True, slots=True)
class Sprite:
    """One drawn cell.

    Attributes:
        density: (height, width, 3) float32, blue-green-red; the cell's centre is the middle.
        cover: (height, width) float32, share of what lies beneath that it hides or flattens; None if it does neither.
        extent: left, upper, right, lower edge of the cell beside the middle, in pixels.
    """

    density: Plane
    cover: Plane | None
    extent: Extent


class Sheet:
    """The drawing paper for one cell: coordinates in micrometres from the middle."""

    def __init__(self, radius_um: float, um_per_pixel: float, rng: Random) -> None:
        half = int(np.ceil(radius_um * 1.3 / um_per_pixel)) + 2
        line = np.arange(-half, half + 1, dtype=np.float32) * np.float32(um_per_pixel)
        self.x, self.y = np.meshgrid(line, line)
        self.um = um_per_pixel
        self.rng = rng

    def blob(
        self, radius: float, *, at: tuple[float, float] = (0, 0), stretch: float = 1, rough: float = 0.03
    ) -> Plane:
        """Signed depth in um (positive inside) of a roundish shape, its long axis in a random direction."""
        turn = self.rng.uniform(0, np.pi)
        dx, dy = self.x - at[0], self.y - at[1]
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / np.sqrt(stretch)
        v = (dy * np.cos(turn) - dx * np.sin(turn)) * np.sqrt(stretch)
        away = np.hypot(u, v)
        way = wave = np.divide(u + 1j * v, away, out=np.ones(away.shape, complex), where=away > 0)
        outline = np.ones_like(u)
        for order in range(2, 7):
            wave = wave * way  # exp(i order angle); to take so many cosines would be half of a start
            share, phase = rough * self.rng.normal() / (order - 1), self.rng.uniform(0, 2 * np.pi)
            outline += share * (np.cos(phase) * wave.real - np.sin(phase) * wave.imag)
        return np.asarray(radius * outline - away, np.float32)

    def thread(self, a: tuple[float, float], b: tuple[float, float], half_width: float) -> Plane:
        """Signed depth in um of the line from a to b."""
        along = np.array(b) - np.array(a)
        share = ((self.x - a[0]) * along[0] + (self.y - a[1]) * along[1]) / max(float(along @ along), 1e-6)
        share = np.clip(share, 0, 1)
        away = np.hypot(self.x - a[0] - share * along[0], self.y - a[1] - share * along[1])
        return np.asarray(half_width - away, np.float32)

    def grain(self, size_um: float) -> Plane:
        """Texture with features of a size, mean 0, standard deviation 1."""
        noise = self.rng.standard_normal(self.x.shape, np.float32)
        smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), max(size_um / 2.5 / self.um, 0.5)), np.float32)
        return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)


def soft(depth: Plane) -> Plane:
    """From signed depth to cover: 0 outside, 1 inside, smooth between."""
    t = np.clip(depth / EDGE_UM + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def red_cell(um: float, rng: Random) -> Sprite:
    """A biconcave disc; its thickness after Evans and Fung (Microvascular Research 4, 1972)."""
    radius = float(rng.normal(3.7, 0.22))
    sheet = Sheet(radius, um, rng)
    depth = sheet.blob(radius, stretch=float(np.exp(abs(rng.normal(0, 0.08)))), rough=0.025)
    r2 = np.clip(1 - depth / radius, 0, 1) ** 2
    disc = np.sqrt(1 - r2) * (0.207 + 2.003 * r2 - 1.123 * r2 * r2) / 0.655
    dome = (1 - r2) ** 0.25
    hollow = rng.uniform(0.5, 1.1)
    thick = hollow * disc + (1 - hollow) * dome
    thick = cv2.GaussianBlur(thick.astype(np.float32), (0, 0), 0.25 / um)
    strength = float(rng.normal(1.0, 0.07)) * (1 + 0.02 * sheet.grain(0.8))
    density = (thick * strength * soft(depth))[..., None] * HAEMOGLOBIN
    return _sprite(density, YIELDING * soft(depth), depth)


def platelet(um: float, rng: Random) -> Sprite:
    """A grain of purple, 2 to 3 um."""
    radius = float(rng.uniform(0.8, 1.4))
    sheet = Sheet(radius, um, rng)
    depth = sheet.blob(radius, stretch=float(rng.uniform(1, 1.5)), rough=0.12)
    core = soft(depth - 0.3) * np.clip(0.9 + 0.4 * sheet.grain(0.4), 0.2, 2)
    density = (0.35 * soft(depth) + 0.65 * core)[..., None] * PLATELET
    return _sprite(density, None, depth)


def neutrophil(um: float, rng: Random) -> Sprite:
    """Two to five lobes on an arc, pink cytoplasm with fine granules."""
    radius = float(rng.uniform(5.8, 7.0))
    sheet = Sheet(radius, um, rng)
    body = sheet.blob(radius, stretch=float(rng.uniform(1, 1.12)))
    nucleus = _lobes(sheet, count=int(rng.integers(MIN_LOBES, MAX_LOBES + 1)), ring=radius * 0.48, size=radius * 0.32)
    granules = 1 + 0.25 * sheet.grain(0.35)
    return _white(
        sheet, body, nucleus, cytoplasm=PINK_CYTOPLASM * granules[..., None], chromatin=DARK_CHROMATIN, clumps=0.2
    )


def eosinophil(um: float, rng: Random) -> Sprite:
    """Two lobes amid coarse orange granules."""
    radius = float(rng.uniform(6.0, 7.0))
    sheet = Sheet(radius, um, rng)
    nucleus = _lobes(sheet, count=MIN_LOBES, ring=radius * 0.42, size=radius * 0.36)
    granules = np.clip(0.85 + 0.22 * sheet.grain(0.55), 0.3, 1.5)
    cytoplasm = ORANGE_GRANULES * granules[..., None]
    return _white(sheet, sheet.blob(radius), nucleus, cytoplasm=cytoplasm, chromatin=DARK_CHROMATIN, clumps=0.2)


def lymphocyte(um: float, rng: Random) -> Sprite:
    """A dense round nucleus that leaves a thin rim of blue."""
    radius = float(rng.uniform(4.2, 5.4))
    sheet = Sheet(radius, um, rng)
    body = sheet.blob(radius, stretch=float(rng.uniform(1, 1.12)))
    off = rng.normal(0, 0.25, 2)
    nucleus = sheet.blob(radius * 0.84, at=(off[0], off[1]))
    cytoplasm = BLUE_CYTOPLASM * np.float32(rng.uniform(0.8, 1.1))
    return _white(sheet, body, nucleus, cytoplasm=cytoplasm, chromatin=DARK_CHROMATIN, clumps=0.2)


def monocyte(um: float, rng: Random) -> Sprite:
    """A folded nucleus in ample grey-blue cytoplasm with vacuoles."""
    radius = float(rng.uniform(7.2, 8.6))
    sheet = Sheet(radius, um, rng)
    body = sheet.blob(radius, stretch=float(rng.uniform(1, 1.15)), rough=0.05)
    turn = rng.uniform(0, 2 * np.pi)
    notch = (float(np.cos(turn)) * radius * 0.62, float(np.sin(turn)) * radius * 0.62)
    bean = sheet.blob(radius * 0.66, stretch=1.25, rough=0.05)
    nucleus = np.minimum(bean, -sheet.blob(radius * 0.34, at=notch, stretch=1.5, rough=0.15))
    vacuoles = 1 - 0.5 * soft((sheet.grain(0.9) - 1.9) * 0.3)
    cytoplasm = GREY_CYTOPLASM * (vacuoles * (1 + 0.1 * sheet.grain(0.5)))[..., None]
    chromatin = (DARK_CHROMATIN + PALE_CHROMATIN) / 2
    return _white(sheet, body, nucleus, cytoplasm=cytoplasm, chromatin=chromatin, clumps=0.2)


def blast(um: float, rng: Random) -> Sprite:
    """A large pale nucleus with fine chromatin and nucleoli that nearly fills the cell."""
    radius = float(rng.uniform(6.4, 8.4))
    sheet = Sheet(radius, um, rng)
    body = sheet.blob(radius, stretch=float(rng.uniform(1, 1.2)), rough=0.05)
    off = rng.normal(0, 0.3, 2)
    nucleus = sheet.blob(radius * rng.uniform(0.82, 0.88), at=(off[0], off[1]), rough=0.05)
    pale = np.zeros_like(body)
    for _ in range(int(rng.integers(1, 4))):
        at = rng.normal(0, radius * 0.3, 2)
        pale = np.maximum(pale, soft(sheet.blob(float(rng.uniform(0.7, 1.1)), at=(at[0], at[1])) * 0.5))
    chromatin = PALE_CHROMATIN * (1 - 0.25 * pale)[..., None]
    cytoplasm = BLUE_CYTOPLASM * np.float32(rng.uniform(1.0, 1.3))
    return _white(sheet, body, nucleus, cytoplasm=cytoplasm, chromatin=chromatin, clumps=0.07, clump_um=0.5)


Painter = Callable[[float, Random], Sprite]

WHITE: dict[str, tuple[Painter, float]] = {
    "neutrophil": (neutrophil, 0.58),
    "lymphocyte": (lymphocyte, 0.28),
    "monocyte": (monocyte, 0.10),
    "eosinophil": (eosinophil, 0.04),
}
"""Painters of the normal white cells, and their shares in healthy blood."""


def _lobes(sheet: Sheet, *, count: int, ring: float, size: float) -> Plane:
    """Lobes on an arc, joined by threads; few lobes are larger."""
    rng = sheet.rng
    start, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(4.0, 5.2) / max(count, 3)
    size *= 1.3 - 0.1 * (count - MIN_LOBES)
    angles = start + pitch * (np.arange(count) + rng.normal(0, 0.08, count))
    reach = ring * rng.uniform(0.85, 1.1, count)
    places = [(float(r * np.cos(a)), float(r * np.sin(a))) for a, r in zip(angles, reach, strict=True)]
    depth = np.full_like(sheet.x, -9)
    for place in places:
        lobe = sheet.blob(size * rng.uniform(0.85, 1.1), at=place, stretch=float(rng.uniform(1, 1.5)), rough=0.06)
        depth = np.maximum(depth, lobe)
    for a, b in pairwise(places):
        depth = np.maximum(depth, sheet.thread(a, b, 0.4))
    return np.asarray(depth, np.float32)


def _white(
    sheet: Sheet,
    body: Plane,
    nucleus: Plane,
    *,
    cytoplasm: NDArray[Any],
    chromatin: NDArray[Any],
    clumps: float,
    clump_um: float = 0.9,
) -> Sprite:
    nucleus = np.minimum(nucleus, body - 0.2)
    cover, core = soft(body), soft(nucleus)
    rim = np.exp(-((nucleus - 0.25) ** 2) / 0.06)
    texture = np.clip(1 + clumps * sheet.grain(clump_um) + 0.06 * sheet.grain(0.3) + 0.12 * rim, 0.4, 1.6)
    outer = cytoplasm * ((cover - core).clip(0) * (1 + 0.15 * np.exp(-(body**2) / 0.2)))[..., None]
    density = outer + chromatin * (core * texture)[..., None]
    return _sprite(density, cover, body)


def _sprite(density: NDArray[Any], cover: Plane | None, depth: Plane) -> Sprite:
    ys, xs = np.nonzero(depth > 0)
    middle = depth.shape[0] // 2
    left, top, right, bottom = (int(v) - middle for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    return Sprite(np.asarray(density, np.float32), cover, (left, top, right, bottom))


def turned(plane: Plane, turn: int) -> Plane:
    """One of the eight positions of a square: ``turn`` quarter turns, from 4 on mirrored too."""
    rotated = np.rot90(plane, turn % 4)
    return rotated[:, ::-1] if turn // 4 else rotated


def turned_extent(extent: Extent, turn: int) -> Extent:
    """The extent of a sprite whose planes are ``turned``."""
    left, top, right, bottom = extent
    for _ in range(turn % 4):
        left, top, right, bottom = top, 1 - right, bottom, 1 - left
    return (1 - right, top, 1 - left, bottom) if turn // 4 else (left, top, right, bottom)
