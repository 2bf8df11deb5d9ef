"""How fast and how well white cells are found, beside a watershed pipeline of scikit-image for the same work.

The other pipeline is what its documentation teaches, with thresholds in micrometres: haematoxylin by colour
deconvolution (Ruifrok and Johnston 2001), Otsu's threshold, opening and filling, distance transform, peaks,
watershed, region properties, and gates of size. Its gates are the best of nine tried on these very frames: nearer
peaks or smaller cells cost it precision, larger cells recall. It is timed on the frame as it comes, and once more
behind the agent's own reduction to the scale that nuclei need, so that one sees what each is worth.
"""

# mypy: disable-error-code="no-untyped-call"

import csv
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from skimage import color, feature, filters, measure, morphology, segmentation

from agent.vision.segmentation import find_cells
from bench.results import Figures
from contract.types import Box, Image

UM_PER_PIXEL = 0.075
COARSER = 0.1
"""Micrometres per pixel of a frame of 1920x1200 that shows 1.8 times as much, at 1/2 instead of 1/3 of its size."""
FOLDER = "bccd"
WORKING_UM = 0.2
SMOOTH_UM = 0.2
OPENING_UM = 0.5
PEAKS_APART_UM = 8.0
MIN_CELL_UM2, MAX_CELL_UM2, MIN_RADIUS_UM = 25.0, 600.0, 1.5
TIMED, TIMED_LARGE = 60, 8
ROUNDS = 3

Finder = Callable[[Image, float], list[Box]]
Labelled = Sequence[tuple[Image, list[Box]]]


