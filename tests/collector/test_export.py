"""What is exported, as programs of other people read it."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd
import pytest

from collector.arrivals import Arrival
from collector.export import Form, What, export
from collector.store import Store
from contract.messages import FrameReport, Interval, ModelInfo, Quality, SlideSummary

Make = Callable[..., FrameReport]
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
TIMES = [NOON, NOON.replace(microsecond=536_000)]
"""One report in a thousand has no fraction of a second."""


@pytest.fixture
def address(make_report: Make, tmp_path: Path) -> str:
    """A database of two reports, of a slide whose name is a formula."""
    found = f"sqlite:///{tmp_path / 'c.sqlite'}"
    with Store(found) as store:
        for seq, moment in enumerate(TIMES, start=1):
            report = make_report(seq, slide_id="=A1*2")
            report = report.model_copy(update={"frame": report.frame.model_copy(update={"captured_at": moment})})
            body = report.model_dump_json().encode()
            store.store([Arrival(f"microscopy/v1/{report.site}/{report.device}/frame", body, moment)])
    return found


def exported(address: str, what: What, form: Form) -> str:
    out = io.StringIO()
    export(address, what, form=form, slide_id=None, out=out)
    return out.getvalue()


@pytest.mark.parametrize("what", ["reports", "cells"])
def test_pandas_reads_the_times_of_a_table_as_utc(address: str, what: What) -> None:
    table = pd.read_csv(io.StringIO(exported(address, what, "csv")))
    assert set(table["captured_at"]) == {"2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.536Z"}
    assert sorted(set(pd.to_datetime(table["captured_at"]))) == [pd.Timestamp(moment) for moment in TIMES]


def test_json_lines_have_the_times_of_the_messages(address: str) -> None:
    rows = [json.loads(line) for line in exported(address, "cells", "jsonl").splitlines()]
    assert {row["captured_at"] for row in rows} == {"2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.536Z"}
    assert {row["slide_id"] for row in rows} == {"=A1*2"}


def test_reports_are_written_as_they_came_and_cells_as_later_reports_leave_them(
    make_report: Make, tmp_path: Path
) -> None:
    url, cell = f"sqlite:///{tmp_path / 'c.sqlite'}", make_report().cells[0]
    reports = [
        make_report(
            1, cells=[cell.model_copy(update={"object_id": f"r-s1-c{k}", "flags": ["a", "b"]}) for k in (1, 2)]
        ),
        make_report(2, cells=[], quality=Quality(accepted=False, reasons=["wrong_scale"]), withdraws="r-s1-c2"),
    ]
    with Store(url) as store:
        topic = "microscopy/v1/lab/scope-1/frame"
        store.store([Arrival(topic, report.model_dump_json().encode(), NOON) for report in reports])
    assert exported(url, "reports", "jsonl").splitlines() == [report.model_dump_json() for report in reports]
    [row] = [json.loads(line) for line in exported(url, "cells", "jsonl").splitlines()]
    assert (row["seq"], row["object_id"], row["flags"]) == (1, "r-s1-c1", "a b")
    [written] = csv.DictReader(io.StringIO(exported(url, "cells", "csv")))
    assert written == {name: str(value) for name, value in row.items()}
    assert "withdraws" not in exported(url, "reports", "csv")


def test_a_name_that_is_a_formula_stands_behind_a_quote_and_numbers_stay_numbers(address: str) -> None:
    table = pd.read_csv(io.StringIO(exported(address, "reports", "csv")))
    assert set(table["slide_id"]) == {"'=A1*2"}
    assert table["seq"].tolist() == [1, 2]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_whatever_a_formula_begins_with_stands_behind_a_quote(make_report: Make, tmp_path: Path, first: str) -> None:
    """In every column that others fill: a file's name, too, and a slide's in its summary."""
    url, name = f"sqlite:///{tmp_path / 'c.sqlite'}", f"{first}cmd|' /C calc'!A0"
    report = make_report(1, slide_id=name)
    report = report.model_copy(update={"frame": report.frame.model_copy(update={"source": name, "id": name})})
    with Store(url) as store:
        store.store([Arrival("microscopy/v1/lab/scope-1/frame", report.model_dump_json().encode(), NOON)])
    kinds: tuple[What, ...] = ("reports", "cells")
    for what in kinds:
        rows = list(csv.reader(io.StringIO(exported(url, what, "csv"))))
        assert f"'{name}" in rows[1]
        assert not any(cell.startswith(first) for cell in rows[1])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("what", ["reports", "cells"])
def test_text_that_damage_made_bytes_of_is_told_as_far_as_it_can_be_read(
    address: str, tmp_path: Path, what: What, form: Form
) -> None:
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as database, database:
        for table in ("report", "cell"):
            for _, name, kind, *_ in database.execute(f"pragma table_info({table})").fetchall():
                if kind.upper().startswith(("VARCHAR", "TEXT")):
                    database.execute(f"update {table} set {name} = x'61ff'")  # noqa: S608 - our own names
    text = exported(address, what, form)
    assert "a\ufffd" in text or "a\\ufffd" in text
    assert "b'" not in text


def test_a_summary_of_a_slide_is_a_row_of_numbers(address: str) -> None:
    summary = SlideSummary(
        slide_id="s7", count_id="r-s1", state="closed", started_at=NOON, ended_at=TIMES[1], at=NOON, frames=40,
        refused=3, refused_by={"empty": 2, "motion": 1}, cells=50, normal=39, blasts=9, uncertain=0, not_judged=2,
        blast_fraction=0.1875, blast_interval=Interval(low=0.102, high=0.319, level=0.95), jumps=1,
        model=ModelInfo(id="blast-2", sha256="0" * 64, engine="onnxruntime-int8"), corrected_fraction=0.1774,
        corrected_interval=Interval(low=0.08, high=0.31, level=0.95), enough_cells="no",
    )  # fmt: skip
    empty = summary.model_copy(
        update={"slide_id": "s8", "ended_at": None, "refused_by": {}, "blast_fraction": None, "blast_interval": None}
    )
    with Store(address) as store:
        for one in (summary, empty):
            store.store([Arrival("microscopy/v1/lab/scope-1/slide", one.model_dump_json().encode(), NOON)])
    table = pd.read_csv(io.StringIO(exported(address, "slides", "csv"))).set_index("slide_id")
    assert "body" not in table
    row = table.loc["s7"]
    assert (row["site"], row["device"], row["count_id"], row["state"]) == ("lab", "scope-1", "r-s1", "closed")
    assert row[["frames", "refused", "cells", "normal", "blasts", "uncertain", "not_judged", "jumps"]].tolist() == [
        40, 3, 50, 39, 9, 0, 2, 1,
    ]  # fmt: skip
    assert (row["blast_fraction"], row["blast_interval_low"], row["blast_interval_high"]) == (0.1875, 0.102, 0.319)
    assert row[["corrected_fraction", "corrected_interval_high", "enough_cells"]].tolist() == [0.1774, 0.31, "no"]
    assert (row["refused_by"], row["model_id"]) == ("empty=2 motion=1", "blast-2")
    assert pd.to_datetime(row["ended_at"]) == pd.Timestamp(TIMES[1])
    assert pd.isna(table.loc["s8"][["ended_at", "refused_by", "blast_fraction", "blast_interval_low"]]).all()
    assert json.loads(exported(address, "slides", "jsonl").splitlines()[0]) == summary.model_dump(mode="json")
