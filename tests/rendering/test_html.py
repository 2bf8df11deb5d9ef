"""A report is one file that needs nothing beside it, and says in words what it shows."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rendering.html import Picture, number, page, paragraph, picture_grid, plots, section, table, verdict
from tests.rendering.test_plots import FIGURES, NASTY


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
    said = (verdict(NASTY, passed=True, but=NASTY), table([NASTY, "b", "c"], [[NASTY, 1, None]], caption=NASTY))
    parts = (*said, paragraph(NASTY), picture_grid([picture]), plots(*FIGURES.values()))
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
