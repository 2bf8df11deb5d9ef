"""Two models are compared by the very same cells of the very same pictures, and by nothing else."""

from datetime import datetime, timedelta, timezone

from collector import queries
from contract.messages import BoxReport, CellReport, FrameReport, ModelInfo, Quality
from dashboard.history.flips import Comparison, compare
from dashboard.records import SlideKey
from tests.dashboard.conftest import Keep, MakeCell, MakeReport

KEY = SlideKey("lab", "scope-1", "slide-7")
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class Smear:
    """Reports of pictures of a folder, in the order in which they are judged."""

    def __init__(self, make_report: MakeReport, make_cell: MakeCell) -> None:
        self._report, self._cell = make_report, make_cell
        self.reports: list[FrameReport] = []

    def judge(
        self, model: str, picture: str, *probabilities: float | None, at: datetime = NOON, **changes: object
    ) -> None:
        """A model sees a picture with these cells, each in a place of its own."""
        number = len(self.reports) + 1
        plain = self._report(number)
        cells = [self._seen(number, place, probability) for place, probability in enumerate(probabilities)]
        facts = {
            "frame": plain.frame.model_copy(update={"source": picture, "captured_at": at}),
            "model": ModelInfo(id=model, sha256="0" * 64, engine="onnxruntime-int8"),
            "cells": cells,
        }
        self.reports.append(plain.model_copy(update={**facts, **changes}))

    def _seen(self, number: int, place: int, probability: float | None) -> CellReport:
        box = BoxReport(x=100 * place, y=20, width=50, height=40)
        return self._cell(f"run-{number}-{place}", f"r-s{number}-c{place}", probability, box=box)


def compared(smear: Smear, keep: Keep, before: str = "blast-7", after: str = "blast-8") -> Comparison:
    with queries.reading(keep(smear.reports)) as connection:
        return compare(connection, KEY, before, after)


def test_a_cell_that_another_model_calls_something_else_is_found_by_picture_and_box(
    make_report: MakeReport, make_cell: MakeCell, keep: Keep
) -> None:
    smear = Smear(make_report, make_cell)
    smear.judge("blast-7", "a.png", 0.02, 0.5, 0.9)
    smear.judge("blast-7", "b.png", 0.1)
    smear.judge("blast-8", "a.png", 0.03, 0.97, 0.2)
    smear.judge("blast-8", "b.png", 0.15)
    found = compared(smear, keep)
    assert (found.pictures, len(found.pairs), found.alone) == (2, 4, 0)
    flips = [(pair.picture.source, pair.before.label, pair.after.label) for pair in found.flips]
    assert flips == [("a.png", "blast", "normal"), ("a.png", "uncertain", "blast")]
    assert found.table == {("normal", "normal"): 2, ("uncertain", "blast"): 1, ("blast", "normal"): 1}


def test_pictures_of_one_name_that_were_taken_at_two_times_are_two_pictures(
    make_report: MakeReport, make_cell: MakeCell, keep: Keep
) -> None:
    smear = Smear(make_report, make_cell)
    smear.judge("blast-7", "camera", 0.02)
    smear.judge("blast-8", "camera", 0.97, at=NOON + timedelta(milliseconds=1))
    found = compared(smear, keep)
    assert (found.pictures, found.pairs) == (0, ())


def test_a_box_that_only_one_run_has_found_is_counted_and_matched_with_nothing(
    make_report: MakeReport, make_cell: MakeCell, keep: Keep
) -> None:
    smear = Smear(make_report, make_cell)
    smear.judge("blast-7", "a.png", 0.02, 0.9)
    smear.judge("blast-8", "a.png", 0.02)
    found = compared(smear, keep)
    assert (len(found.pairs), found.alone) == (1, 1)


def test_the_latest_word_of_a_model_counts(make_report: MakeReport, make_cell: MakeCell, keep: Keep) -> None:
    smear = Smear(make_report, make_cell)
    smear.judge("blast-7", "a.png", 0.02)
    smear.judge("blast-8", "a.png", 0.9)
    smear.judge("blast-8", "a.png", 0.03)
    assert compared(smear, keep).flips == ()


def test_refused_pictures_and_other_slides_are_left_out(
    make_report: MakeReport, make_cell: MakeCell, keep: Keep
) -> None:
    smear = Smear(make_report, make_cell)
    smear.judge("blast-7", "a.png", quality=Quality(accepted=False, reasons=["motion"]))
    smear.judge("blast-8", "a.png", 0.9)
    smear.judge("blast-7", "b.png", 0.02, slide_id="slide-8")
    smear.judge("blast-8", "b.png", 0.9)
    assert compared(smear, keep).pictures == 0
