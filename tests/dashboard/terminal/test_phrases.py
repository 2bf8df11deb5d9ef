"""Plain lines say what has changed."""

import io
from collections.abc import Callable

from rich.console import Console

from contract.messages import FrameReport, Quality
from dashboard.terminal.phrases import NO_SLIDE, line_of
from dashboard.terminal.table import picture
from dashboard.terminal.tally import Tally
from tests.tallying import take

Make = Callable[..., FrameReport]


def said_of(reports: list[FrameReport]) -> list[str]:
    """What the plain dashboard says of each."""
    return [line_of(report, before) for report, before in zip(reports, [None, *reports[:-1]], strict=True)]


def test_what_to_do_about_a_fault_is_said_once_while_it_lasts(make_report: Make) -> None:
    blurred = Quality(accepted=False, reasons=["out_of_focus"], detail="sharpness 0.51: focus again")
    worse = blurred.model_copy(update={"detail": "sharpness 0.50: focus again"})
    empty = Quality(accepted=False, reasons=["empty"], detail="move to the cells")
    both = Quality(accepted=False, reasons=["empty", "out_of_focus"], detail="move to the cells; focus again")
    qualities = [blurred, worse, both, empty, Quality(accepted=True), blurred]
    lines = said_of([make_report(k, quality=seen) for k, seen in enumerate(qualities, start=1)])
    assert ["focus again" in line or "move to" in line for line in lines] == [True, False, True, False, False, True]
    assert lines[1].endswith("not judged (out_of_focus)")


def test_frames_that_belong_to_no_slide_are_told_once_in_lines_and_always_in_the_table(make_report: Make) -> None:
    tally, reports = Tally(), [make_report(1)]
    reports += [make_report(k).model_copy(update={"slide_id": ""}) for k in (2, 3)]
    assert [NO_SLIDE in line for line in said_of(reports)] == [False, True, False]
    for report, warned in zip(reports, (False, True, True), strict=True):
        take(tally, report)
        drawn = Console(width=120, file=io.StringIO(), record=True)
        drawn.print(picture(tally))
        assert (NO_SLIDE in drawn.export_text()) == warned
