"""Rows are typed, and cells are told as later reports leave them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from agent.slides.slide import Slide
from agent.vision.segmentation import find_cells
from collector import tables
from collector.arrivals import Arrival
from collector.database import open_engine
from collector.queries import CellRow, FrameRow, SlideRow, cells, frame, frames, reading, report_bodies, slides, streams
from collector.store import Store
from contract.health_messages import Health
from contract.messages import BoxReport, CellReport, FrameReport, Join, ModelInfo, Quality, SlideSummary
from tests.agent.test_slide import SURE, WRONG_SCALE, Point, whole_cells
from tests.slides import UM, camera, frame_of, judged, new_slide

Make = Callable[..., FrameReport]
REFUSED = Quality(accepted=False, reasons=["wrong_scale"])
ROW: list[Point] = [(x, 0.0) for x in (0.0, 40.0, 80.0, 230.0, 165.0, 100.0)]
"""Two parts of a slide, and at last what joins them."""
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
WRONG = None
"""In a path: a frame that is refused for its scale."""


@pytest.fixture
def reporting(make_report: Make) -> Callable[..., FrameReport]:
    """Build a report of cells with these names: ``reporting(seq, *names, **changes)``."""
    plain = make_report().cells[0]

    def report(seq: int, *names: str, **changes: Any) -> FrameReport:
        cells = [plain.model_copy(update={"object_id": name}) for name in names]
        return make_report(seq, **{"cells": cells, **changes})

    return report


def told(database: str, slide_id: str | None = None) -> list[CellRow]:
    with reading(database) as connection:
        return list(cells(connection, slide_id))


def names(database: str, slide_id: str | None = None) -> list[tuple[int, str]]:
    """Number of the report, and name of the cell, of each row."""
    return [(row.seq, row.object_id) for row in told(database, slide_id)]


def keep(database: str, reports: Sequence[FrameReport]) -> None:
    with Store(database) as store:
        arrivals = [
            Arrival(f"test/v1/lab/{report.device}/frame", report.model_dump_json().encode(), datetime.now(timezone.utc))
            for report in reports
        ]
        assert store.store(arrivals).quarantined == 0


def test_the_rows_of_frames_and_cells_are_those_of_the_reports(database: str, reporting: Make) -> None:
    reports = [reporting(1, "r-s1-c1", "r-s1-c2"), reporting(2, quality=REFUSED, slide_id="other")]
    keep(database, reports)
    with reading(database) as connection:
        found = list(frames(connection))
        assert list(frames(connection, "other")) == found[1:]
        assert list(report_bodies(connection)) == [report.model_dump_json() for report in reports]
    for row, report in zip(found, reports, strict=True):
        assert isinstance(row, FrameRow)
        assert (row.device, row.epoch, row.seq, row.site) == (report.device, report.epoch, report.seq, report.site)
        assert (row.slide_id, row.source) == (report.slide_id, report.frame.source)
        assert row.captured_at == FrameReport.model_validate_json(report.model_dump_json()).frame.captured_at
        assert row.received_at.utcoffset() == timedelta(0)
        assert (row.accepted, row.reasons) == (report.quality.accepted, tuple(report.quality.reasons))
        assert row.cells == len(report.cells)
    named, cell = told(database)[1], reports[0].cells[1]
    assert (named.number, named.object_id, named.label, named.flags) == (2, "r-s1-c2", "normal", ())
    assert (named.x, named.y, named.width, named.height) == (cell.box.x, cell.box.y, cell.box.width, cell.box.height)
    assert (named.area_um2, named.probability, named.captured_at) == (105.0, 0.03, found[0].captured_at)


def test_one_frame_is_told_with_its_cells_as_later_reports_leave_them(database: str, reporting: Make) -> None:
    reports = [
        reporting(1, "r-s1-c1", "r-s1-c2", "r-s1-c3"),
        reporting(2, "r-s1-c1", joined=Join(part=2, x=0, y=0, same={"r-s1-c2": "r-s1-c1"})),
        reporting(3, quality=REFUSED, withdraws="r-s1-c3"),
    ]
    keep(database, reports)
    with reading(database) as connection:
        found = frame(connection, "scope-1", reports[0].epoch, 1)
        assert frame(connection, "scope-1", reports[0].epoch, 4) is None
        assert frame(connection, "scope-2", reports[0].epoch, 1) is None
    assert found is not None
    assert (found.row.seq, found.row.cells, found.body) == (1, 3, reports[0].model_dump_json())
    assert [(cell.number, cell.object_id) for cell in found.cells] == [(1, "r-s1-c1"), (2, "r-s1-c1")]


def test_a_summary_that_another_release_wrote_in_another_form_is_a_row_without_a_message(database: str) -> None:
    bodies = [b'{"slide_id": "s1"}', summary_of("s2").model_dump_json().encode()]
    with Store(database) as store:
        store.store([Arrival("test/v1/lab/scope-1/slide", body, NOON) for body in bodies])
    with reading(database) as connection:
        found = {row.slide_id: row for row in slides(connection)}
        assert list(slides(connection, "s2")) == [found["s2"]]
    assert isinstance(found["s1"], SlideRow)
    assert (found["s1"].summary, found["s2"].summary) == (None, summary_of("s2"))
    assert (found["s1"].body.encode(), found["s1"].received_at) == (bodies[0], NOON)


def summary_of(slide_id: str) -> SlideSummary:
    return SlideSummary(
        slide_id=slide_id, count_id="", state="open", started_at=NOON, at=NOON, frames=1, refused=0, cells=0, normal=0,
        blasts=0, uncertain=0, not_judged=0, jumps=0, model=ModelInfo(id="m", sha256="", engine="none"),
    )  # fmt: skip


def test_a_stream_says_what_is_missing_what_is_gone_and_what_came_before(database: str, reporting: Make) -> None:
    keep(database, [reporting(seq) for seq in (3, 5, 8)])
    health = Health(at=NOON, frames=0, refused=0, cells=0, queued=0, engine="", epoch=reporting(3).epoch, oldest=5)
    with Store(database) as store:
        store.store([Arrival("test/v1/lab/scope-1/health", health.model_dump_json().encode(), NOON)])
    with reading(database) as connection:
        [row] = streams(connection)
    assert (row.site, row.device, row.reports, row.highest, row.upto) == ("lab", "scope-1", 3, 8, 5)
    assert (row.missing, row.gone, row.earlier) == (((6, 7),), ((4, 4),), ((1, 2),))


def test_what_was_taken_back_is_not_told(database: str, reporting: Make) -> None:
    reports = [
        reporting(1, "r-s1-c1", "r-s2-c8"),
        reporting(2, "r-s1-c1", "r-s1-c2", "r-s1-c10"),
        reporting(3, quality=REFUSED, withdraws="r-s1-c2"),
        reporting(4, quality=REFUSED, withdraws="r-s1-c2"),
        reporting(5, "r-s1-c1", "r-s1-c11"),
    ]
    keep(database, reports[::-1])
    assert sorted(names(database)) == [
        (1, "r-s1-c1"),
        (1, "r-s2-c8"),  # of another count
        (2, "r-s1-c1"),
        (5, "r-s1-c1"),
        (5, "r-s1-c11"),  # seen after the scale had been put right
    ]


def test_another_agents_cells_of_the_same_name_stay(database: str, reporting: Make) -> None:
    keep(database, [reporting(1, "c-c1"), reporting(1, "c-c1", epoch="other"), reporting(1, "c-c1", device="scope-2")])
    keep(database, [reporting(2, quality=REFUSED, withdraws="c-c1")])
    assert len(names(database)) == 2


def test_a_cell_that_two_parts_knew_is_told_under_the_name_that_stays(database: str, reporting: Make) -> None:
    reports = [
        reporting(1, "r-s1-c1"),
        reporting(2, "r-s1-c2", "r-s1-c3"),
        reporting(3, "r-s1-c1", joined=Join(part=2, x=1, y=0, same={"r-s1-c3": "r-s1-c2"})),
        reporting(4, "r-s1-c1", joined=Join(part=3, x=1, y=0, same={"r-s1-c2": "r-s1-c1"})),
    ]
    keep(database, reports)
    assert names(database) == [(seq, "r-s1-c1") for seq in (1, 2, 2, 3, 4)]


def test_one_slide_is_told_as_all_are(database: str, reporting: Make) -> None:
    reports = [
        reporting(1, "r-s1-c1", "r-s1-c2", slide_id="a"),
        reporting(2, "r-s1-c1", slide_id="a", joined=Join(part=2, x=0, y=0, same={"r-s1-c2": "r-s1-c1"})),
        reporting(3, "r-s2-c1", slide_id="b"),
        reporting(4, slide_id="b", withdraws="r-s2-c1"),
    ]
    keep(database, reports)
    assert names(database, slide_id="a") == names(database) == [(1, "r-s1-c1"), (1, "r-s1-c1"), (2, "r-s1-c1")]
    assert names(database, slide_id="b") == []


def test_a_cell_is_taken_back_by_the_name_that_it_then_bore(database: str, reporting: Make) -> None:
    """The slide had put the views of both names together; in whatever order the reports come."""
    reports = [
        reporting(2, *(f"r-s1-c{number}" for number in range(1, 10))),
        reporting(3, joined=Join(part=1, x=0, y=0, same={"r-s1-c1": "r-s1-c7", "r-s1-c6": "r-s1-c2"})),
        reporting(4, withdraws="r-s1-c5"),
        reporting(6, joined=Join(part=2, x=0, y=0, same={"r-s1-c3": "r-s1-c10"})),
    ]
    keep(database, reports[::-1])
    assert [name for _, name in names(database)] == ["r-s1-c2", "r-s1-c10", "r-s1-c4", "r-s1-c2"]


def test_names_that_lead_in_a_long_circle_and_numbers_without_end_do_not_stop_the_export(
    database: str, reporting: Make
) -> None:
    many = 9000
    circle = {f"r-s1-c{number}": f"r-s1-c{number % many + 1}" for number in range(1, many + 1)}
    keep(
        database,
        [
            reporting(1, *list(circle)[:2000]),
            reporting(2, joined=Join(part=1, x=0, y=0, same=circle), withdraws="r-s1-c" + "9" * 200),
        ],
    )
    assert len(names(database)) == 2000


def test_a_report_that_an_earlier_release_kept_and_this_one_does_not_read_is_passed_over(
    database: str, reporting: Make
) -> None:
    keep(database, [reporting(1, "r-s1-c1")])
    engine = open_engine(database)
    with engine.begin() as connection:
        found = connection.execute(sa.select(tables.report)).one()._asdict()
        body = found["body"].replace('"withdraws":""', '"withdraws":"r-s1-c' + "9" * 5000 + '"')
        row = {**found, "id": 2, "seq": 2, "body": body, "withdraws": None}
        connection.execute(sa.insert(tables.report), row)
    engine.dispose()
    assert names(database) == [(1, "r-s1-c1")]


@pytest.mark.parametrize(
    "path",
    [
        [*ROW, WRONG],
        [*ROW[:3], WRONG, *ROW],
        [*ROW, *[ROW[-1]] * 41, WRONG, *ROW],
        [*ROW[:2], *[ROW[1]] * 44, *ROW[2:], WRONG],
    ],
    ids=["all taken back", "and again", "from the third on", "what was joined lately"],
)
def test_the_cells_that_are_told_are_those_of_the_slides_summary(
    path: Sequence[Point | None], tmp_path: Path, make_report: Make
) -> None:
    database, slide = f"sqlite:///{tmp_path / 'collector.sqlite'}", new_slide()
    reports = [make_report(seq, **said) for seq, said in enumerate(map(seen_by(slide), path), start=1)]
    assert any(report.withdraws for report in reports)
    keep(database, reports)
    whole = {row.object_id for row in told(database) if row.label != "not_judged"}
    assert len(whole) == whole_cells(slide.summary())


def seen_by(slide: Slide) -> Callable[[Point | None], dict[str, Any]]:
    """What a slide makes of a place of the stage: the fields of its report."""
    made, rng = camera(white_cells=8), np.random.default_rng(3)

    def see(place: Point | None) -> dict[str, Any]:
        frame = frame_of(made.look(*(place or ROW[0]), blur_um=0.2, rng=rng)[0])
        predictions = judged(find_cells(frame.image, UM)) if place else []
        sighting = slide.see(frame, SURE if place else WRONG_SCALE, predictions)
        cells = [
            CellReport(
                cell_id="",
                box=BoxReport(x=0, y=0, width=0, height=0),
                area_um2=0,
                label="normal",
                probability=0.05,
                flags=list(prediction.cell.flags),
                object_id=name,
            )
            for prediction, name in zip(predictions, sighting.object_ids, strict=True)
        ]
        return {"cells": cells, "withdraws": sighting.withdraws, "joined": sighting.joined}

    return see
