"""A slide's page shows beside the model's call what people say, as far as who looks may see it."""

import re
import sys
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from common.errors import StoreError
from contract.messages import Position, SlideSummary
from contract.requests import Answer, StartSlide
from dashboard.records import SlideKey, SlideRecord
from dashboard.reviews.events import Given
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.exports.examples import summary
from tests.dashboard.pages import hostile
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
    placed = make_report(1, cells=cells, position_um=Position(part=1, x=0, y=0, confidence=0))
    database = keep([placed, summary(cells=3, blasts=2, normal=1, uncertain=0, not_judged=0)])
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


def started(slide: Slide, **form: str) -> tuple[int, dict[str, object]]:
    """How the page answers to a start of a slide; an agent that is asked does it at once."""
    slide.client.headers["x-csrf-token"] = sign_in(slide.client, "ada")
    answer = slide.client.post("/agents/lab/scope-1/command/slide/start", data=form)
    return answer.status_code, answer.json()


@pytest.fixture
def asked(slide: Slide, make_report: MakeReport, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the slides that the agent was asked to start."""
    names: list[str] = []

    def ask(_broker: object, _key: object, name: str, request: StartSlide, **_: object) -> Answer[SlideSummary]:
        names.append(request.slide_id)
        return Answer(command=name, ok=True)

    monkeypatch.setattr("dashboard.pages.agents.ask", ask)
    hostile.heard(slide.client.app.state.web, make_report)  # type: ignore[attr-defined]
    return names


def test_a_name_that_was_used_is_started_only_by_who_says_that_it_is_the_same_slide(
    slide: Slide, asked: list[str]
) -> None:
    slide.says("ada", c1="normal")
    slide.signs("ada")
    code, said = started(slide, slide_id="slide-7")
    assert (code, said["again"], asked) == (409, "slide-7", [])
    assert "3 cells are stored under it. Signed by ada: the signature would be of an earlier state." in str(
        said["text"]
    )
    assert started(slide, slide_id="slide-7", again="slide-6")[0] == 409, "a mark holds for the name that was shown"
    assert started(slide, slide_id="slide-7", again="slide-7")[0] == 200
    assert started(slide, slide_id="slide-8")[0] == 200
    assert asked == ["slide-7", "slide-8"]


def test_a_store_that_is_away_keeps_no_microscope_from_a_slide(
    slide: Slide, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(slide.client.app.state.web, "slide", away)  # type: ignore[attr-defined]
    assert started(slide, slide_id="slide-7")[0] == 200
    assert asked == ["slide-7"]


def test_a_signature_of_an_earlier_state_says_so_on_the_slide_s_page(
    slide: Slide, keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    slide.says("ada", c1="normal")
    slide.signs("ada")
    assert "earlier state" not in words(slide.page("rita"))
    keep([make_report(2, cells=[make_cell("f2-1", "r-s1-c9", 0.97)])])
    assert re.search(
        r"Signed by ada \(First reading\), \S+ \S+ UTC \(of an earlier state: more came after it\)",
        words(slide.page("rita")),
    )
    assert "eines früheren Standes" in words(slide.page("rita", language="de"))


def row(slide: Slide, person: str) -> str:
    """The slide in the list, in words."""
    slide.page(person)
    text = slide.client.get("/slides").text
    return words(text.partition("slide-7</a>")[2].partition("</tr>")[0])


def test_list_page_and_report_say_how_many_cells_are_reviewed_and_who_has_signed(slide: Slide) -> None:
    slide.says("ada", c1="normal")
    assert "begun by ada, not signed" in row(slide, "rita")
    assert "Nobody has signed this slide." in words(slide.page("ada"))
    slide.signs("ada")
    assert "closed signed by ada (first reading), 1 of 3 cells reviewed" in row(slide, "rita")
    for path in ("", "/report"):
        assert "1 of 3 cells reviewed" in words(slide.page("rita", path))


def test_the_list_says_no_more_of_a_sealed_reading_than_who_has_signed(slide: Slide) -> None:
    slide.says("ada", c1="normal")
    slide.signs("ada")
    assert "signed by ada (first reading)" in row(slide, "adam")
    assert "reviewed" not in row(slide, "adam")
    assert "cells reviewed" not in words(slide.page("adam"))


def test_the_list_says_which_signature_is_of_an_earlier_state(
    slide: Slide, keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    """A frame without a cell leaves a signature as it is; a cell that comes after does not."""
    slide.says("ada", c1="normal")
    slide.signs("ada")
    keep([make_report(2, cells=[])])
    assert "earlier state" not in row(slide, "rita")
    keep([make_report(3, cells=[make_cell("f3-1", "r-s1-c9", 0.97)])])
    assert "1 of 3 cells reviewed (of an earlier state: more came after it)" in row(slide, "rita")


def version(text: str) -> str:
    """By which a page tells whether something came since."""
    return text.partition('data-version="')[2].partition('"')[0]


def test_the_page_says_of_when_it_is_and_is_told_of_cells_and_verdicts_that_came_since(
    slide: Slide, keep: Keep, make_report: MakeReport, make_cell: MakeCell
) -> None:
    page = slide.page("rita")
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.", words(page))
    part = slide.page("rita", "/now")
    assert version(part) == version(page) != ""
    assert "<html" not in part
    keep([make_report(2, cells=[make_cell("f2-1", "r-s1-c9", 0.97)])])
    more = slide.page("rita", "/now")
    assert version(more) != version(page)
    assert "blast 3" in words(more)
    slide.says("ada", c1="normal")
    assert version(slide.page("rita", "/now")) != version(more)


def test_the_report_has_a_button_to_print_and_a_way_back_that_are_not_on_paper(slide: Slide) -> None:
    page = slide.page("rita", "/report")
    [bar] = re.findall(r'<p class="screen">(.*?)</p>', page, re.DOTALL)
    assert f'<a href="{BASE}">Back to the slide</a>' in bar
    assert '<script src="/static/print.js" defer></script>' in bar
    assert page.count("<script") == 1
    style = slide.client.get("/report-en.css").text
    assert re.search(r"@media print \{\s*\.screen \{ display: none; \}", style)
    assert slide.client.get("/static/print.js").status_code == 200


@pytest.mark.parametrize("there", [True, False])
def test_a_pdf_is_offered_only_where_it_can_be_made(
    slide: Slide, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    if there:
        pytest.importorskip("weasyprint", exc_type=ImportError)
    else:
        monkeypatch.setitem(sys.modules, "weasyprint", None)
    page = slide.page("rita")
    assert (f'href="{BASE}/report.pdf"' in page) is there
    assert ("print the report into a file" in page) is not there
