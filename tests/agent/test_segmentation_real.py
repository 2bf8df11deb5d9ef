"""White cells in real frames, with boxes and outlines that experts drew."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.vision.scale import estimate, find_red_cells
from agent.vision.segmentation import find_cells
from contract.types import Box, Image
from evaluation.datasets import deepapl
from evaluation.datasets.sample import labelled
from tests.segmenting import overlap, pairs, shown


@pytest.mark.requires_data
@pytest.mark.skipif("MICROSCOPE_DATA" not in os.environ, reason="MICROSCOPE_DATA does not name the real images")
class TestRealSmears:
    """The bars, on public data sets, with one set of defaults: only micrometres per pixel differ."""

    def test_bccd_white_cells_are_found_by_centre(self) -> None:
        recall, precision, fit = score(bccd(), 0.075)
        assert recall >= 0.99
        assert precision >= 0.985
        assert fit >= 0.93

    def test_barcelona_white_cells_are_found(self) -> None:
        recall, precision, fit = score(barcelona(), 0.1)
        assert recall >= 0.98
        assert precision >= 0.97
        assert fit >= 0.95

    @pytest.mark.parametrize("wrong", [0.9, 1.1])
    def test_a_scale_that_is_wrong_by_a_tenth_costs_at_most_one_point_of_recall(self, wrong: float) -> None:
        assert score(iter(some("bccd")), 0.075 * wrong)[0] >= usual_recall("bccd") - 0.01

    def test_the_scale_that_red_cells_tell_costs_at_most_one_point_of_recall(self) -> None:
        for name in SCALES:
            told = estimate([find_red_cells(read(path)) for path, _ in some(name)])
            assert told is not None
            assert score(iter(some(name)), told.um_per_pixel)[0] >= usual_recall(name) - 0.01

    @pytest.mark.parametrize("name", ["blue -15 %", "red +15 %, blue -15 %", "stain x0.7", "stain x1.4", "gamma 0.8"])
    def test_white_balance_stain_and_light_cost_at_most_one_cell_of_a_hundred(self, name: str) -> None:
        """Of 79: the one that a paler stain costs is a sliver that the border cuts, which nobody judges."""
        change = CHANGES[name]
        recall, precision, _ = score(iter(some("barcelona")), 0.1, change)
        assert recall >= usual_recall("barcelona") - 1.5 / 79
        assert precision >= 0.97

    def test_nuclei_and_cells_drawn_by_experts_are_drawn_alike(self) -> None:
        """On the images that the drawing was made with: SegWBC's 1 to 240, every second one."""
        folder = data() / "segwbc-dataset1"
        check_outlines((folder / "images" / f"{n:03}.png", folder / "masks" / f"{n:03}.png") for n in range(1, 241, 2))


@pytest.mark.skipif("MICROSCOPE_SEGWBC" not in os.environ, reason="MICROSCOPE_SEGWBC does not name SegWBC's Dataset 1")
def test_nuclei_and_cells_are_drawn_alike_on_images_that_nothing_was_tuned_on() -> None:
    """SegWBC's 241 to 300, as their authors publish them."""
    folder = Path(os.environ["MICROSCOPE_SEGWBC"])
    check_outlines((folder / f"{n}.bmp", folder / f"{n}.png") for n in range(241, 301))


@pytest.mark.skipif("MICROSCOPE_DEEPAPL" not in os.environ, reason="MICROSCOPE_DEEPAPL does not name DeepAPL")
def test_of_the_cells_of_patients_that_nothing_was_tuned_on_99_of_100_are_found() -> None:
    """Each picture was cut around one cell, seldom in its very middle: that lies in the outline of a found one."""
    cells = labelled(deepapl.find(Path(os.environ["MICROSCOPE_DEEPAPL"])), "test")
    found = [has_middle_cell(read(cell.path), cell.um_per_pixel) for cell in cells]
    assert len(found) == 2407
    assert np.mean(found) >= 0.99


def has_middle_cell(image: Image, um_per_pixel: float) -> bool:
    middle = image.shape[1] / 2, image.shape[0] / 2
    outlines = (np.asarray(cell.outline, np.float32) for cell in find_cells(image, um_per_pixel))
    return any(cv2.pointPolygonTest(outline, middle, measureDist=False) >= 0 for outline in outlines)


