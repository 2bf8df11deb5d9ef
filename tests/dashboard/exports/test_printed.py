"""The printed report says all that is known of a slide, needs no other file, and lets no name become markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from dashboard.exports.printed import SHOWN, Style, printed_report, stylesheet
from dashboard.exports.review_summary import ReviewSummary, Signature
from dashboard.exports.tables import data_hash
from dashboard.records import SlideRecord
from dashboard.texts import LANGUAGES, Texts
from tests.dashboard.exports.examples import (
    EVIL,
    LONG,
    PRINTED,
    drawn,
    empty,
    large,
    long_names,
    nothing,
    refused,
    reviewed,
    summary,
    usual,
)  # fmt: skip

ENGLISH = Texts.load("en")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A page as a browser reads it: its elements, its text by sections, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def printed(record: SlideRecord, review: ReviewSummary | None = None, **more: object) -> str:
    facts = {"texts": ENGLISH, "at": PRINTED, "picture": drawn(".png")}
    return printed_report(record, review=review, **{**facts, **more})  # type: ignore[arg-type]


def test_counts_of_the_model_and_of_the_review_stand_side_by_side() -> None:
    record = usual()
    text = Page(printed(record, reviewed(record))).text
    assert "Called By the model After review normal 7 8 blast 2 2 Not in the share of blasts uncertain 2 0" in text
    assert "not judged 1 1 smudge \u2013 1 All cells 12 12" in text
    assert "Share by the model 22.2 % (95 % interval 6.3 % to 54.7 %)" in text
    assert "Share after review 20.0 % (95 % interval 5.7 % to 51.0 %)" in text
    assert "19.9 % (95 % interval 3.0 % to 55.0 %); too few cells were seen to tell it from 20 %" in text
    assert "by the agent's summary of 2026-01-31 12:09:00 UTC" in text
    assert "Cohen's kappa 0.81" in text


def test_what_is_not_known_is_said_and_not_made_up() -> None:
    text = Page(printed(empty(), picture=None)).text
    assert "not known: no cell is called normal or blast" in text
    assert "Nobody has reviewed this slide. " in text
    assert "Nobody has signed this slide." in text
    assert "No cell was judged, so there are no probabilities to show." in text
    assert "Scale not known" in text
    assert "Accuracy gate not known" in text
    assert "After review" not in text
    assert "Corrected" not in text


def test_a_cell_that_people_confirm_says_so_as_one_that_they_correct_does() -> None:
    record = usual()
    confirmed = reviewed(record, labels={"r-s1-c2": "blast", "r-s1-c6": "smudge"})
    text = Page(printed(record, confirmed)).text
    assert "r-s1-c2 blast 0.97 after review: blast 105" in text
    assert "r-s1-c6 blast 0.80 after review: smudge 105" in text
    assert text.count("after review:") == 2, "of the others nobody has said anything"
    assert "nach Durchsicht: Zellschatten" in Page(printed(record, confirmed, texts=Texts.load("de"))).text
    assert "after review:" not in Page(printed(record, reviewed(record, sealed=("ada",), counts=None))).text


@pytest.mark.parametrize(("language", "half", "other"), [("en", ">0.4<", ">0,4<"), ("de", ">0,4<", ">0.4<")])
def test_the_axes_have_the_decimal_mark_of_the_language(language: str, half: str, other: str) -> None:
    html = printed(usual(), texts=Texts.load(language))
    assert half in html
    assert other not in html


def test_no_line_begins_with_the_sign_of_a_percentage() -> None:
    record = usual()
    shares = printed(record, reviewed(record)).partition('<table class="shares">')[2].partition("</table>")[0]
    assert "\u00a0%" in shares
    assert " % to" not in shares


def test_refused_frames_stand_by_reason_with_what_to_do() -> None:
    text = Page(printed(usual())).text
    assert "3 of 40 frames were not judged" in text
    assert "out of focus 2 focus again, and clean oil off a dry objective" in text
    assert "upside down 1 \u2013" in text
    assert "None of 40 frames was refused." in Page(printed(usual(refused=()))).text


def test_a_command_within_a_remedy_is_shown_as_one() -> None:
    page = Page(printed(usual(refused=refused(("wrong_scale",)))))
    assert len(page.all("code")) == 2
    assert "again: microscope-agent calibrate scale" in page.text


def test_the_model_the_scale_and_the_hash_of_the_cells_are_named() -> None:
    record = usual()
    text = Page(printed(record, reviewed(record))).text
    for words in (
        "Model blast-8 Accuracy gate passed",
        f"Manifest SHA-256 {'ab' * 32}",
        "by the colours of the site's cells",
        "Inference engine tensorrt-int8 Scale 0.0752 µm per pixel",
        f"Cells SHA-256 {data_hash(record, reviewed(record))}",
    ):
        assert words in text


def test_signatures_stand_with_their_time_and_notes_with_their_lines() -> None:
    record = usual()
    page = Page(printed(record, reviewed(record)))
    assert "Dr. Ada Example reviewer first reading 2026-01-31 13:00:00 UTC" in page.text
    assert "Bert Beispiel reviewer second reading 2026-01-31 13:15:00 UTC" in page.text
    assert "Many smudges at the feathered edge. Second line." in page.text


def test_a_slide_that_is_open_or_was_counted_in_parts_says_so() -> None:
    assert "The slide is still open: more cells may follow." in Page(printed(nothing())).text
    assert (
        "these are the cells of 2 counts together, and a cell that two of them have seen stands twice."
        in Page(printed(large(40))).text
    )


def test_the_gallery_shows_the_most_suspicious_cells_with_whole_captions() -> None:
    record = usual()
    page = Page(printed(record, reviewed(record)))
    assert len(page.all("img")) == 11
    assert "r-s1-c2 blast 0.97 105 µm², 3 views r-s1-c6 blast 0.80" in page.text
    assert (
        "r-s1-c12 uncertain 0.70 after review: normal 105 µm², 1 view "
        "smudge, artefact, platelet, clump or nucleated red cell" in page.text
    )
    assert len(Page(printed(large(100))).all("img")) == SHOWN


@pytest.mark.parametrize("picture", [None, lambda _: None, lambda _: b"GIF89a", lambda _: b"<svg onload='alert(1)'/>"])
def test_a_cell_without_a_picture_that_can_be_shown_keeps_its_caption(picture: object) -> None:
    page = Page(printed(usual(), picture=picture))
    assert page.all("img") == []
    assert page.text.count("no picture is stored") == 11
    assert "r-s1-c2 blast 0.97" in page.text


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_pictures_are_held_by_the_page(suffix: str) -> None:
    fetch = drawn(suffix)
    [first, *_] = Page(printed(usual(), picture=fetch)).all("img")
    media, _, data = str(first["src"]).partition(";base64,")
    assert media == f"data:image/{ {'.jpg': 'jpeg'}.get(suffix, suffix[1:]) }"
    assert base64.b64decode(data) == fetch("r-s1-00000002-1")


@pytest.mark.parametrize("record", [usual(), empty(), nothing(), large(50), long_names()], ids=lambda r: len(r.cells))
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_needs_no_other_file_and_no_script(record: SlideRecord, language: str) -> None:
    html = printed(record, reviewed(record), texts=Texts.load(language))
    page = Page(html)
    assert page.open == []
    assert not {name for name, _ in page.elements} & {"script", "iframe", "object", "form", "link", "base"}
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "href", "srcdoc"}}
        assert str(attributes.get("src", "data:")).startswith("data:")
    assert page.all("html") == [{"lang": language}]


def test_no_name_becomes_markup_and_every_name_stands_whole() -> None:
    record = long_names()
    review = reviewed(
        record, apart={EVIL: 2}, labels={record.cells[0].object_id: EVIL}, notes=(EVIL,),
        signatures=(Signature(EVIL, EVIL, PRINTED, EVIL),),
    )  # fmt: skip
    html = printed(record, review)
    page = Page(html)
    shown = EVIL.replace("\x1b", r"\x1b")
    assert "<script" not in html
    assert "\x1b" not in html
    assert page.text.count(shown) == 9  # twice as the title, a reason, a class, a label, name, role, reading, note
    assert f"{LONG}-r-s1-c1" in page.text
    assert f"onnxruntime-{LONG}" in page.text


def test_the_page_s_own_policy_lets_in_its_own_style_and_pictures_and_nothing_else() -> None:
    html = printed(usual())
    [style] = re.findall(r"(?s)<style>(.*?)</style>", html)
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [one["content"] for one in Page(html).all("meta") if "http-equiv" in one]
    assert policies == [f"default-src 'none'; img-src data:; style-src 'sha256-{known}'"]
    assert "url(" not in style
    assert "@import" not in style


def test_a_server_with_a_policy_gives_a_nonce_or_an_address() -> None:
    nonce, linked = (
        printed(usual(), style=Style(nonce='a"b')),
        printed(usual(), style=Style(href="/print.css?l=en&v=1")),
    )
    assert Page(nonce).all("style") == [{"nonce": 'a"b'}]
    assert Page(linked).all("link") == [{"rel": "stylesheet", "href": "/print.css?l=en&v=1"}]
    assert Page(linked).all("style") == []
    assert "Content-Security-Policy" not in nonce + linked


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_foot_of_every_page_says_what_the_page_is_for(language: str) -> None:
    texts = Texts.load(language)
    assert f'@bottom-left {{ content: "{texts.get("page.research")}"; }}' in stylesheet(texts)
    assert texts.get("page.research") in Page(printed(usual(), texts=texts)).text


def test_a_german_page_is_german() -> None:
    record = usual()
    text = Page(printed(record, reviewed(record), texts=Texts.load("de"))).text
    assert "Anteil nach dem Modell 22,2 % (95-%-Intervall 6,3 % bis 54,7 %)" in text
    assert "Nur für die Forschung." in text
    assert "unscharf 2 neu scharfstellen" in text


def test_only_blank_summaries_do_no_harm() -> None:
    bare = summary(blast_fraction=None, corrected_fraction=None, corrected_interval=None, enough_cells=None)
    assert "Corrected" not in Page(printed(usual(summaries=(bare,)))).text
