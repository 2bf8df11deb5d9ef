"""Real frames as other laboratories would have stained and lit them: what `restain` gives back has another look.

A look is four optical densities: bare background, red cells, the cytoplasm and the nuclei of white cells. A smooth map
of the space of densities moves those of the source to those of the look. What is thick stays thick, what is mottled
stays mottled, and the camera's grain is added in grey levels as it was: a map that makes a small difference of colour a
large one must not make a good camera a noisy one.

    python -m bench.restain [EVERY]

finds white cells in frames of three laboratories (one in ``EVERY``; all of the third) as they are and with each look:
recall and precision by the centre of the box, and the share of frames refused. It needs MICROSCOPE_DATA.
"""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light
from agent.vision.quality import assess
from agent.vision.segmentation import find_cells
from bench import segmentation
from bench.results import Figures
from contract.reference import Triple
from contract.types import Box, Image

Numbers = NDArray[np.float64]

GRAIN_UM, GRAIN_LEVELS = 0.15, 12.0
"""Reach and height of what counts as the camera's grain and is left as it is; chromatin's texture is stronger."""
MAX_SHIFT = 1.5
"""Of the cytoplasm's density, in standard deviations of the bump that moves it: above 1.65 the map would fold."""
LEAST_DENSITY = -0.1
"""Below which no density is moved, for no dye adds light: edges and the camera's sharpening leave that at most in real
frames (1 pixel in 10,000 of PBC's has -0.05, of BCCD's -0.09), and the map made -0.7 of PBC's basophils."""
AS_IT_IS = "as it is"
EVERY = 10
"""Of the two larger data sets `make bench` looks at one frame in so many."""
MISNAMED = {("image-104.png", 0)}
"""Box of draaslan that names a red cell at the border, by its place among those of its image: the data set's own list
of red cells has it too, to the digit."""
JPEG_QUALITY = 92
"""Of the compression through which every frame goes, for nearly every laboratory's frames are stored so."""


class Stained(NamedTuple):
    """A look, or where one starts from: blue, green, red.

    Attributes:
        bare: light of the bare background, 0 to 1.
        red_cells: optical density of red cells.
        cytoplasm: of the cytoplasm of white cells.
        nuclei: of their nuclei.
    """

    bare: Triple
    red_cells: Triple
    cytoplasm: Triple
    nuclei: Triple


SOURCES: dict[str, Stained] = {
    "deepapl": Stained((0.79, 0.89, 0.99), (0.14, 0.25, 0.15), (0.05, 0.17, 0.14), (0.13, 0.56, 0.33)),
    "pbc": Stained((0.79, 0.89, 0.99), (0.08, 0.14, 0.09), (0.06, 0.23, 0.14), (0.16, 0.73, 0.44)),
    "bccd": Stained((0.77, 0.80, 0.78), (0.09, 0.12, 0.04), (0.00, 0.11, 0.04), (-0.04, 0.29, 0.17)),
    "draaslan": Stained((0.76, 0.87, 0.71), (0.12, 0.28, -0.02), (0.02, 0.08, 0.00), (0.12, 0.49, 0.31)),
}
"""What the data sets look like as they are: medians over their images, as `find_cells` outlines the cells."""

LOOKS: dict[str, Stained] = {
    "training": Stained((0.79, 0.89, 0.99), (0.13, 0.24, 0.14), (0.05, 0.17, 0.13), (0.16, 0.65, 0.39)),
    "bluish grey": Stained((0.80, 0.76, 0.75), (0.05, 0.11, 0.10), (0.03, 0.13, 0.09), (0.05, 0.52, 0.27)),
    "grey": Stained((0.86, 0.87, 0.86), (0.10, 0.13, 0.11), (0.05, 0.12, 0.10), (0.12, 0.52, 0.40)),
    "pink": Stained((0.90, 0.90, 0.92), (0.10, 0.26, 0.04), (0.05, 0.14, 0.07), (0.12, 0.62, 0.44)),
    "brown": Stained((0.72, 0.80, 0.86), (0.32, 0.24, 0.12), (0.11, 0.15, 0.11), (0.30, 0.62, 0.48)),
    "yellow": Stained((0.62, 0.84, 0.88), (0.28, 0.12, 0.04), (0.11, 0.13, 0.09), (0.22, 0.56, 0.44)),
    "violet": Stained((0.85, 0.82, 0.88), (0.10, 0.28, 0.20), (0.07, 0.20, 0.16), (0.16, 0.80, 0.56)),
    "greenish light": Stained((0.74, 0.90, 0.70), (0.12, 0.28, 0.02), (0.03, 0.10, 0.03), (0.12, 0.50, 0.32)),
    "bluish light": Stained((0.78, 0.68, 0.42), (0.12, 0.24, 0.10), (0.05, 0.15, 0.11), (0.14, 0.58, 0.40)),
    "warm light": Stained((0.52, 0.76, 0.96), (0.18, 0.24, 0.10), (0.06, 0.15, 0.10), (0.16, 0.60, 0.34)),
    "pale": Stained((0.88, 0.91, 0.93), (0.06, 0.11, 0.06), (0.03, 0.08, 0.05), (0.06, 0.30, 0.18)),
    "strong": Stained((0.78, 0.84, 0.90), (0.22, 0.40, 0.24), (0.10, 0.28, 0.20), (0.30, 1.00, 0.70)),
}
"""Of laboratories that look otherwise than the training's, which is the first of them."""


