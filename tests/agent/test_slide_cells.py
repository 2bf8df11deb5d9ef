"""What becomes of a cell's views, and of a slide's share."""

import pytest

from agent.slides.cellmap import CellMap, CellObservation
from agent.slides.slide import Slide
from contract.messages import SlideSummary
from contract.shares import wilson
from contract.types import Frame, Prediction
from tests.slides import DECISION, ERROR, GOOD, MODEL, cell_at, judged, new_slide, see


def test_the_scores_of_a_cells_views_are_averaged_as_logits(field: Frame) -> None:
    slide = new_slide()
    names = {see(slide, field, cell_at(200, 150), p) for p in (0.9, 0.9, 0.1)}
    assert len(names) == 1
    summary = slide.summary()
    assert (summary.cells, summary.uncertain) == (1, 1), "odds of 9, 9 and 1/9 average to 2.08: 0.675"
    see(slide, field, cell_at(200, 150), 0.9)
    assert slide.summary().blasts == 1


def test_a_cell_that_is_only_seen_cut_is_not_judged_until_a_whole_view_comes(field: Frame) -> None:
    slide = new_slide()
    cut = see(slide, field, cell_at(215, 150, side=30, edge=True), None)
    assert (slide.summary().not_judged, slide.summary().blast_fraction) == (1, None)
    assert see(slide, field, cell_at(200, 150), 0.05) == cut
    summary = slide.summary()
    assert (summary.cells, summary.normal, summary.not_judged) == (1, 1, 0)
    see(slide, field, cell_at(185, 150, side=30, edge=True), None)
    assert slide.summary().normal == 1, "what the border cuts has no say"


def test_two_halves_of_a_cell_become_one_when_it_is_seen_whole(field: Frame) -> None:
    slide = new_slide()
    for x in (180, 220):
        see(slide, field, cell_at(x, 150, side=30, edge=True), None)
    assert slide.summary().cells == 2
    see(slide, field, cell_at(200, 150, side=80), 0.05)
    summary = slide.summary()
    assert (summary.cells, summary.normal, summary.not_judged) == (1, 1, 0)


def test_a_cut_view_within_two_cells_becomes_one_of_them(field: Frame) -> None:
    """Boxes of cells that touch overlap: neither cell may take away the part that has become the other."""
    slide = new_slide()
    see(slide, field, cell_at(110, 110, side=20, edge=True), None)
    slide.see(field, GOOD, judged([cell_at(100, 125, side=60), cell_at(120, 120, side=50)]))
    summary = slide.summary()
    assert (summary.cells, summary.normal, summary.not_judged) == (2, 2, 0)


def test_a_cut_cell_beside_a_whole_one_in_the_same_frame_is_no_part_of_it(field: Frame) -> None:
    slide = new_slide()
    slide.see(field, GOOD, judged([cell_at(110, 110, side=20, edge=True), cell_at(100, 125, side=60)]))
    summary = slide.summary()
    assert (summary.cells, summary.normal, summary.not_judged) == (2, 1, 1)


def test_two_cells_that_touch_stay_two(field: Frame) -> None:
    slide = new_slide()
    pair = [cell_at(200, 150, side=45), cell_at(245, 150, side=45)]
    seen = [slide.see(field, GOOD, judged(order)).object_ids for order in (pair, pair[::-1])]
    assert seen[0] == seen[1][::-1]
    assert slide.summary().normal == 2


def test_a_slide_remembers_so_many_cells_and_goes_on_counting() -> None:
    cells = CellMap(most=50)
    for k in range(200):
        cells.add(1, CellObservation(100.0 * k, 0, (100.0 * k, 0, 100.0 * k + 10, 10), whole=True, probability=0.5))
    assert (len(cells), cells.count) == (50, 200)
    assert sum(map(len, cells._squares.values())) == 50


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_the_interval_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    """The third is the worked example of Newcombe (Statistics in Medicine 17, 1998, 857-872)."""
    interval = wilson(hits, of)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
    assert wilson(0, 0) is None


def count_a_field(slide: Slide, field: Frame) -> SlideSummary:
    """Eighty cells of which ten are blasts."""
    cells = [cell_at(25 + 40 * (k % 10), 25 + 40 * (k // 10), side=30) for k in range(80)]
    slide.see(field, GOOD, [Prediction(c, "uncertain", 0.05 if k % 8 else 0.95) for k, c in enumerate(cells)])
    return slide.summary()


def test_a_slide_whose_model_has_a_known_error_says_its_corrected_share(field: Frame) -> None:
    summary = count_a_field(Slide("s", "r-s1", model=MODEL, decision=DECISION, error=ERROR), field)
    assert (summary.normal, summary.blasts) == (70, 10)
    assert summary.corrected_fraction == pytest.approx((0.125 - 0.02) / 0.93, abs=1e-6)
    assert summary.corrected_interval is not None
    assert summary.corrected_interval.low < 0.113 < summary.corrected_interval.high
    assert summary.enough_cells == "no"
    again = SlideSummary.model_validate_json(summary.model_dump_json())
    assert (again.corrected_interval, again.enough_cells) == (summary.corrected_interval, "no")


def test_a_slide_whose_models_error_is_not_known_says_none_of_it(field: Frame) -> None:
    summary = count_a_field(new_slide(), field)
    assert summary.blast_fraction == 0.125
    assert (summary.corrected_fraction, summary.corrected_interval, summary.enough_cells) == (None, None, None)


def test_a_slide_without_cells_has_no_corrected_share() -> None:
    summary = Slide("s", "r-s1", model=MODEL, decision=DECISION, error=ERROR).summary()
    assert (summary.corrected_fraction, summary.enough_cells) == (None, None)
