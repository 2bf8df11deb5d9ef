"""What is left to review is told, and cells come in the order that was asked for."""

from dataclasses import replace

from dashboard.reviews.progress import Progress, ordered, progress
from dashboard.reviews.standing import corrected_counts, final_labels
from dashboard.reviews.store import ReviewStore
from tests.dashboard.reviews.conftest import KEY, Desk, cell, slide_of


def test_progress_tells_what_was_shown_reviewed_and_is_left(store: ReviewStore) -> None:
    record = slide_of(
        cell("r-c1"), cell("r-c2", 0.5), cell("r-c3", 0.55), cell("r-c4", 0.9), cell("r-c5", None), cell("r-c6", 0.1)
    )
    assert progress(record, store.log(KEY), "1", ()) == Progress(6, 0, 0, 0, 0, 5, 2, 2, 0, 1)
    Desk(store).begin(record).say(record, r_c1="confirm", r_c2="unsure", r_c4="smudge", r_c6="blast")
    shown = store.shown_to(KEY, "ada", "1")
    later = replace(record, cells=record.cells[:-1])
    assert progress(later, store.log(KEY), "1", shown) == Progress(
        cells=5,
        shown=5,
        reviewed=3,
        unsure=1,
        corrected=1,
        to_review=1,
        uncertain=2,
        uncertain_left=1,
        gone=1,
        blasts_left=0,
    )
    assert progress(later, store.log(KEY), "2", ()).reviewed == 0


def test_a_cell_that_was_shown_by_two_names_was_shown_once(store: ReviewStore) -> None:
    record = replace(slide_of(cell("r-c1")), renamed={"r-c2": "r-c1", "r-c3": None})
    assert progress(record, store.log(KEY), "1", ["r-c1", "r-c2", "r-c3"]).shown == 1


def test_the_most_suspicious_cell_comes_first_and_those_without_a_probability_last() -> None:
    cells = [cell("a", 0.1), cell("b", None), cell("c", 0.99), cell("d", 0.5)]
    assert [one.object_id for one in ordered(cells, "suspicion")] == ["c", "d", "a", "b"]


def test_what_is_to_do_begins_with_uncertain_cells_and_ends_with_those_that_are_done() -> None:
    cells = [cell("a", 0.1), cell("b", None), cell("c", 0.99), cell("d", 0.5), cell("e", 0.55), cell("f", 0.7)]
    assert [one.object_id for one in ordered(cells, "to_do", done=["e", "c"])] == ["d", "f", "a", "b", "e", "c"]


def test_outliers_begin_with_what_the_model_has_never_seen_then_rare_kinds_then_odd_sizes() -> None:
    plain = [cell(f"p{number}", area_um2=100 + number) for number in range(9)]
    large, blast = cell("large", area_um2=400), cell("blast", 0.9)
    other, unlike = cell("other", 0.5, flags=("other",)), cell("unlike", 0.5, flags=("unlike_training", "other"))
    found = [one.object_id for one in ordered([*plain, large, blast, other, unlike], "outlier")]
    assert found[:4] == ["unlike", "other", "blast", "large"]
    assert len(found) == 13


def test_cells_can_be_shown_as_they_were_first_seen() -> None:
    cells = [cell("a", 0.1), cell("b", 0.9)]
    assert ordered(cells, "seen") == cells
    assert ordered([], "outlier") == []


def test_a_slide_of_ten_thousand_cells_is_counted_whole(store: ReviewStore) -> None:
    """How long it takes is nobody's truth here; it was measured when this was written."""
    record = slide_of(*(cell(f"r-c{number}", (number % 100) / 100) for number in range(10_000)))
    names = {one.object_id.replace("-", "_"): "smudge" for one in record.cells}
    Desk(store).begin(record).say(record, **names)
    log, shown = store.log(KEY), store.shown_to(KEY, "ada", "1")
    found = progress(record, log, "1", shown)
    assert (found.cells, found.shown, found.reviewed, found.to_review) == (10_000,) * 3 + (0,)
    assert corrected_counts(record, final_labels(record, log)).apart == {"smudge": 10_000}
