"""What is kept of a frame and of its cells."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from agent.pictures.cutting import CELL_PX, FRAME_PX, annotated, pictures_of
from contract.messages import BoxReport, FrameReport
from contract.pixels import BEYOND, continued, square_around
from tests.kept import decoded, noise, seen

Make = Callable[..., FrameReport]
MIDDLE = BoxReport(x=280, y=200, width=80, height=60)


def test_a_cell_is_shown_with_the_pixels_of_its_frame_and_its_surroundings(make_report: Make) -> None:
    frame, report = seen(make_report, MIDDLE)
    whole, cell = pictures_of(frame, report, field_um=16.0)
    assert (whole.kind, whole.id, cell.kind, cell.id) == ("frame", "run-00000001", "cell", "run-00000001-1")
    assert (cell.info.media_type, cell.info.width, cell.info.height, cell.info.um_per_pixel) == (
        "image/png",
        240,
        240,
        0.1,
    )
    assert np.array_equal(decoded(cell.data), frame.image[110:350, 200:440])
    assert cell.info.box == BoxReport(x=80, y=90, width=80, height=60)


def test_a_picture_that_is_larger_than_the_bound_is_made_smaller_and_says_its_scale(make_report: Make) -> None:
    frame, report = seen(make_report, MIDDLE, image=noise(1200, 2560))
    whole, cell = pictures_of(frame, report, field_um=34.14)
    assert (cell.info.width, cell.info.height, cell.info.um_per_pixel) == (CELL_PX, CELL_PX, 0.2)
    assert cell.info.box == BoxReport(x=108, y=113, width=40, height=30)
    assert (whole.info.width, whole.info.height, whole.info.um_per_pixel) == (FRAME_PX, 600, 0.2)
    assert decoded(whole.data).shape == (600, FRAME_PX, 3)


def test_beyond_the_border_of_the_frame_there_is_nothing_but_grey(make_report: Make) -> None:
    frame, report = seen(make_report, BoxReport(x=0, y=0, width=40, height=40))
    _, cell = pictures_of(frame, report, field_um=8.0)
    picture = decoded(cell.data)
    assert cell.info.box == BoxReport(x=40, y=40, width=40, height=40)
    assert np.array_equal(picture[40:, 40:], frame.image[:80, :80])
    assert (picture[:40] == BEYOND).all()
    assert (picture[:, :40] == BEYOND).all()


@pytest.mark.parametrize("um_per_pixel", [0.1, 0.04], ids=["as it is", "made smaller"])
@pytest.mark.parametrize("place", [(0, 0), (600, 440), (0, 200), (300, 440), (300, 200)])
def test_of_such_a_picture_what_a_network_sees_can_be_made_again(
    make_report: Make, place: tuple[int, int], um_per_pixel: float
) -> None:
    """But for the frame's outermost pixels, which a picture that was made smaller mixes with the grey."""
    blurred = cv2.GaussianBlur(noise(480, 640).astype(np.float32), (0, 0), 12)
    smooth = np.asarray(np.interp(blurred, (blurred.min(), blurred.max()), (0, 255)), np.uint8)
    frame, report = seen(make_report, BoxReport(x=place[0], y=place[1], width=40, height=40), image=smooth)
    frame = replace(frame, um_per_pixel=um_per_pixel)
    _, cell = pictures_of(frame, report, field_um=8.0)
    side, middle = round(12.0 / um_per_pixel), (place[0] + 20, place[1] + 20)
    square, _ = square_around(smooth, middle, side)
    wanted = cv2.resize(square, (cell.info.width, cell.info.height), interpolation=cv2.INTER_AREA)
    apart = np.abs(continued(decoded(cell.data)).astype(int) - wanted.astype(int)).max()
    assert apart <= 20, "one pixel of this picture differs from the next by so many of 256 levels"


def test_a_cell_that_is_larger_than_the_field_is_shown_whole(make_report: Make) -> None:
    frame, report = seen(make_report, BoxReport(x=200, y=100, width=200, height=150))
    _, cell = pictures_of(frame, report, field_um=8.0)
    assert cell.info.width == 220
    assert cell.info.box == BoxReport(x=10, y=35, width=200, height=150)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_frame_is_drawn_upon_where_the_kept_picture_shows_its_cells(make_report: Make, *, accepted: bool) -> None:
    frame, report = seen(make_report, MIDDLE, image=np.full((960, 2560, 3), 230, np.uint8))
    quality = report.quality.model_copy(update={"accepted": accepted, "reasons": [] if accepted else ["motion"]})
    report = report.model_copy(update={"quality": quality, "cells": report.cells if accepted else []})
    whole, *_ = pictures_of(frame, report, field_um=16.0)
    drawn = annotated(whole)
    picture = decoded(drawn.data)
    assert (drawn.info.height, drawn.info.width) == picture.shape[:2]
    assert drawn.info.height > whole.info.height
    marked = np.argwhere(np.abs(picture[:480].astype(int) - 230).max(axis=2) > 60)
    assert bool(len(marked)) == accepted
    if accepted:
        assert marked[:, 1].min() >= 130
        assert {140, 179} <= set(marked[:, 1])
