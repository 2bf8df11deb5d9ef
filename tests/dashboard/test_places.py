"""Frames lie where their reports, and those that come later, say; what can be no place on a slide has none."""

import itertools

import pytest

from contract.messages import FrameReport, Join, Position, Quality
from dashboard.places import Layout
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.test_records import record_of


class Stage:
    """Reports of a slide whose frames have places."""

    def __init__(self, make_report: MakeReport, make_cell: MakeCell, keep: Keep) -> None:
        self._report, self._cell, self._keep = make_report, make_cell, keep
        self.reports: list[FrameReport] = []
        self.numbers = itertools.count(1)

    def at(self, part: int, x: float, y: float, *cells: str, first: bool = False, **changes: object) -> None:
        """An accepted frame of 48 x 36 um; one without names of cells shows none."""
        number = next(self.numbers)
        place = Position.model_construct(part=part, x=x, y=y, confidence=0.0 if first else 0.9)
        seen = [self._cell(f"f{number}-{k}", name) for k, name in enumerate(cells)]
        self.reports.append(self._report(number, cells=seen, position_um=place, **changes))

    def refused(self, **changes: object) -> None:
        number = next(self.numbers)
        no = Quality(accepted=False, reasons=["wrong_scale"])
        self.reports.append(self._report(number, cells=[], quality=no, **changes))

    def layout(self) -> Layout:
        record = record_of(self._keep(self.reports))
        assert record
        return record.layout

    def places(self) -> list[tuple[int, float, float]]:
        return [(one.part, one.x, one.y) for one in self.layout().footprints]


@pytest.fixture
def stage(make_report: MakeReport, make_cell: MakeCell, keep: Keep) -> Stage:
    return Stage(make_report, make_cell, keep)


def test_a_frame_lies_where_its_report_says_and_is_as_large_as_its_pixels(stage: Stage) -> None:
    stage.at(1, 0, 0, first=True)
    stage.at(1, 30, -5)
    [_, second] = stage.layout().footprints
    assert (second.part, second.x, second.y, second.um_per_pixel) == (1, 30, -5, 0.075)
    assert (second.width, second.height) == pytest.approx((48, 36))


def test_parts_that_are_joined_are_one_from_then_on(stage: Stage) -> None:
    stage.at(1, 0, 0, first=True)
    stage.at(2, 0, 0, first=True)
    stage.at(2, 10, 0)
    stage.at(1, 60, 5, joined=Join(part=2, x=40, y=5))
    assert stage.places() == [(1, 0, 0), (1, 40, 5), (1, 50, 5), (1, 60, 5)]


def test_the_parts_of_another_count_are_others(stage: Stage) -> None:
    """Each count measures from a corner of its own; a count is known by its cells' names, or by its first frame."""
    stage.at(1, 0, 0, "r-s1-c1", first=True)
    stage.at(1, 10, 0)
    stage.at(1, 0, 0, "r-s2-c1", first=True)
    stage.at(1, 20, 0)
    stage.at(1, 0, 0, first=True)
    assert [part for part, _, _ in stage.places()] == [1, 1, 2, 2, 3]


def test_a_first_frame_without_cells_and_the_next_with_some_begin_one_count(stage: Stage) -> None:
    stage.at(1, 0, 0, "r-s1-c1", first=True)
    stage.at(1, 0, 0, first=True)
    stage.at(1, 20, 0, "r-s2-c1")
    assert [part for part, _, _ in stage.places()] == [1, 2, 2]


def test_frames_that_were_taken_back_have_no_place(stage: Stage) -> None:
    stage.at(1, 0, 0, "r-s1-c1", first=True)
    stage.at(1, 10, 0, "r-s1-c1", "r-s1-c2")
    stage.at(1, 20, 0)
    stage.refused(withdraws="r-s1-c2")
    stage.refused(withdraws="r-s1-c2")
    stage.at(1, 30, 0, "r-s1-c3")
    assert stage.places() == [(1, 0, 0), (1, 30, 0)]


@pytest.mark.parametrize(("x", "y"), [(1e300, 0), (0, -1e9), (200_001, 0)])
def test_a_place_that_can_be_none_on_a_slide_is_counted_as_such(stage: Stage, x: float, y: float) -> None:
    stage.at(1, 0, 0, first=True)
    stage.at(1, x, y)
    found = stage.layout()
    assert (len(found.footprints), found.astray) == (1, 1)


@pytest.mark.parametrize("scale", [1e300, 1e9])
def test_a_frame_that_is_larger_than_a_slide_has_no_place(stage: Stage, make_report: MakeReport, scale: float) -> None:
    stage.at(1, 0, 0, frame=make_report(1).frame.model_copy(update={"um_per_pixel": scale}))
    assert stage.layout() == Layout((), 1)


def test_a_place_that_a_join_makes_impossible_is_none(stage: Stage) -> None:
    stage.at(2, 0, 0, first=True)
    stage.at(1, 0, 0, joined=Join(part=2, x=1e308, y=1e308))
    assert stage.layout().astray == 1
