"""Tables open right in a spreadsheet and in pandas, and say the same as the pages."""

import csv
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from contract.shares import wilson
from dashboard.exports.tables import CELL_COLUMNS, SLIDE_COLUMNS, cells_csv, data_hash, slides_csv
from dashboard.records import Counts, SlideKey, SlideRecord
from tests.dashboard.exports.examples import LONG, NOON, empty, large, nothing, reviewed, summary, usual


def frame_of(made: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(made))


def rows_of(made: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(made.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def test_pandas_reads_the_cells_with_their_types() -> None:
    record = usual()
    table = frame_of(cells_csv(record, reviewed(record)))
    assert tuple(table.columns) == CELL_COLUMNS
    assert [str(table[name].dtype) for name in ("probability", "area_um2", "x", "width", "views")] == [
        "float64", "float64", "int64", "int64", "int64",
    ]  # fmt: skip
    assert table["probability"].isna().tolist() == [cell.probability is None for cell in record.cells]
    assert pd.to_datetime(table["captured_at"]).tolist() == [pd.Timestamp(cell.captured_at) for cell in record.cells]
    assert table["picture_id"].tolist() == [cell.cell_id for cell in record.cells]


def test_the_model_s_label_the_reviewer_s_and_the_final_one_stand_apart() -> None:
    record = usual()
    made = cells_csv(record, reviewed(record))
    table = pd.read_csv(io.BytesIO(made), keep_default_na=False).set_index("object_id")
    labels = table[["label_model", "label_reviewed", "label_final"]]
    assert labels.loc["r-s1-c4"].tolist() == ["uncertain", "smudge", "smudge"]
    assert labels.loc["r-s1-c12"].tolist() == ["uncertain", "normal", "normal"]
    assert labels.loc["r-s1-c2"].tolist() == ["blast", "", "blast"]
    assert frame_of(cells_csv(record))["label_reviewed"].isna().all()


def test_a_spreadsheet_knows_that_the_text_is_utf_8() -> None:
    made = cells_csv(usual(key=SlideKey(LONG, "scope-1", "s")))
    assert made.startswith(b"\xef\xbb\xbfsite,device")
    assert LONG.encode() in made


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\uff1d1"])
def test_no_name_is_taken_for_a_formula(name: str) -> None:
    record = usual(key=SlideKey(name, name, name), models=(name,), engines=(name,))
    review = reviewed(record, labels={"r-s1-c4": name})
    for made in (cells_csv(record, review), slides_csv([(record, review)]), cells_csv(record, review, comma=True)):
        rows = rows_of(made, ";" if b";" in made.splitlines()[0] else ",")
        assert not any(value.startswith(name) for row in rows for value in row)
        assert f"'{name}" in rows[1]


def test_numbers_below_zero_stay_numbers() -> None:
    assert set(frame_of(cells_csv(usual()))["x"]) == {-3}


def test_where_fractions_have_a_comma_columns_are_parted_by_semicolons() -> None:
    made = cells_csv(usual(), comma=True)
    table = pd.read_csv(io.BytesIO(made), sep=";", decimal=",")
    assert table["area_um2"].tolist() == [105.25] * 12
    pd.testing.assert_frame_equal(table, frame_of(cells_csv(usual())))


def test_half_of_a_surrogate_pair_does_no_harm() -> None:
    assert frame_of(cells_csv(usual(key=SlideKey("lab", "scope-1", "a\ud800"))))["slide_id"][0] == "a?"


def test_a_row_of_a_slide_has_both_counts_and_both_shares() -> None:
    record = usual()
    review = reviewed(record)
    table = frame_of(slides_csv([(record, review)]))
    assert tuple(table.columns) == SLIDE_COLUMNS
    row = table.iloc[0]
    assert (row.normal, row.blast, row.uncertain, row.not_judged, row.cells) == (7, 2, 2, 1, 12)
    assert (row.reviewed_normal, row.reviewed_blast, row.reviewed_uncertain, row.reviewed_cells) == (8, 2, 0, 11)
    model, people = wilson(2, 9), wilson(2, 10)
    assert model is not None
    assert people is not None
    assert (row.fraction, row.interval_low, row.interval_high) == (0.222222, model.low, model.high)
    assert (row.reviewed_fraction, row.reviewed_low, row.reviewed_high) == (0.2, people.low, people.high)
    assert (row.corrected_fraction, row.corrected_low, row.corrected_high) == (0.1987, 0.03, 0.55)
    assert (row.reviewed_apart, row.kappa, row.refused, row.frames) == ("smudge=1", 0.8123, 3, 40)
    assert row.signed_by == "Dr. Ada Example; Bert Beispiel"
    assert row.signed_at == "2026-01-31T13:15:00.000Z"


@pytest.mark.parametrize(
    "record", [large(30), usual(summaries=(summary(corrected_fraction=None),)), usual(summaries=())]
)
def test_a_corrected_share_that_no_one_summary_has_is_not_made_up(record: SlideRecord) -> None:
    row = frame_of(slides_csv([(record, None)])).iloc[0]
    assert row[["corrected_fraction", "corrected_low", "corrected_high"]].isna().all()


def test_slides_that_nobody_reviewed_or_that_hold_nothing_have_empty_columns() -> None:
    table = frame_of(slides_csv([(usual(), None), (empty(), None), (nothing(), None)]))
    assert table.filter(like="reviewed_").isna().all().all()
    assert table["state"].fillna("").tolist() == ["closed", "", "open"]
    assert table["fraction"].isna().tolist() == [False, True, True]
    assert table["first_at"].isna().tolist() == [False, False, True]


def test_the_hash_is_that_of_the_file_of_cells_and_changes_with_a_label() -> None:
    record = usual()
    review = reviewed(record)
    assert data_hash(record, review) == hashlib.sha256(cells_csv(record, review)).hexdigest()
    assert data_hash(record, review) != data_hash(record, replace(review, labels={}))
    assert data_hash(record) == data_hash(usual())


def test_no_slide_is_a_table_without_rows() -> None:
    assert rows_of(slides_csv([])) == [list(SLIDE_COLUMNS)]


def test_a_review_without_signatures_has_no_time() -> None:
    record = usual()
    review = reviewed(record, signatures=(), counts=Counts(), kappa=None, apart={})
    row = frame_of(slides_csv([(record, review)])).iloc[0]
    assert row[["signed_by", "signed_at", "kappa", "reviewed_fraction", "reviewed_apart"]].isna().all()
    assert row.first_at == NOON.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_the_documentation_names_every_column() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/exports.md").read_text(encoding="utf-8")
    assert [name for name in (*CELL_COLUMNS, *SLIDE_COLUMNS) if f"`{name}`" not in text] == []
