"""What is drawn into a frame."""

from datetime import datetime, timezone

import numpy as np
import pytest

from contract.labels import LABELS, Label
from contract.messages import BoxReport, CellReport, FrameInfo, FrameReport, ModelInfo, Quality
from contract.types import Image
from rendering.annotate import annotate
from rendering.legend import COLOURS

GREY = 170


def blank(height: int = 480, width: int = 640) -> Image:
    return np.full((height, width, 3), GREY, np.uint8)


def report(*cells: CellReport, quality: Quality | None = None) -> FrameReport:
    return FrameReport(
        device="d",
        site="s",
        epoch="e",
        seq=1,
        slide_id="x",
        frame=FrameInfo(
            id="f", source="f.png", captured_at=datetime.now(timezone.utc), width=640, height=480, um_per_pixel=0.1
        ),
        quality=quality or Quality(accepted=True),
        cells=list(cells),
        model=ModelInfo(id="m", sha256="", engine="none"),
    )


def cell(
    label: Label = "blast", *, x: int = 200, y: int = 150, size: int = 120, flags: tuple[str, ...] = ()
) -> CellReport:
    box = BoxReport(x=x, y=y, width=size, height=size)
    probability = None if label == "not_judged" else 0.97
    return CellReport(cell_id="c", box=box, area_um2=150, label=label, probability=probability, flags=list(flags))


def changed(image: Image, drawn: Image) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.asarray((image != drawn[: len(image)]).any(axis=2))


def test_the_frame_itself_is_left_as_it_is() -> None:
    image = blank()
    drawn = annotate(image, report(cell()))
    assert (image == GREY).all()
    assert drawn.shape[1] == image.shape[1]
    assert drawn.shape[0] > image.shape[0]


def test_a_report_without_cells_changes_nothing_of_the_frame() -> None:
    assert np.array_equal(annotate(blank(), report())[:480], blank())


def test_an_outline_is_drawn_in_place_of_the_box() -> None:
    ring = np.array([(260 + 50 * np.cos(t), 210 + 50 * np.sin(t)) for t in np.linspace(0, 6.28, 60)], np.int32)
    drawn = annotate(blank(), report(cell()), [ring])
    assert tuple(drawn[210, 310]) == COLOURS["blast"]
    assert (drawn[265, 195:325] == GREY).all()


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    """At 0.1 um per pixel, 10 um are 100 pixels, in white on the strip."""
    strip = annotate(blank(), report())[480:498]
    assert (strip[10, 8:109] == 255).all()
    assert not (strip[10, 112] == 255).any()


@pytest.mark.parametrize("label", LABELS)
def test_the_box_has_the_colour_of_its_label_and_leaves_the_cell_to_be_seen(label: Label) -> None:
    drawn = annotate(blank(), report(cell(label)))
    assert tuple(drawn[210, 200]) == COLOURS[label]
    assert (drawn[160:260, 210:310] == GREY).all()


def test_longer_words_make_the_label_longer() -> None:
    short, long = (changed(blank(), annotate(blank(), report(cell(said)))) for said in ("blast", "uncertain"))
    assert long[:150].sum() > short[:150].sum()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (560, 0), (0, 400), (560, 400)])
def test_a_label_at_the_border_stays_in_the_frame(x: int, y: int) -> None:
    """The label's ground is as large as in the middle of the frame."""
    middle = annotate(blank(), report(cell(x=200, y=200, size=80)))
    corner = annotate(blank(), report(cell(x=x, y=y, size=80)))
    ground = [(drawn == COLOURS["blast"]).all(axis=2).sum() for drawn in (middle, corner)]
    assert ground[1] > 0.8 * ground[0]


def test_a_label_stands_where_it_hides_no_other_cell() -> None:
    """Above it where there is room, else below or beside it."""
    upper, lower = cell(x=200, y=60), cell("normal", x=210, y=190)
    drawn = annotate(blank(), report(upper, lower))
    assert (drawn[65:175, 205:315] == GREY).all()
    assert (drawn[195:305, 215:325] == GREY).all()


def test_labels_do_not_hide_each_other() -> None:
    side_by_side = [cell(x=x, y=200, size=20) for x in (200, 225, 250)]
    drawn = [annotate(blank(), report(*cells))[:480] for cells in (*([one] for one in side_by_side), side_by_side)]
    *alone, together = ((picture == COLOURS["blast"]).all(axis=2).sum() for picture in drawn)
    assert together == pytest.approx(sum(alone), rel=0.02)


def test_a_refused_frame_stays_to_be_seen_and_the_strip_grows_with_its_reasons() -> None:
    words = "the sharpness is 0.81 per um, and 1.2 is the least; " * 3
    verdicts = [Quality(accepted=False, reasons=["out_of_focus"], detail=detail) for detail in ("", words)]
    short, long = (annotate(blank(), report(quality=verdict)) for verdict in verdicts)
    assert np.array_equal(short[:480], blank())
    assert len(long) > len(short)
    assert (short[480:] == 255).all(axis=2).sum() > 1000, "white ground that is not to be missed"


def test_what_has_no_room_in_a_row_of_the_strip_stands_in_another() -> None:
    wide, narrow = (annotate(blank(480, width), report())[480:] for width in (900, 200))
    written = [(picture.max(axis=2) > 150).sum() for picture in (wide, narrow)]
    assert len(narrow) >= 2 * len(wide)
    assert written[1] > 0.8 * written[0], "the scale bar alone is shorter"


@pytest.mark.parametrize("shape", [(1, 1), (33, 40), (2160, 3840)])
def test_frames_of_any_size_can_be_drawn_on(shape: tuple[int, int]) -> None:
    refusal = Quality(accepted=False, reasons=["uneven"], detail="a word")
    drawn = annotate(blank(*shape), report(cell(x=0, y=0, size=1), quality=refusal))
    assert drawn.shape[1:] == (shape[1], 3)
