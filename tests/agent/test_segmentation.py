"""Finding white cells: what holds for any image, on rendered smears, and on real ones."""

import threading
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.synthetic import SyntheticSource
from agent.vision.segmentation import find_cells
from bench.restain import LOOKS
from contract.types import Box, Cell, Frame, Image
from tests.segmenting import holds, overlap, pairs, shown


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


def balanced(image: Image) -> Image:
    return np.asarray(image * np.array([1.0, 0.9, 0.8]), np.uint8)


def dimmed(image: Image) -> Image:
    return np.asarray(image * 0.6, np.uint8)


def shaded(image: Image) -> Image:
    fall = np.linspace(1, 0.75, image.shape[1])[None, :, None]
    return np.asarray(image * fall, np.uint8)
