"""The rendered smear: same seed, same smear; and the truth beside it is true."""

import threading
from itertools import islice

import numpy as np
import pytest

from agent.sources import cell_drawing
from agent.sources.cell_drawing import turned, turned_extent
from agent.sources.synthetic import SyntheticSource
from agent.vision.quality import assess
from contract.types import Frame, TrueCell

Seen = list[tuple[str, int, int, int, int]]


def frames_of(source: SyntheticSource, count: int | None = None) -> list[Frame]:
    with source.open(threading.Event()) as made:
        return list(islice(made, count))


def seen(cells: tuple[TrueCell, ...]) -> Seen:
    return [(cell.kind, cell.box.x, cell.box.y, cell.box.width, cell.box.height) for cell in cells]


def test_the_same_seed_is_the_same_smear_and_another_is_not() -> None:
    first, again, other = (frames_of(SyntheticSource(frames=3, seed=seed, width=200, height=150)) for seed in (4, 4, 5))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert [frame.truth for frame in first] == [frame.truth for frame in again]
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))


def test_it_goes_on_for_ever_where_no_number_is_given() -> None:
    assert len(frames_of(SyntheticSource(width=64, height=48), 50)) == 50


def test_boxes_lie_in_the_frame_and_kinds_are_all_there() -> None:
    frames = frames_of(SyntheticSource(frames=12, blast_share=0.5))
    for frame in frames:
        height, width = frame.image.shape[:2]
        for cell in frame.truth:
            assert 0 <= cell.box.x < cell.box.x + cell.box.width <= width
            assert 0 <= cell.box.y < cell.box.y + cell.box.height <= height
    assert {cell.kind for frame in frames for cell in frame.truth} == {"white", "blast", "red", "platelet"}


def test_a_red_cell_measures_seven_and_a_half_micrometres() -> None:
    for um_per_pixel in (0.075, 0.2):
        frame = frames_of(SyntheticSource(frames=1, um_per_pixel=um_per_pixel, width=960, height=720))[0]
        inner = [c.box for c in frame.truth if c.kind == "red" and c.box.x > 0 and c.box.y > 0]
        whole = [b for b in inner if b.x + b.width < 960 and b.y + b.height < 720]
        assert np.median([(b.width + b.height) / 2 for b in whole]) * um_per_pixel == pytest.approx(7.5, abs=0.4)


def test_white_cells_and_blasts_come_as_often_as_asked() -> None:
    wanted = SyntheticSource(frames=60, white_cells=3, blast_share=0.4, um_per_pixel=0.4, width=160, height=120)
    cells = [cell for frame in frames_of(wanted) for cell in frame.truth if cell.kind in ("white", "blast")]
    middles = [c for c in cells if c.box.x > 0 and c.box.y > 0 and c.box.x + c.box.width < 160]
    assert 1.2 < len(middles) / 60 < 4
    assert sum(cell.kind == "blast" for cell in cells) / len(cells) == pytest.approx(0.4, abs=0.12)


def test_neighbouring_frames_show_the_same_cells_where_they_overlap() -> None:
    first, second = frames_of(SyntheticSource(frames=2, overlap=0.5, focus_um=0, noise_levels=0, white_cells=6))
    shift = 320
    moved = {(k, x - shift, y, w, h) for k, x, y, w, h in seen(first.truth) if x > shift + 5 and x + w < 635}
    assert moved
    assert len(moved - set(seen(second.truth))) <= len(moved) // 4, "a pixel of rounding is allowed to a few"


def test_no_frame_of_the_demonstration_is_refused() -> None:
    """Nor those without a white cell, whose darkest part is red cells upon red cells."""
    source = SyntheticSource(overlap=0.4, row_overlap=0.4)
    faults = [assess(frame.image, frame.um_per_pixel).detail for frame in frames_of(source, 200)]
    assert not any(faults), set(faults)


def test_rows_overlap_as_asked() -> None:
    source = SyntheticSource(overlap=0.6, row_overlap=0.25)
    ends = [source._stage(step) for step in (0, 19, 20, 39, 40)]
    assert np.array(ends) == pytest.approx(np.array([(0, 0), (486.4, 0), (486.4, 36), (0, 36), (0, 72)]))


def test_blur_grows_with_the_drift_of_focus() -> None:
    sharp, soft = (frames_of(SyntheticSource(frames=16, focus_um=um, noise_levels=0))[15].image for um in (0, 2.0))
    assert np.abs(np.diff(sharp.astype(int), axis=0)).mean() > 1.5 * np.abs(np.diff(soft.astype(int), axis=0)).mean()


@pytest.mark.parametrize("painter", [p for p, _ in cell_drawing.WHITE.values()] + [cell_drawing.blast])
def test_a_nucleus_is_darker_than_its_cytoplasm_and_that_than_nothing(painter: cell_drawing.Painter) -> None:
    sprite = painter(0.1, np.random.default_rng(1))
    assert sprite.cover is not None
    green = sprite.density[..., 1]
    inside = green[sprite.cover > 0.99]
    assert np.percentile(inside, 95) > 2 * np.percentile(inside, 5) > 0.05
    assert green[sprite.cover == 0].max() < 0.01


@pytest.mark.parametrize("turn", range(8))
def test_the_extent_turns_with_the_drawing(turn: int) -> None:
    sprite = cell_drawing.blast(0.2, np.random.default_rng(2))
    assert sprite.cover is not None
    ys, xs = np.nonzero(turned(sprite.cover, turn) > 0.5)
    half = len(sprite.cover) // 2
    drawn = [int(v) - half for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]
    assert np.abs(np.array(drawn) - turned_extent(sprite.extent, turn)).max() <= 1
