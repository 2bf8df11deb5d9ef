"""A report is one file that needs nothing beside it, and says in words what it shows."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from export.html import Picture, gallery, number, page, section, table, verdict
from export.plots import WIDTH, Series, bars_svg, histogram_svg, reliability, reliability_svg, scatter_svg, span

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


class Tags(HTMLParser):
    """What is open where it should be closed, and every tag with its attributes."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def tags() -> Tags:
    parser = Tags()
    picture = Picture(np.zeros((8, 8, 3), np.uint8), ["line", NASTY], NASTY)
    parts = (verdict(NASTY, passed=False), table([NASTY], [[NASTY, 1, None]]), gallery([picture]), *FIGURES.values())
    parser.feed(page(NASTY, section(NASTY, *parts), lead=NASTY, foot=NASTY))
    return parser


def test_every_tag_is_closed_and_no_text_becomes_markup(tags: Tags) -> None:
    assert tags.open == []
    assert "script" not in [tag for tag, _ in tags.seen]


def test_nothing_is_loaded_from_anywhere(tags: Tags) -> None:
    for _, attributes in tags.seen:
        assert not {"href", "srcset", "action", "data"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
    policies = [a["content"] for _, a in tags.seen if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_pictures_and_plots_can_be_read_aloud(tags: Tags) -> None:
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids)) == 2 * len(FIGURES)
    assert all(attributes.get("alt") for tag, attributes in tags.seen if tag == "img")
    named = [a["aria-labelledby"] for tag, a in tags.seen if tag == "svg" and a.get("role") == "img"]
    assert {part for name in named for part in (name or "").split()} == set(ids)


@pytest.mark.parametrize("name", FIGURES)
def test_a_plot_is_sound_xml_with_finite_numbers(name: str) -> None:
    root = ET.fromstring(FIGURES[name])  # noqa: S314 - our own text
    assert root.find(".//title") is not None
    assert not re.search(r"\b(nan|inf)\b", ET.tostring(root, "unicode"), re.IGNORECASE)


def test_points_that_can_not_be_drawn_are_counted() -> None:
    assert "1 not finite, left out" in FIGURES["scatter"]


def test_a_verdict_is_told_in_a_word_not_by_colour_alone() -> None:
    assert "Passed" in verdict("x", passed=True)
    assert "Not passed" in verdict("x", passed=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "n/a"), (float("nan"), "n/a"), (1234, "1,234"), (0.98786, "0.9879"), (True, "yes"), ("1", "1")],
)
def test_numbers_are_shown_for_readers(value: object, shown: str) -> None:
    assert number(value) == shown


def test_the_numbers_of_a_column_have_the_same_decimals() -> None:
    shown = re.findall('class="number">([^<]*)<', table(["", "", ""], [["a", 0.3935, 1], ["b", 0.004035, 1234]]))
    assert shown == ["0.3935", "1", "0.0040", "1,234"]
    assert "-0.00004<" in table(["", ""], [["a", -3.566e-05], ["b", float("nan")]]), "never in powers of ten"


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
        for x, y, anchor in re.findall('<text x="([^"]*)" y="([^"]*)" text-anchor="([^"]*)">cut<', drawn)
    )
    assert all(0 < left < WIDTH - 25 for left in (x, other_x))
    assert abs(x - other_x) > 25 or abs(y - other_y) > 14


def test_reliability_leaves_empty_bins_out() -> None:
    made = reliability("a", [0, 1, 1, 0], [0.05, 0.05, 1.0, 0.95], bins=10)
    assert np.allclose(made.x, [0.05, 0.975])
    assert np.allclose(made.y, [0.5, 0.5])


def test_an_axis_is_never_of_no_width() -> None:
    for group in ([], [0.0], [3.0, 3.0], [-1.0]):
        low, high = span([group])
        assert low < high
