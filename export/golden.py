"""The golden batch: cells that we draw ourselves, with the scores that each graph gives them.

They look like stained cells so that activations take the values that they take in use; no picture of a patient is in a
bundle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from contract.bundle import Golden
from contract.manifest import BLASTS, OTHER, ClassName, InputSpec
from contract.pixels import stack, to_batch
from contract.types import Image
from evaluation.metrics import Numbers
from training.evaluate import scores_of

CELLS = 16
CELL_UM = 7.5
"""Radius of the largest drawn cell."""
FINE = 4
"""Drawn this many times larger, then reduced: smooth edges."""


def golden_batch(spec: InputSpec, kinds: Sequence[ClassName], graphs: Mapping[str, Path], *, seed: int = 7) -> Golden:
    """Draw cells of each kind in turn and score them with each graph.

    Args:
        spec: what the network sees.
        kinds: the classes that it knows.
        graphs: by the name in the bundle, where each graph lies.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    drawn = (draw_kind(spec, kinds[k % len(kinds)], rng=rng) for k in range(CELLS))
    crops = stack((seen(crop, spec) for crop in drawn), spec)
    scores = {name: scores_of(path, crops, spec) for name, path in graphs.items()}
    return Golden(crops, to_batch(crops, spec), scores)


def seen(crop: Image, spec: InputSpec) -> Image:
    """A drawn cell as the network sees it: without its surroundings, where it sees cells alone."""
    if spec.cell is None or spec.cell.surroundings is None:
        return crop
    y, x = np.indices(crop.shape[:2])
    away = np.hypot(y - spec.size / 2, x - spec.size / 2) * spec.um_per_pixel
    crop[away > CELL_UM] = np.rint(np.array(spec.cell.surroundings[::-1]) * 255)
    return crop


def draw_kind(spec: InputSpec, kind: ClassName, *, rng: np.random.Generator) -> Image:
    """Draw a cell of a class among red ones; `other` is a smudge, the nucleus of a cell that was torn."""
    if kind != OTHER:
        return draw_cell(spec, blast=kind in BLASTS, small=kind == "lymphoblast", rng=rng)
    canvas, middle, um = _field(spec, rng)
    for along in np.linspace(-4, 4, 7) * um:
        place = middle + along * np.array([0.8, 0.6]) + rng.normal(0, 0.6, 2) * um
        _blob(canvas, place, rng.uniform(1.5, 3) * um, rng.normal((186, 140, 176), 8), rng)
    return _pictured(canvas, spec, rng)


def draw_cell(spec: InputSpec, *, blast: bool, rng: np.random.Generator, small: bool = False) -> Image:
    """Draw a white cell among red ones: a blast has a large round pale nucleus, other cells a dark lobed one.

    A small blast, as lymphoblasts are, has hardly any cytoplasm.
    """
    canvas, middle, um = _field(spec, rng)
    radius = rng.uniform(5.5, 7.5) * (0.7 if small else 1) * um
    _blob(canvas, middle, radius, rng.normal((214, 176, 186) if blast else (216, 198, 210), 6), rng)
    if blast:
        nucleus = (0.93 if small else 0.83) * radius
        _blob(canvas, middle + rng.normal(0, 0.3, 2) * um, nucleus, rng.normal((150, 84, 132), 8), rng)
        _blob(canvas, middle + rng.normal(0, 1.5, 2) * um, 0.18 * radius, (186, 130, 164), rng)
    else:
        for angle in rng.uniform(0, 2 * np.pi) + np.arange(3) * 1.7:
            lobe = middle + 0.38 * radius * np.array([np.cos(angle), np.sin(angle)])
            _blob(canvas, lobe, 0.36 * radius, rng.normal((122, 48, 92), 8), rng)
    return _pictured(canvas, spec, rng)


def _field(spec: InputSpec, rng: np.random.Generator) -> tuple[Image, Numbers, float]:
    """A canvas with red cells on it, the place of a white one, (x, y), and the canvas's pixels in a micrometre."""
    side = spec.size * FINE
    um = FINE / spec.um_per_pixel
    canvas = np.full((side, side, 3), rng.normal((222, 214, 228), 4), np.uint8)
    for _ in range(rng.integers(3, 7)):
        _red_cell(canvas, rng.uniform(-2, spec.field_um + 2, 2) * um, rng.uniform(3.4, 4.0) * um, rng)
    return canvas, side / 2 + rng.uniform(-0.8, 0.8, 2) * um, um


def _pictured(canvas: Image, spec: InputSpec, rng: np.random.Generator) -> Image:
    """The canvas as a camera would see it: smaller, soft, with noise."""
    reduced = cv2.resize(canvas, (spec.size, spec.size), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(reduced, (0, 0), 0.7).astype(np.float64)
    return np.clip(soft + rng.normal(0, 2.5, soft.shape), 0, 255).astype(np.uint8)


def _red_cell(canvas: Image, centre: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    colour = rng.normal((178, 168, 214), 5)
    _blob(canvas, centre, radius, colour, rng)
    _blob(canvas, centre, 0.4 * radius, colour + 18, rng)


def _blob(
    canvas: Image,
    centre: np.ndarray,
    radius: float,
    colour: np.ndarray | tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    """A filled outline that is round but for a few gentle waves."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = sum(rng.normal(0, 0.03) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4))
    reach = radius * (1 + waves)
    points = np.stack([centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle)], axis=1)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], tuple(float(c) for c in colour))
