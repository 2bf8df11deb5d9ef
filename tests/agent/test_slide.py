"""Every cell of a slide counts once, however often it is seen."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from agent.slides.checkpoints import DELAY_FRAMES
from agent.slides.slide import Sighting, Slide
from agent.slides.stage import KEYFRAMES, Stage
from agent.sources.cell_drawing import turned_extent
from agent.sources.smear import TRUE_KINDS, Camera, Placed
from agent.vision.segmentation import find_cells
from contract.messages import Quality, SlideSummary
from contract.pictures import read_picture
from contract.types import Frame, Image
from tests.slides import BLURRED, GOOD, UM, camera, cell_at, frame_of, judged, new_slide, see

DATA = Path(os.environ.get("MICROSCOPE_DATA", "/nonexistent"))
Point = tuple[float, float]


def travel(slide: Slide, camera: Camera, path: Iterable[Point], *, blur_um: float = 0.2) -> list[Sighting]:
    """Move the stage along a path of upper left corners in um, finding the cells of each frame."""
    rng = np.random.default_rng(3)
    seen = []
    for x, y in path:
        frame = frame_of(camera.look(x, y, blur_um=blur_um, rng=rng)[0])
        seen.append(slide.see(frame, GOOD, judged(find_cells(frame.image, UM))))
    return seen


def scan(camera: Camera, columns: int, rows: int, *, overlap: float) -> Iterator[Point]:
    """Row by row, back and forth."""
    dx, dy = (side * UM * (1 - overlap) for side in (camera.width, camera.height))
    for row in range(rows):
        for column in range(columns)[:: -1 if row % 2 else 1]:
            yield column * dx, row * dy


def true_cells(camera: Camera, path: Iterable[Point]) -> set[Placed]:
    """The white cells that some frame of the path shows whole."""
    return {cell for x, y in path for cell in placed(camera, x, y) if is_whole(camera, cell, x, y)}


def placed(camera: Camera, x: float, y: float) -> Iterator[Placed]:
    for cell in camera.smear.placed(x, y, camera.width * UM, camera.height * UM):
        if TRUE_KINDS.get(cell.kind, "white") in {"white", "blast"}:
            yield cell


def edges_of(camera: Camera, cell: Placed, x: float, y: float) -> tuple[int, int, int, int]:
    """Left, upper, right, lower edge in pixels of the frame at (x, y)."""
    left, top, right, bottom = turned_extent(camera.smear.sprite(cell).extent, cell.turn)
    at_x, at_y = round((cell.x - x) / UM), round((cell.y - y) / UM)
    return at_x + left, at_y + top, at_x + right, at_y + bottom


def is_whole(camera: Camera, cell: Placed, x: float, y: float) -> bool:
    left, top, right, bottom = edges_of(camera, cell, x, y)
    return left > 0 and top > 0 and right < camera.width and bottom < camera.height


def is_in(camera: Camera, cell: Placed, x: float, y: float) -> bool:
    left, top, right, bottom = edges_of(camera, cell, x, y)
    return right > 0 and bottom > 0 and left < camera.width and top < camera.height


def whole_cells(summary: SlideSummary) -> int:
    return summary.normal + summary.blasts + summary.uncertain


# Synthetic slides.


def test_five_hundred_cells_under_a_stage_that_moves_by_two_fifths_are_counted_within_two_per_cent() -> None:
    made = camera()
    path = list(scan(made, 21, 21, overlap=0.6))
    true = true_cells(made, path)
    slide = new_slide()
    seen = travel(slide, made, path)
    summary = slide.summary()
    assert len(true) >= 500
    assert summary.jumps == 0
    assert whole_cells(summary) == pytest.approx(len(true), rel=0.02)
    drift = [np.hypot(s.place.x - x, s.place.y - y) for s, (x, y) in zip(seen, path, strict=True) if s.place]
    assert max(drift) < 1


def stand_still(frames: int) -> None:
    """With noise, and a drift of a micrometre in five hundred frames."""
    made = camera(width=320, height=240, noise=4, white_cells=8)
    path = [(100 + 0.002 * k, 50 - 0.001 * k) for k in range(frames)]
    slide = new_slide()
    seen = travel(slide, made, path)
    summary = slide.summary()
    first, last = (true_cells(made, [point]) for point in (path[0], path[-1]))
    assert len(first & last) > 1
    assert len(first & last) <= whole_cells(summary) <= len(first | last)
    assert summary.jumps == 0
    most = max(len(sighting.object_ids) for sighting in seen)
    assert summary.cells == len({name for sighting in seen for name in sighting.object_ids})
    assert most <= summary.cells <= sum(1 for cell in placed(made, *path[0]) if is_in(made, cell, *path[0]))


def test_at_a_still_stage_nothing_is_counted_twice() -> None:
    stand_still(100)


@pytest.mark.soak
def test_at_a_still_stage_nothing_is_counted_twice_over_a_thousand_frames() -> None:
    stand_still(1000)


def test_a_still_stage_over_a_nearly_empty_field_stays_where_it_is() -> None:
    """One cell alone is enough to hold on to."""
    image = np.full((360, 480, 3), 210, np.uint8)
    one = camera(white_cells=0.7)
    point = next((x, 0.0) for x in range(0, 4000, 20) if len(list(placed(one, x, 0.0))) == 1)
    cell = next(placed(one, *point))
    sprite = one.smear.sprite(cell)
    half = len(sprite.density) // 2
    part = np.s_[180 - half : 181 + half, 240 - half : 241 + half]
    image[part] = (image[part] * 10 ** -np.asarray(sprite.density)).astype(np.uint8)
    rng = np.random.default_rng(1)
    slide = new_slide()
    for _ in range(30):
        noisy = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        slide.see(frame_of(noisy), GOOD, judged(find_cells(noisy, UM)))
    assert (slide.summary().cells, slide.summary().jumps) == (1, 0)


def test_a_jump_begins_a_new_part_and_a_return_is_recognised() -> None:
    made = camera()
    here, there = [(0.0, 0.0), (30.0, 0.0)], [(3000.0, 900.0), (3030.0, 900.0)]
    slide = new_slide()
    seen = travel(slide, made, [*here, *there, *here, *there])
    assert [s.place.part for s in seen if s.place] == [1, 1, 2, 2, 1, 1, 2, 2]
    assert slide.summary().jumps == 1
    once = new_slide()
    travel(once, made, [*here, *there])
    assert slide.summary().cells == once.summary().cells
    names = [set(s.object_ids) for s in seen]
    assert names[0] == names[4]
    assert not names[0] & names[2]


def test_two_parts_that_the_stage_walks_together_become_one_and_their_cells_count_once() -> None:
    """The ends of a row, and then what lies between; 96 um are the width of a frame."""
    made, slide = camera(white_cells=8), new_slide()
    path = [(x, 0.0) for x in (0.0, 40.0, 80.0, 230.0, 165.0, 100.0)]
    seen = travel(slide, made, path)
    summary, places = slide.summary(), [sighting.place for sighting in seen]
    assert [place.part for place in places if place] == [1, 1, 1, 2, 2, 1]
    assert [place.x for place in places if place and place.part == 1] == pytest.approx([0, 40, 80, 100], abs=1)
    assert summary.jumps == 0
    assert whole_cells(summary) == pytest.approx(len(true_cells(made, path)), abs=1)
    (joined,) = [sighting.joined for sighting in seen if sighting.joined]
    assert joined.part == 2
    assert (joined.x, joined.y) == pytest.approx((230, 0), abs=1)
    assert joined.same
    assert summary.cells == len({name for s in seen for name in s.object_ids} - set(joined.same))
    assert set(joined.same.values()) <= {name for sighting in seen[:3] for name in sighting.object_ids}


def test_the_latest_sixty_four_places_are_recognised() -> None:
    made, stage = camera(width=320, height=240), Stage()
    rng = np.random.default_rng(3)
    path = [(500.0 * k, 400.0 * k) for k in range(KEYFRAMES)]
    first, *_, again = (
        stage.place(made.look(x, y, blur_um=0.2, rng=rng)[0], UM) for x, y in [*path, (path[0][0] + 10, path[0][1] + 5)]
    )
    assert (len(stage.parts), first.part, again.part) == (KEYFRAMES, 1, 1)
    assert (again.x, again.y) == pytest.approx((10, 5), abs=0.5)


def test_frames_out_of_focus_do_not_break_the_chain() -> None:
    made, slide = camera(), new_slide()
    before = travel(slide, made, [(x, 0.0) for x in (0.0, 8.0, 16.0)])
    for x in (24.0, 32.0, 40.0, 48.0):
        image, _ = made.look(x, 0.0, blur_um=3, rng=np.random.default_rng(4))
        assert slide.see(frame_of(image), BLURRED, []).place is None
    after = travel(slide, made, [(56.0, 0.0)])[0]
    assert after.place is not None
    assert after.place.part == 1
    assert after.place.x == pytest.approx(56, abs=0.5)
    assert set(after.object_ids) & set(before[0].object_ids)
    summary = slide.summary()
    assert (summary.frames, summary.refused, summary.refused_by, summary.jumps) == (8, 4, {"out_of_focus": 4}, 0)


# A scale that turns out to be wrong.

WRONG_SCALE = Quality(accepted=False, reasons=["wrong_scale"], scale=2.0)
SURE = Quality(accepted=True, scale=1.0)


def test_frames_judged_before_the_scale_was_seen_to_be_wrong_are_refused_after_all() -> None:
    made, slide = camera(), new_slide()
    seen = travel(slide, made, [*[(x, 0.0) for x in (0.0, 30.0, 60.0)], (3000.0, 900.0)])
    assert slide.summary().cells > 0
    verdict = slide.see(frame_of(made.look(90, 0, blur_um=0.2, rng=np.random.default_rng(1))[0]), WRONG_SCALE, [])
    summary = slide.summary()
    assert (summary.frames, summary.refused, summary.refused_by) == (5, 5, {"wrong_scale": 5})
    assert (summary.cells, summary.not_judged, summary.jumps, summary.registration.frames) == (0, 0, 0, 0)
    assert verdict.withdraws == seen[0].object_ids[0] == "r-s1-c1"


def test_what_is_counted_after_the_scale_was_put_right_bears_new_names(field: Frame) -> None:
    slide = new_slide()
    old = see(slide, field, cell_at(200, 150), 0.05)
    said = [slide.see(field, WRONG_SCALE, []).withdraws for _ in range(2)]
    assert said == [old, old], "the report that says it first may be lost"
    new = see(slide, field, cell_at(200, 150), 0.05)
    assert new != old
    assert slide.see(field, BLURRED, []).withdraws == ""
    summary = slide.summary()
    assert (summary.cells, summary.frames, summary.refused, summary.jumps) == (1, 5, 4, 0)


def test_an_objective_that_is_changed_amid_a_slide_costs_only_what_may_have_been_seen_through_it(field: Frame) -> None:
    slide = new_slide()
    slide.see(field, SURE, judged([cell_at(100, 100)]))
    for _ in range(DELAY_FRAMES):
        slide.see(field, SURE, judged([cell_at(200, 200)]))
    verdict = slide.see(field, WRONG_SCALE, [])
    summary = slide.summary()
    assert (summary.cells, summary.refused_by) == (1, {"wrong_scale": DELAY_FRAMES + 1})
    assert verdict.withdraws == "r-s1-c2"
    assert see(slide, field, cell_at(100, 100), 0.05) == "r-s1-c1", "the place is still known"


def test_while_the_scale_is_not_known_every_frame_stays_in_doubt(field: Frame) -> None:
    slide = new_slide()
    for _ in range(DELAY_FRAMES + 5):
        slide.see(field, GOOD, judged([cell_at(200, 200)]))
    slide.see(field, WRONG_SCALE, [])
    assert (slide.summary().cells, slide.summary().refused) == (0, DELAY_FRAMES + 6)


# How views of one cell are put together.


# Which slide is open.


# Real pictures.

needs_frames = pytest.mark.skipif(
    not (DATA / "bccd").is_dir(), reason="MICROSCOPE_DATA names no folder with the BCCD frames"
)


def bccd(step: int) -> Iterator[Image]:
    return (read_picture(path) for path in islice(sorted((DATA / "bccd/JPEGImages").iterdir()), 0, None, step))


@pytest.mark.requires_data
@needs_frames
def test_fields_that_share_nothing_are_not_joined() -> None:
    """Every tenth frame of BCCD: neighbours in that folder may overlap."""
    slide, cells = new_slide(), 0
    images = list(bccd(10))
    for image in images:
        found = find_cells(image, 0.075)
        slide.see(frame_of(image, 0.075), GOOD, judged(found))
        cells += len(found)
    assert (slide.summary().jumps, slide.summary().cells) == (len(images) - 1, cells)


@pytest.mark.requires_data
@needs_frames
def test_windows_moved_over_a_real_frame_count_its_cells_once() -> None:
    """Twelve windows of 400 x 300 pixels over each frame; cells at the frame's border never show whole."""
    whole = counted = 0
    rng = np.random.default_rng(1)
    for image in bccd(15):
        slide = new_slide()
        for y, x in ((y, x) for y in (0, 90, 180) for x in (0, 80, 160, 240)):
            noisy = image[y : y + 300, x : x + 400] + rng.normal(0, 2, (300, 400, 3))
            window = np.clip(noisy, 0, 255).astype(np.uint8)
            slide.see(frame_of(window, 0.075), GOOD, judged(find_cells(window, 0.075)))
        assert slide.summary().jumps == 0
        counted += whole_cells(slide.summary())
        whole += sum("edge" not in cell.flags for cell in find_cells(image, 0.075))
    assert counted == pytest.approx(whole, abs=1)
