"""Finding white cells: what holds for any image, on rendered smears, and on real ones."""

import csv
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.sources.synthetic import SyntheticSource
from agent.vision.scale import estimate, find_red_cells
from agent.vision.segmentation import find_cells
from bench.restain import LOOKS
from contract.types import Box, Cell, Frame, Image
from evaluation.datasets import deepapl
from evaluation.datasets.sample import labelled

Boxes = Sequence[Box]


def holds(box: Box, point: tuple[float, float]) -> bool:
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


def pairs(cells: Sequence[Cell], truth: Boxes) -> int:
    """The most cells that can be matched to a true box of their own, each by its box's centre."""
    owner: dict[int, int] = {}

    def place(cell: int, tried: set[int]) -> bool:
        for box in range(len(truth)):
            if box in tried or not holds(truth[box], cells[cell].box.centre):
                continue
            tried.add(box)
            if box not in owner or place(owner[box], tried):
                owner[box] = cell
                return True
        return False

    return sum(place(cell, set()) for cell in range(len(cells)))


@lru_cache
def rendered(frames: int = 12, um_per_pixel: float = 0.1, seed: int = 3) -> tuple[Frame, ...]:
    source = SyntheticSource(frames=frames, um_per_pixel=um_per_pixel, seed=seed)
    with source.open(threading.Event()) as made:
        return tuple(made)


def whites(frame: Frame, *, shows_um: float = 0) -> list[Box]:
    """The true white cells of which the frame shows at least so much each way."""
    least = shows_um / frame.um_per_pixel
    found = [cell.box for cell in frame.truth if cell.kind in ("white", "blast")]
    return [box for box in found if min(box.width, box.height) >= least]


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Flat, noisy and striped pictures of odd sizes."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    flat = np.full((height, width, 3), draw(st.tuples(*[st.integers(0, 255)] * 3)), np.uint8)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    return draw(st.sampled_from([flat, noise, np.where(rng.random((height, width, 1)) < 0.1, noise, flat)]))


class TestAnyImage:
    """What holds for every image and scale."""

    @settings(max_examples=150, deadline=None)
    @given(images(), st.sampled_from([0.001, 0.02, 0.075, 0.1, 0.25, 0.5, 2.0, 10.0]))
    def test_no_image_is_too_odd_and_every_cell_lies_within_it(self, image: Image, um_per_pixel: float) -> None:
        before = image.copy()
        for cell in find_cells(image, um_per_pixel):
            box = cell.box
            assert 0 <= box.x < box.x + box.width <= image.shape[1]
            assert 0 <= box.y < box.y + box.height <= image.shape[0]
            assert holds(box, cell.centre)
            assert cell.area_um2 > 0
            assert 0 < cell.nucleus_um2 <= cell.area_um2
            assert all(lobe.shape[1:] == (2,) for lobe in cell.nucleus)
        assert np.array_equal(image, before)

    @pytest.mark.parametrize("level", [0, 1, 128, 255])
    def test_a_flat_frame_has_no_cells(self, level: int) -> None:
        assert find_cells(np.full((480, 640, 3), level, np.uint8), 0.1) == []

    def test_a_smear_of_red_cells_and_platelets_has_no_white_ones(self) -> None:
        with SyntheticSource(frames=6, white_cells=0).open(threading.Event()) as made:
            assert [find_cells(frame.image, frame.um_per_pixel) for frame in made] == [[]] * 6


