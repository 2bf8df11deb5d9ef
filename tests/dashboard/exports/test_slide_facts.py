"""What every export says of a slide beside its counts."""

from dashboard.exports.review_summary import final_label
from dashboard.exports.slide_facts import (
    Judge,
    corrected,
    counted_words,
    judges,
    most_suspicious,
    refused_by,
    scale_words,
)
from dashboard.texts import Texts
from tests.dashboard.exports.examples import MODEL, cell, empty, large, reviewed, summary, usual


def test_a_model_is_known_by_its_summary_and_else_by_its_name_alone() -> None:
    record = usual(models=("blast-7", "blast-8"))
    assert judges(record) == [Judge("blast-7"), Judge("blast-8", "ab" * 32, "passed", "cells")]


def test_a_model_that_ran_in_two_ways_stands_twice() -> None:
    other = summary(count_id="r-s2", model=MODEL.model_copy(update={"colour": "off"}))
    both = usual(summaries=(summary(), other), cells=(cell(1, 0.1), cell(1, 0.1, count="r-s2")))
    assert [judge.colour for judge in judges(both)] == ["cells", "off"]


def test_a_count_without_a_cell_that_counts_has_judged_nothing_here() -> None:
    """Its pictures were read again by another model."""
    later = summary(count_id="r-s2", model=MODEL.model_copy(update={"id": "blast-9"}))
    again = usual(summaries=(summary(), later), cells=(cell(1, 0.1, count="r-s2"),), models=("blast-9",), read_again=40)
    assert [judge.id for judge in judges(again)] == ["blast-9"]
    assert corrected(again) == later


def test_a_count_of_which_pictures_were_read_again_has_no_corrected_share() -> None:
    later = summary(count_id="r-s2", cells=0)
    assert corrected(usual(summaries=(summary(), later))) == summary()
    assert corrected(usual(summaries=(summary(), later), read_again=1)) is None


def test_a_slide_that_was_counted_once_says_nothing_of_counts() -> None:
    texts = Texts.load("en")
    assert counted_words(usual(), texts) == []
    assert len(counted_words(large(4), texts)) == 1
    assert counted_words(usual(read_again=1), texts) == [texts.get("recount.again", count=1)]


def test_every_scale_of_a_slide_is_said_and_none_is_made_up() -> None:
    texts = Texts.load("de")
    assert scale_words(usual(), texts) == "0,0752 µm je Pixel"
    assert scale_words(usual(scales=(0.1, 0.25)), texts) == "0,1000 µm je Pixel; 0,2500 µm je Pixel"
    assert scale_words(empty(), texts) == "nicht bekannt"


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
