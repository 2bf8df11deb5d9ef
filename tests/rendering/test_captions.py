"""What is written beside a cell."""

from contract.labels import Label
from contract.messages import BoxReport, CellReport
from rendering.captions import words_of


def cell(label: Label, *flags: str, object_id: str = "") -> CellReport:
    return CellReport(
        cell_id="c", box=BoxReport(x=0, y=0, width=9, height=9), area_um2=9, label=label, object_id=object_id,
        probability=None if label == "not_judged" else 0.97, flags=list(flags),
    )  # fmt: skip


def test_the_name_on_the_slide_stands_before_the_label_and_the_probability() -> None:
    assert words_of(cell("blast", object_id="r-s1-c17")) == "c17 blast 0.97"
    assert words_of(cell("not_judged", "edge")) == "not judged"


def test_it_is_said_why_a_cell_is_in_doubt_whatever_its_probability() -> None:
    assert words_of(cell("uncertain", "other", "colours_unknown")) == "uncertain 0.97 (other, colours unknown)"
    assert words_of(cell("uncertain")) == "uncertain 0.97"