def compare() -> Figures:
    """Both on the BCCD frames that MICROSCOPE_DATA names: one core, one run, frame by frame in turn.

    Returns:
        median milliseconds (processor time) for a frame of 640x480 and for two of 1920x1200, of the same and of a
        coarser scale, how many times as fast as scikit-image that is, and recall and precision of all by centre; the
        reason without the frames.
    """
    data = os.environ.get("MICROSCOPE_DATA")
    if not data or not (folder := Path(data) / FOLDER).is_dir():
        return {"skipped": f"MICROSCOPE_DATA names no folder with {FOLDER}"}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        frames = labelled(folder)
        images = [image for image, _ in frames]
        small, large = images[:: max(1, len(images) // TIMED)], tiled(images, UM_PER_PIXEL)
        figures: Figures = {"frames": len(frames)}
        for name, timed, um in (
            ("640x480", small, UM_PER_PIXEL),
            ("1920x1200", large, UM_PER_PIXEL),
            (f"1920x1200_at_{COARSER}_um", tiled(images, COARSER), COARSER),
        ):
            mine, theirs, reduced = _median_ms(timed, um)
            figures[f"ms_{name}"] = round(mine, 2)
            figures[f"times_as_fast_{name}"] = round(theirs / mine, 1)
            figures[f"times_as_fast_reduced_{name}"] = round(reduced / mine, 1)
        for name, find in zip(("", "_watershed", "_watershed_reduced"), FINDERS, strict=True):
            recall, precision = _recall_precision(find, frames)
            figures |= {f"recall{name}": round(recall, 4), f"precision{name}": round(precision, 4)}
    finally:
        cv2.setNumThreads(threads)
    return figures


def ours(image: Image, um: float) -> list[Box]:
    """By the agent."""
    return [cell.box for cell in find_cells(image, um)]


def by_watershed_reduced(image: Image, um: float) -> list[Box]:
    """By scikit-image, at the agent's working scale."""
    shrink = max(1, round(WORKING_UM / um))
    size = (image.shape[1] // shrink, image.shape[0] // shrink)
    reduced = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    found = by_watershed(reduced, um * shrink)
    return [Box(b.x * shrink, b.y * shrink, b.width * shrink, b.height * shrink) for b in found]


def by_watershed(image: Image, um: float) -> list[Box]:
    """By scikit-image."""
    stain = filters.gaussian(color.rgb2hed(image[..., ::-1])[..., 0], SMOOTH_UM / um)
    mask = morphology.isotropic_opening(stain > filters.threshold_otsu(stain), OPENING_UM / um)
    mask = ndimage.binary_fill_holes(mask)
    depth = ndimage.distance_transform_edt(mask)
    peaks = feature.peak_local_max(
        depth,
        min_distance=round(PEAKS_APART_UM / um),
        threshold_abs=MIN_RADIUS_UM / um,
        labels=measure.label(mask),
        exclude_border=False,
    )
    seeds = np.zeros(depth.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    regions = measure.regionprops(segmentation.watershed(-depth, seeds, mask=mask))
    found = [region.bbox for region in regions if MIN_CELL_UM2 <= region.area * um * um <= MAX_CELL_UM2]
    return [Box(x0, y0, x1 - x0, y1 - y0) for y0, x0, y1, x1 in found]


FINDERS: tuple[Finder, ...] = (ours, by_watershed, by_watershed_reduced)


def _median_ms(frames: Sequence[Image], um: float) -> list[float]:
    """Of each finder, frame by frame in turn; the fastest of some rounds, for others use the machine too."""
    times = [[_ms(find, frame, um) for find in FINDERS] for _ in range(ROUNDS) for frame in frames]
    fastest = np.array(times).reshape(ROUNDS, len(frames), len(FINDERS)).min(axis=0)
    return [float(ms) for ms in np.median(fastest, axis=0)]


def _ms(find: Finder, frame: Image, um: float) -> float:
    """Of a frame that comes and goes, as a camera's does: what it leaves to the allocator is there for the next."""
    fresh = frame.copy()
    started = time.process_time()
    find(fresh, um)
    return (time.process_time() - started) * 1e3


def _recall_precision(find: Finder, frames: Labelled) -> tuple[float, float]:
    hits = true = found = 0
    for image, truth in frames:
        boxes = find(image, UM_PER_PIXEL)
        hits, true, found = hits + paired(boxes, truth), true + len(truth), found + len(boxes)
    return hits / true, hits / max(found, 1)


def paired(found: Sequence[Box], truth: Sequence[Box]) -> int:
    """How many true boxes have a found one's centre within them, each found one used once."""
    free = list(found)
    for box in truth:
        within = [f for f in free if _holds(box, f.centre)]
        if within:
            free.remove(within[0])
    return len(found) - len(free)


def _holds(box: Box, point: tuple[float, float]) -> bool:
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


def tiled(images: Sequence[Image], um: float) -> list[Image]:
    """Frames of 1920x1200 of frames of 640x480, brought to another scale; there must be enough of them."""
    across = round(1920 / 640 * um / UM_PER_PIXEL)
    return [_tile(images[k * across**2 :], across) for k in range(TIMED_LARGE)]


def _tile(images: Sequence[Image], across: int) -> Image:
    size = (1920 // across, 1440 // across)
    parts = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images[: across**2]]
    rows = [np.hstack(parts[k : k + across]) for k in range(0, across**2, across)]
    return np.asarray(np.ascontiguousarray(np.vstack(rows)[:1200]), np.uint8)


def labelled(folder: Path) -> list[tuple[Image, list[Box]]]:
    """The frames and the boxes of their white cells, but for those whose annotation is known to lack a cell."""
    with (folder / "index.csv").open() as index:
        doubtful = {row["file"] for row in csv.DictReader(index) if row["known_issue"]}
    boxes: dict[str, list[Box]] = {}
    with (folder / "wbc_boxes.csv").open() as table:
        for row in csv.DictReader(table):
            x0, y0, x1, y1 = (int(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes.setdefault(row["file"], []).append(Box(x0, y0, x1 - x0, y1 - y0))
    paths = [path for path in sorted((folder / "JPEGImages").glob("*.jpg")) if path.name not in doubtful]
    return [(np.asarray(cv2.imread(str(path)), np.uint8), boxes.get(path.name, [])) for path in paths]