class TestRenderedSmear:
    """What is found where the truth is known to the pixel."""

    @pytest.mark.parametrize("um_per_pixel", [0.075, 0.1, 0.2])
    def test_white_cells_are_found_and_nothing_else(self, um_per_pixel: float) -> None:
        frames = rendered(um_per_pixel=um_per_pixel)
        found = [find_cells(frame.image, um_per_pixel) for frame in frames]
        clear = [whites(frame, shows_um=4) for frame in frames]
        hits = sum(pairs(cells, boxes) for cells, boxes in zip(found, clear, strict=True))
        true = sum(pairs(cells, whites(frame)) for cells, frame in zip(found, frames, strict=True))
        assert hits >= 0.97 * sum(map(len, clear))
        assert true >= 0.95 * sum(map(len, found))

    def test_the_box_is_that_of_the_whole_cell(self) -> None:
        overlaps = [overlap(cell.box, whites(frame)) for frame, cell in inner_cells()]
        assert len(overlaps) > 10
        assert np.median(overlaps) > 0.85

    def test_the_area_is_that_of_the_outline(self) -> None:
        for frame, cell in inner_cells():
            inside = cv2.contourArea(cell.outline) * frame.um_per_pixel**2
            assert cell.area_um2 == pytest.approx(inside, rel=0.15)
            assert 40 < cell.area_um2 < 600

    def test_the_nucleus_lies_within_the_cell_and_its_area_is_that_of_its_lobes(self) -> None:
        for frame, cell in inner_cells():
            lobes, body = (shown(frame.image, outlines) for outlines in (cell.nucleus, [cell.outline]))
            assert not (lobes & ~body).any()
            assert cell.nucleus_um2 == pytest.approx(np.count_nonzero(lobes) * frame.um_per_pixel**2, rel=0.25)

    def test_cells_come_from_top_to_bottom_and_are_the_same_each_time(self) -> None:
        for frame in rendered():
            first, second = (find_cells(frame.image, frame.um_per_pixel) for _ in range(2))
            assert [cell.box for cell in first] == [cell.box for cell in second]
            assert [(c.box.y, c.box.x) for c in first] == sorted((c.box.y, c.box.x) for c in first)

    def test_a_cell_that_the_border_cuts_is_flagged(self) -> None:
        for frame in rendered():
            height, width = frame.image.shape[:2]
            for cell in find_cells(frame.image, frame.um_per_pixel):
                box = cell.box
                cut = box.x == 0 or box.y == 0 or box.x + box.width == width or box.y + box.height == height
                assert ("edge" in cell.flags) == cut

    def test_white_balance_shade_and_exposure_do_not_matter(self) -> None:
        for frame in rendered()[:6]:
            count = len(find_cells(frame.image, frame.um_per_pixel))
            for worse in (balanced(frame.image), shaded(frame.image), dimmed(frame.image)):
                assert len(find_cells(worse, frame.um_per_pixel)) == count


@pytest.mark.parametrize("look", ["training", "pink", "grey", "strong"])
def test_a_folded_red_cell_with_the_azure_of_most_of_a_nucleus_is_no_white_cell(look: str) -> None:
    """At steep edges and in folds a camera sees red cells darker in red than twice a red cell is."""
    stained = LOOKS[look]
    red, nuclei = np.array(stained.red_cells), np.array(stained.nuclei)
    density = np.zeros((240, 320, 3), np.float32)
    for x, y in ((x, y) for y in range(24, 240, 48) for x in range(24, 320, 48)):
        cv2.circle(density, (x, y), 18, red.tolist(), cv2.FILLED)
    cv2.circle(density, (96, 120), 34, stained.cytoplasm, cv2.FILLED)
    cv2.circle(density, (96, 120), 22, nuclei.tolist(), cv2.FILLED)
    cv2.ellipse(density, (240, 120), (20, 12), 30, 0, 360, (1.2 * red + 0.66 * nuclei).tolist(), cv2.FILLED)
    shown = 255 * np.array(stained.bare) * 10 ** -cv2.GaussianBlur(density, (0, 0), 1.0)
    noise = np.random.default_rng(2).normal(0, 1.5, shown.shape)
    (cell,) = find_cells(np.asarray(np.clip(shown + noise, 0, 255), np.uint8), 0.2)
    assert holds(cell.box, (96, 120))


def inner_cells() -> Iterator[tuple[Frame, Cell]]:
    for frame in rendered():
        for cell in find_cells(frame.image, frame.um_per_pixel):
            if not cell.flags:
                yield frame, cell


def shown(image: Image, outlines: Sequence[NDArray[np.int32]]) -> NDArray[np.bool_]:
    """What outlines enclose."""
    blank = np.zeros(image.shape[:2], np.uint8)
    return np.asarray(cv2.drawContours(blank, list(outlines), -1, (1,), cv2.FILLED)) > 0


def overlap(box: Box, truth: Boxes) -> float:
    """Intersection over union with the true box that fits best."""
    return max((_shared(box, other) for other in truth), default=0.0)


def _shared(a: Box, b: Box) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(width, 0) * max(height, 0)
    return both / (a.width * a.height + b.width * b.height - both)


def balanced(image: Image) -> Image:
    return np.asarray(image * np.array([1.0, 0.9, 0.8]), np.uint8)


def dimmed(image: Image) -> Image:
    return np.asarray(image * 0.6, np.uint8)


def shaded(image: Image) -> Image:
    fall = np.linspace(1, 0.75, image.shape[1])[None, :, None]
    return np.asarray(image * fall, np.uint8)


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
