"""What an agent takes back counts no more."""

from collections.abc import Callable

from contract.messages import FrameReport, Join, Quality
from contract.sightings import Sightings

MakeReport = Callable[..., FrameReport]
WRONG = Quality(accepted=False, reasons=["wrong_scale"])


def showing(make_report: MakeReport, seq: int, *names: str) -> FrameReport:
    cell = make_report().cells[0].model_copy(update={"label": "blast", "flags": []})
    return make_report(seq, cells=[cell.model_copy(update={"object_id": name}) for name in names])


def refused(make_report: MakeReport, seq: int, withdraws: str) -> FrameReport:
    return make_report(seq, quality=WRONG, cells=[]).model_copy(update={"withdraws": withdraws})


def counted(*reports: FrameReport) -> tuple[int, int]:
    seen = Sightings()
    for report in reports:
        seen.add(report)
    return seen.kinds["blast"], seen.taken_back


def test_cells_of_the_count_from_the_named_one_on_are_taken_back_once(make_report: MakeReport) -> None:
    reports = [showing(make_report, 1, "r-s1-c9", "r-s1-c10"), showing(make_report, 2, "r-s1-c11", "r-s2-c12")]
    assert counted(*reports, *(refused(make_report, seq, "r-s1-c10") for seq in (3, 4))) == (2, 2)


def test_what_comes_after_counts_again_and_may_be_taken_back_again(make_report: MakeReport) -> None:
    first, wrong = showing(make_report, 1, "r-s1-c1"), refused(make_report, 2, "r-s1-c1")
    again = showing(make_report, 3, "r-s1-c1", "r-s1-c2")
    assert counted(first, wrong, again) == (2, 1)
    assert counted(first, wrong, again, refused(make_report, 4, "r-s1-c1")) == (0, 3)


def test_a_cell_that_goes_on_under_an_earlier_name_is_not_taken_back(make_report: MakeReport) -> None:
    reports = [showing(make_report, 1, "r-s1-c1", "r-s1-c7"), showing(make_report, 2)]
    reports[1] = reports[1].model_copy(update={"joined": Join(part=2, x=0, y=0, same={"r-s1-c7": "r-s1-c1"})})
    assert counted(*reports, refused(make_report, 3, "r-s1-c5")) == (2, 0)


def test_names_that_are_no_cells_take_nothing_back(make_report: MakeReport) -> None:
    for odd in ("c1", "r-s1-c", "r-s1-cx", "r-s1-c" + "9" * 5000, ""):
        assert counted(showing(make_report, 1, "r-s1-c1", "", odd), refused(make_report, 2, odd)) == (3, 0)
