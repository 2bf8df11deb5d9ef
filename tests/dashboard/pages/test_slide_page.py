"""A slide's page shows beside the model's call what people say, as far as who looks may see it."""

import re
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from contract.messages import Position
from dashboard.records import SlideKey, SlideRecord
from dashboard.reviews.events import Given
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.dashboard.pages.test_compare import words
from tests.dashboard.test_records import record_of

KEY = SlideKey("lab", "scope-1", "slide-7")
BASE = "/slides/lab/scope-1/slide-7"
BLAST, OTHER = "r-s1-c1", "r-s1-c2"


class Slide(SimpleNamespace):
    """A server with one slide of three cells, and what a reader says of them."""

    client: TestClient
    record: SlideRecord

    def says(self, person: str, **labels: str) -> None:
        """A reading that is begun; each cell by its number, as `c1="normal"`."""
        reviews = self.client.app.state.web.reviews  # type: ignore[attr-defined]
        reading = reviews.begin(KEY, person, "reviewer", f"begin-{person}")
        given = [Given(f"r-s1-{cell}", "correct", label) for cell, label in labels.items()]
        reviews.mark_shown(self.record, person, "reviewer", reading, [one.object_id for one in self.record.cells])
        call = f"give-{person}-{len(labels)}"
        reviews.give(self.record, person, "reviewer", reading, given, call_id=call, classes=("smudge",))

    def signs(self, person: str, reading: str = "1") -> None:
        """The reading is signed."""
        reviews = self.client.app.state.web.reviews  # type: ignore[attr-defined]
        reviews.sign(self.record, person, "reviewer", reading, call_id=f"sign-{person}")

    def page(self, person: str, path: str = "", language: str = "en") -> str:
        """What a person is shown."""
        self.client.cookies.clear()
        sign_in(self.client, person)
        text: str = self.client.get(BASE + path, headers={"accept-language": language}).text
        return text


@pytest.fixture
def slide(serve: Serve, keep: Keep, make_report: MakeReport, make_cell: MakeCell) -> Slide:
    cells = [make_cell(f"f1-{k}", f"r-s1-c{k}", chance) for k, chance in ((1, 0.97), (2, 0.9), (3, 0.03))]
    database = keep([make_report(1, cells=cells, position_um=Position(part=1, x=0, y=0, confidence=0))])
    record = record_of(database)
    assert record
    return Slide(client=serve("page", database=database), record=record)


def card(page: str, name: str) -> str:
    """A cell of the gallery in words."""
    found = re.search(rf'<li class="cell [^"]*" id="{name}">(.*?)</li>', page, re.DOTALL)
    assert found
    return words(found[1])


def dot(page: str, number: int) -> str:
    """What a dot of the map says, and whether it has the ring."""
    [(said, drawn)] = re.findall(rf"<title>(c{number}:[^<]*)</title>(.*?)</a>", page)
    return f"{said} (ring)" if "#map-corrected" in drawn else str(said)


def test_gallery_and_map_show_the_verdict_beside_what_the_model_says(slide: Slide) -> None:
    slide.says("ada", c1="normal", c2="smudge", c3="normal")
    slide.signs("ada")
    for person in ("rita", "ada"):
        page = slide.page(person)
        assert card(page, BLAST).startswith("no picture blast 0.97 after review: normal")
        assert card(page, OTHER).startswith("no picture blast 0.90 after review: smudge")
        assert dot(page, 1) == "c1: blast 0.97; after review: normal (ring)"
        assert dot(page, 3) == "c3: normal 0.03; after review: normal"
        assert "2 cells are called something else after review." in words(page)
        assert card(slide.page(person, "/cells"), BLAST).startswith("no picture blast 0.97 after review: normal")


def test_a_class_of_the_laboratory_has_a_german_name(slide: Slide) -> None:
    slide.says("ada", c2="smudge")
    slide.signs("ada")
    page = slide.page("rita", language="de")
    assert "nach Durchsicht: Zellschatten" in card(page, OTHER)
    assert "Nicht darunter: Zellschatten 1" in words(page)
    assert "smudge" not in words(page)


def test_who_may_still_read_a_slide_sees_no_verdict_of_another(slide: Slide) -> None:
    """Before the signature the verdicts are their reader's own; after it they are sealed."""
    slide.says("ada", c1="normal")
    assert "after review: normal" in card(slide.page("ada"), BLAST)
    for signed in (False, True):
        if signed:
            slide.signs("ada")
        for path in ("", "/cells"):
            assert "after review" not in slide.page("adam", path)
            assert '#map-corrected" x' not in slide.page("adam", path)


def test_a_slide_that_nobody_reviewed_says_nothing_of_a_review(slide: Slide) -> None:
    page = slide.page("rita")
    assert "after review" not in page


def test_squares_of_the_map_say_how_many_are_called_something_else(
    slide: Slide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.slide_map.MOST_DOTS", 2)
    slide.says("ada", c1="normal")
    slide.signs("ada")
    said = re.findall(r"<title>([^<]*cells? \(blasts[^<]*)</title>", slide.page("rita"))
    assert [one.partition("; ")[2] for one in said] == ["1 cell is called something else after review"]
