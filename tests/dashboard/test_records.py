"""A slide's record holds every cell once, by all its views."""

from agent.tools.montage import entries_of
from collector.queries import reading
from contract.messages import FrameReport, Join, Quality
from dashboard.records import Counts, SlideKey, SlideRecord, slide_record
from tests.dashboard.conftest import Keep, MakeCell, MakeReport

KEY = SlideKey("lab", "scope-1", "slide-7")


def record_of(address: str, key: SlideKey = KEY) -> SlideRecord | None:
    with reading(address) as connection:
        return slide_record(connection, key)


def slide(make_report: MakeReport, make_cell: MakeCell) -> list[FrameReport]:
    """Three frames: cell 1 is seen twice, cell 2 is 1 by another name, cell 3 is cut, and cell 4 is taken back."""
    return [
        make_report(1, cells=[make_cell("f1-1", "r-s1-c1", 0.7), make_cell("f1-2", "r-s1-c3", None, flags=["edge"])]),
        make_report(2, cells=[make_cell("f2-1", "r-s1-c2", 0.9), make_cell("f2-2", "r-s1-c4", 0.1)]),
        make_report(
            3,
            cells=[],
            quality=Quality(accepted=False, reasons=["wrong_scale"]),
            joined=Join(part=2, x=0, y=0, same={"r-s1-c2": "r-s1-c1"}),
            withdraws="r-s1-c4",
        ),
    ]


def test_a_cell_of_many_views_stands_once_as_the_montage_shows_it(
    keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    reports = slide(make_report, make_cell)
    record = record_of(keep(reports))
    assert record
    found = [(cell.object_id, cell.cell_id, cell.label, cell.views) for cell in record.cells]
    assert found == [("r-s1-c1", record.cells[0].cell_id, "blast", 2), ("r-s1-c3", "f1-2", "not_judged", 1)]
    shown = {entry.cell.cell_id: entry for entry in entries_of(reports)}
    for cell in record.cells:
        entry = shown[cell.cell_id]
        assert (cell.label, cell.probability, cell.views) == (entry.label, entry.probability, entry.views)
        assert (cell.frame_id, cell.box, cell.area_um2, cell.flags) == (
            entry.report.frame.id,
            tuple(entry.cell.box.model_dump().values()),
            entry.cell.area_um2,
            tuple(entry.cell.flags),
        )


def test_names_that_cells_no_longer_have_are_told_with_those_that_they_have_now(
    keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    record = record_of(keep(slide(make_report, make_cell)))
    assert record
    assert record.renamed == {"r-s1-c2": "r-s1-c1", "r-s1-c4": None}
    assert {cell.model_id for cell in record.cells} == {"blast-1"}


def test_a_slide_whose_cells_keep_their_names_has_none_renamed(
    keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    record = record_of(keep([make_report(1, cells=[make_cell("f1-1", "r-s1-c1")])]))
    assert record
    assert record.renamed == {}


def test_refused_frames_stand_with_their_reasons(keep: Keep, make_report: MakeReport, make_cell: MakeCell) -> None:
    record = record_of(keep(slide(make_report, make_cell)))
    assert record
    assert (record.frames, record.models, record.engines) == (3, ("blast-1",), ("onnxruntime-int8",))
    assert [(one.source, one.reasons) for one in record.refused] == [("smear-00003.png", ("wrong_scale",))]
    assert record.first_at is not None
    assert record.last_at is not None
    assert record.first_at <= record.last_at


def test_slides_of_one_name_of_two_microscopes_are_two(
    keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    address = keep(slide(make_report, make_cell))
    assert record_of(address, SlideKey("lab", "scope-2", "slide-7")) is None
    assert record_of(address, SlideKey("lab", "scope-1", "slide-8")) is None


def test_counts_hold_the_share_of_blasts_among_what_is_called_normal_or_blast() -> None:
    counts = Counts.of(["normal", "normal", "normal", "blast", "uncertain", "not_judged"])
    assert (counts.cells, counts.fraction) == (6, 0.25)
    assert counts.interval is not None
    assert counts.interval.low < 0.25 < counts.interval.high
    assert (Counts().fraction, Counts().interval) == (None, None)
