"""Where the cell lies in a labelled image, found as the agent finds it; what colours the cells of a data set have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agent.vision.segmentation import find_cells
from contract.cell_colours import colours_of, moments_of
from contract.manifest import CellColours
from contract.types import Image
from evaluation.datasets.files import read_image
from evaluation.datasets.sample import Sample

Outline = NDArray[np.int32]
BLACK = 5
"""Grey level up to which a pixel of a cut-out cell belongs to its black surroundings."""
MIN_SEEN = 0.5
"""Share of a data set's images that must show a cell in their middle; else nothing is known of its colours."""
ENOUGH = 512
"""Cells that tell the colours of a data set, spread over all of its images."""


def outline_of(image: Image, sample: Sample, um_per_pixel: float) -> Outline | None:
    """Points around the cell that lies in the middle of an image, (K, 2); None where none is found there.

    Args:
        image: (height, width, 3) uint8.
        sample: says whether the cell lies on black.
        um_per_pixel: scale of the image.
    """
    if sample.cut_out:
        parts, _ = cv2.findContours(
            (image.max(axis=2) > BLACK).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        return np.asarray(max(parts, key=cv2.contourArea)[:, 0], np.int32) if parts else None
    middle = (image.shape[1] / 2, image.shape[0] / 2)
    outlines = (cell.outline for cell in find_cells(image, um_per_pixel) if len(cell.outline))
    return next(
        (o for o in outlines if cv2.pointPolygonTest(o.astype(np.float32), middle, measureDist=False) >= 0), None
    )


def middle_of(image: Image, outline: Outline | None) -> tuple[float, float]:
    """(x, y) of the middle of a cell's box; of the image where no cell is known."""
    if outline is None:
        return image.shape[1] / 2, image.shape[0] / 2
    x, y, width, height = cv2.boundingRect(outline)
    return x + width / 2, y + height / 2


def colours_by_data_set(
    samples: Sequence[Sample], *, um_per_pixel: float | None = None, quiet: bool = False
) -> Mapping[str, CellColours]:
    """The colours of the cells of each data set; one whose images do not show cells is left out.

    Args:
        samples: of one data set or several.
        um_per_pixel: scale of all images, if not each one's own.
        quiet: draw no progress bar.
    """

    def one(sample: Sample) -> NDArray[np.float64] | None:
        image = read_image(sample.path)
        outline = outline_of(image, sample, um_per_pixel or sample.um_per_pixel)
        return None if outline is None else moments_of(image, outline)

    by_set: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_set[sample.dataset].append(sample)
    some = {name: rows[:: max(1, len(rows) // ENOUGH)] for name, rows in by_set.items()}
    total = sum(len(rows) for rows in some.values())
    found: dict[str, CellColours] = {}
    with ThreadPoolExecutor() as pool, tqdm(total=total, desc="measuring colours", disable=quiet or None) as bar:
        for name, rows in some.items():
            cells = []
            for moments in pool.map(one, rows):
                bar.update()
                if moments is not None:
                    cells.append(moments)
            if cells and len(cells) >= MIN_SEEN * len(rows):
                found[name] = colours_of(cells)
    return found
