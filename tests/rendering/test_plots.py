"""Plots are sound SVG, and say in words what they show."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from rendering.plots import WIDTH, Series, bars_svg, histogram_svg, reliability, reliability_svg, scatter_svg, span

RNG = np.random.default_rng(1)
NASTY = '<script>alert("1")</script>&'
FIGURES = {
    "scatter": scatter_svg(
        [Series(NASTY, [0, 1, np.nan], [0, 2, 1]), Series("b", [], [])],
        title=NASTY,
        x_label=NASTY,
        y_label="y",
        diagonal=True,
        x_marks={NASTY: 0.5},
        y_marks={"cut": 0.5},
    ),
    "reliability": reliability_svg([reliability("a", [0, 1, 1], [0.1, 0.9, 1.0])], title="r", describe=NASTY),
    "histogram": histogram_svg({NASTY: RNG.normal(size=50), "none": [], "same": [1, 1]}, title="h", x_label="x"),
    "bars": bars_svg({NASTY: 1.5, "zero": 0.0}, title="b", x_label="ms"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_plot_is_sound_xml_with_finite_numbers(name: str) -> None:
    root = ET.fromstring(FIGURES[name])  # noqa: S314 - our own text
    assert root.find(".//title") is not None
    assert not re.search(r"\b(nan|inf)\b", ET.tostring(root, "unicode"), re.IGNORECASE)


def test_points_that_can_not_be_drawn_are_counted() -> None:
    assert "1 not finite, left out" in FIGURES["scatter"]


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_the_names_of_two_marks_lie_within_the_plot_and_not_on_each_other(place: float) -> None:
    drawn = scatter_svg(
        [Series("a", [0, 1], [0, 1])],
        title="t",
        x_label="x",
        y_label="y",
        diagonal=True,
        x_marks={"cut": place},
        y_marks={"cut": place},
    )
    [(x, y), (other_x, other_y)] = (
        (float(x) - (25 if anchor == "end" else 0), float(y))
        for x, y, anchor in re.findall(' x="([^"]*)" y="([^"]*)" text-anchor="([^"]*)">cut<', drawn)
    )
    assert all(0 < left < WIDTH - 25 for left in (x, other_x))
    assert abs(x - other_x) > 25 or abs(y - other_y) > 14


def test_texts_are_seen_without_a_page_s_style() -> None:
    for figure in FIGURES.values():
        texts = ET.fromstring(figure).iter("text")  # noqa: S314 - our own text
        assert {text.get("fill") for text in texts} == {"#1b1f24"}


def test_a_histogram_has_the_ends_and_the_names_that_it_is_given() -> None:
    drawn = histogram_svg({"a": [0.5, 0.5]}, title="h", x_label="p", y_label="Zellen", ends=(0.0, 1.0), bins=10)
    assert ">Zellen</text>" in drawn
    assert [text for text in ("0", "0.2", "0.4", "0.6", "0.8", "1") if f">{text}</text>" not in drawn] == []


def test_reliability_leaves_empty_bins_out() -> None:
    made = reliability("a", [0, 1, 1, 0], [0.05, 0.05, 1.0, 0.95], bins=10)
    assert np.allclose(made.x, [0.05, 0.975])
    assert np.allclose(made.y, [0.5, 0.5])


def test_an_axis_is_never_of_no_width() -> None:
    for group in ([], [0.0], [3.0, 3.0], [-1.0]):
        low, high = span([group])
        assert low < high