def restain(image: Image, look: str, um_per_pixel: float, source: str = "deepapl") -> Image:
    """A frame, or the image of a single cell on its smear, as it would be with another look.

    Args:
        image: (height, width, 3) uint8, at least a quarter of it bare background.
        look: key of ``LOOKS``.
        um_per_pixel: its scale.
        source: key of ``SOURCES``: what its data set looks like. What the image has beside that, such as a paler
            stain, it keeps; only its bare background becomes that of the look.

    Returns:
        A new image of the same size.
    """
    smooth = _without_grain(image, um_per_pixel)
    lit = light.measure(smooth, um_per_pixel, working_um=um_per_pixel)
    density = lit.density()
    moved = _moved(density, SOURCES[source], LOOKS[look])
    density = np.maximum(moved, np.minimum(density, np.float32(LEAST_DENSITY))) + lit.shade[..., None]
    bare = 255 * np.array(LOOKS[look].bare, np.float32)
    made = bare * np.power(np.float32(10), -density) + (image - smooth.astype(np.float32))
    return _compressed(np.clip(made + 0.5, 0, 255).astype(np.uint8))


def _without_grain(image: Image, um_per_pixel: float) -> Image:
    """Smoothed, but not over edges."""
    return np.asarray(cv2.bilateralFilter(image, -1, GRAIN_LEVELS, max(1.0, GRAIN_UM / um_per_pixel)), np.uint8)


def _moved(density: light.Density, source: Stained, look: Stained) -> light.Density:
    """Red cells and nuclei by a linear map, for density is thickness; the cytoplasm the rest of its way by a bump."""
    matrix = _basis(look) @ np.linalg.inv(_basis(source))
    middle = np.array(source.cytoplasm)
    others = np.array([(0.0, 0.0, 0.0), source.red_cells, source.nuclei])
    width = float(np.linalg.norm(others - middle, axis=1).min()) / 2
    shift = np.array(look.cytoplasm) - matrix @ middle
    shift *= min(1.0, MAX_SHIFT * width / max(float(np.linalg.norm(shift)), 1e-6))
    near = np.exp(-np.square(density - middle.astype(np.float32)).sum(axis=2, keepdims=True) / (2 * width**2))
    return np.asarray(cv2.transform(density, matrix.astype(np.float32)) + near * shift.astype(np.float32), np.float32)


def _basis(stained: Stained) -> Numbers:
    """(3, 3): red cells, nuclei, and a unit vector at right angles to both, as columns."""
    red, nuclei = np.array(stained.red_cells), np.array(stained.nuclei)
    rest = np.cross(red, nuclei)
    return np.stack([red, nuclei, rest / np.linalg.norm(rest)], axis=1)


def _compressed(image: Image) -> Image:
    _, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


class Labelled(NamedTuple):
    """A frame with the boxes of its white cells."""

    image: Image
    boxes: list[Box]
    um_per_pixel: float


def measure(every: int = EVERY) -> Figures:
    """Recall, precision and share refused, by data set and look; the reason without the frames."""
    data = os.environ.get("MICROSCOPE_DATA")
    if not data:
        return {"skipped": "MICROSCOPE_DATA names no images"}
    figures: Figures = {}
    for source, frames in labelled(Path(data), every).items():
        for look in (AS_IT_IS, *LOOKS):
            found = judged(frames, look, source)
            figures |= {f"{source}, {look}: {name}": round(value, 4) for name, value in found.items()}
    return figures


def judged(frames: Sequence[Labelled], look: str, source: str) -> dict[str, float]:
    """Recall, precision and share refused of frames with one look."""
    hits = true = found = refused = 0
    for image, boxes, um in frames:
        seen = image if look == AS_IT_IS else restain(image, look, um, source)
        cells = [cell.box for cell in find_cells(seen, um)]
        refused += not assess(seen, um).accepted
        hits, true, found = hits + segmentation.paired(cells, boxes), true + len(boxes), found + len(cells)
    return {"recall": hits / true, "precision": hits / max(1, found), "refused": refused / len(frames)}


def labelled(data: Path, every: int) -> dict[str, list[Labelled]]:
    """Frames by data set."""
    bccd = [Labelled(image, boxes, 0.075) for image, boxes in segmentation.labelled(data / "bccd")[::every]]
    return {"bccd": bccd, "pbc": list(_tiles(data, every)), "draaslan": list(_draaslan(data))}


def _tiles(data: Path, every: int) -> Iterator[Labelled]:
    folder = data / "txl-pbc-tiles"
    for row in _rows(folder / "index.csv")[::every]:
        image = _read(folder / row["file"])
        size = np.array([*image.shape[1::-1]] * 2)
        lines = (folder / row["file"].replace("images", "labels", 1)).with_suffix(".txt").read_text().splitlines()
        places = (np.array(line.split()[1:], float) * size for line in lines if line.startswith("0 "))
        yield Labelled(image, [_box(x - w / 2, y - h / 2, w, h) for x, y, w, h in places], 0.1)


def _draaslan(data: Path) -> Iterator[Labelled]:
    folder = data / "draaslan-blood-cell"
    boxes: dict[str, list[Box]] = {}
    for row in _rows(folder / "wbc_boxes.csv"):
        x0, y0, x1, y1 = (float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
        boxes.setdefault(row["file"], []).append(_box(x0, y0, x1 - x0, y1 - y0))
    for path in sorted((folder / "images").glob("*.png")):
        right = [b for k, b in enumerate(boxes.get(path.name, [])) if (path.name, k) not in MISNAMED]
        yield Labelled(_read(path), right, 0.15)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


def _box(x: float, y: float, width: float, height: float) -> Box:
    return Box(round(x), round(y), round(width), round(height))


def _read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def main(arguments: Sequence[str]) -> int:
    """Print every figure."""
    for name, value in measure(int(arguments[0]) if arguments else EVERY).items():
        print(f"{name:40} {value}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
