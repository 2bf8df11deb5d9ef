"""What every export says of a slide beside its counts."""

from dashboard.exports.review_summary import final_label
from dashboard.exports.slide_facts import Judge, corrected, judges, most_suspicious, refused_by
from tests.dashboard.exports.examples import MODEL, empty, large, reviewed, summary, usual


def test_a_model_is_known_by_its_summary_and_else_by_its_name_alone() -> None:
    record = usual(models=("blast-7", "blast-8"))
    assert judges(record) == [Judge("blast-7"), Judge("blast-8", "ab" * 32, "passed", "cells")]


def test_a_model_that_ran_in_two_ways_stands_twice() -> None:
    other = summary(count_id="r-s2", model=MODEL.model_copy(update={"colour": "off"}))
    assert [judge.colour for judge in judges(usual(summaries=(summary(), other)))] == ["cells", "off"]


def test_the_corrected_share_is_that_of_a_slide_with_one_count() -> None:
    assert corrected(usual()) == summary()
    assert corrected(large(3)) is None
    assert corrected(empty()) is None


def test_a_frame_with_two_reasons_counts_for_both() -> None:
    assert refused_by(usual()) == {"out_of_focus": 2, "motion": 1, "upside_down": 1}


def test_the_most_suspicious_cells_are_the_most_probable_blasts_and_no_cell_that_was_not_judged() -> None:
    chances = [cell.probability for cell in most_suspicious(usual(), 4)]
    assert chances == [0.97, 0.8, 0.7, 0.5]
    assert len(most_suspicious(usual(), 100)) == 11


def test_a_cell_is_called_in_the_end_as_its_reviewers_call_it() -> None:
    record = usual()
    fourth = record.cells[3]
    assert final_label(fourth, None) == "uncertain"
    assert final_label(fourth, reviewed(record)) == "smudge"