def check_outlines(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Of images and their masks, 255 nucleus and 128 cytoplasm.

    At 0.18 um per pixel: neutrophils are 14 um across then, and red cells 7.5.
    """
    found = [best_dice(read(image), read(mask)[..., 0], 0.18) for image, mask in pairs]
    cell, nucleus = np.mean(found, axis=0)
    assert nucleus >= 0.95
    assert cell >= 0.90


def read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def stain(image: Image, strength: float) -> Image:
    bare = np.percentile(image.reshape(-1, 3), 95, axis=0)
    return np.asarray(np.clip(bare * ((image + 1.0) / (bare + 1)) ** strength, 0, 255), np.uint8)


def colours(image: Image, *gains: float) -> Image:
    return np.asarray(np.clip(image * np.array(gains), 0, 255), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "blue -15 %": lambda image: colours(image, 0.85, 1, 1),
    "red +15 %, blue -15 %": lambda image: colours(image, 0.85, 1, 1.15),
    "stain x0.7": lambda image: stain(image, 0.7),
    "stain x1.4": lambda image: stain(image, 1.4),
    "gamma 0.8": lambda image: np.asarray(255 * (image / 255.0) ** 0.8, np.uint8),
}


def best_dice(image: Image, mask: Image, um_per_pixel: float) -> tuple[float, float]:
    """Dice of the whole cell and of the nucleus, of the found cell that fits best; (0, 0) where none was found."""
    truth = mask > 0, mask > 200
    scores = [
        tuple(dice_of(shown(image, drawn), true) for drawn, true in zip(([c.outline], c.nucleus), truth, strict=True))
        for c in find_cells(image, um_per_pixel)
    ]
    cell, nucleus = max(scores, default=(0.0, 0.0))
    return cell, nucleus


def dice_of(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    shared, both = int(np.count_nonzero(one & other)), int(np.count_nonzero(one) + np.count_nonzero(other))
    return 2 * shared / max(1, both)


Labelled = Iterator[tuple[Path, list[Box]]]


def data() -> Path:
    return Path(os.environ["MICROSCOPE_DATA"])


def score(
    boxed: Labelled, um_per_pixel: float, change: Callable[[Image], Image] = np.asarray
) -> tuple[float, float, float]:
    """Recall and precision by centre, and the share of true boxes that a found one overlaps by half."""
    hits = true = found = fits = 0
    for path, boxes in boxed:
        cells = find_cells(change(read(path)), um_per_pixel)
        hits, true, found = hits + pairs(cells, boxes), true + len(boxes), found + len(cells)
        fits += sum(overlap(box, [cell.box for cell in cells]) >= 0.5 for box in boxes)
    return hits / true, hits / found, fits / true


SCALES = {"bccd": 0.075, "barcelona": 0.1}
"""Micrometres per pixel."""


def some(name: str) -> list[tuple[Path, list[Box]]]:
    """Part of a data set, which is enough where the same frames are compared with themselves."""
    return list(bccd())[::3] if name == "bccd" else list(barcelona())[::6]


@lru_cache
def usual_recall(name: str) -> float:
    """Recall on these at their scale, as they are."""
    return score(iter(some(name)), SCALES[name])[0]


def bccd() -> Labelled:
    """Frames and boxes, but for the frames whose annotation is known to lack a cell."""
    folder = data() / "bccd"
    with (folder / "index.csv").open() as index:
        doubtful = {row["file"] for row in csv.DictReader(index) if row["known_issue"]}
    boxes: dict[str, list[Box]] = {}
    with (folder / "wbc_boxes.csv").open() as table:
        for row in csv.DictReader(table):
            x0, y0, x1, y1 = (int(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes.setdefault(row["file"], []).append(Box(x0, y0, x1 - x0, y1 - y0))
    for path in sorted((folder / "JPEGImages").glob("*.jpg")):
        if path.name not in doubtful:
            yield path, boxes.get(path.name, [])


def barcelona() -> Labelled:
    folder = data() / "txl-pbc-tiles"
    with (folder / "index.csv").open() as index:
        for row in csv.DictReader(index):
            size = np.array([int(row["width"]), int(row["height"])] * 2)
            labels = (folder / row["file"].replace("images", "labels", 1)).with_suffix(".txt")
            lines = [line.split() for line in labels.read_text().splitlines()]
            scaled = [np.array(line[1:], float) * size for line in lines if line[0] == "0"]
            yield (
                folder / row["file"],
                [Box(round(x - w / 2), round(y - h / 2), round(w), round(h)) for x, y, w, h in scaled],
            )
