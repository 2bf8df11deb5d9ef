"""A report as PDF: one to three pages, each with its foot, and no caption cut."""

import re
import shutil
import subprocess
import sys

import pytest

from common.errors import MissingError, UsageError
from dashboard.exports.pdf import pdf_of
from dashboard.exports.printed import printed_report
from dashboard.exports.slide_facts import most_suspicious
from dashboard.records import SlideRecord
from dashboard.texts import LANGUAGES, Texts
from tests.dashboard.exports.examples import PRINTED, drawn, empty, large, long_names, nothing, reviewed, usual


def made(html: str) -> bytes:
    """The page as PDF; skipped where what makes it is not installed."""
    try:
        return pdf_of(html)
    except MissingError as cause:
        pytest.skip(str(cause))


def pages_of(record: SlideRecord, language: str = "en", *, review: bool = True) -> list[str]:
    """What stands on each page, a line each."""
    said = reviewed(record) if review else None
    html = printed_report(record, texts=Texts.load(language), at=PRINTED, review=said, picture=drawn())
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext to read a PDF with")
    done = subprocess.run([reader, "-raw", "-", "-"], input=made(html), capture_output=True, check=True)
    return done.stdout.decode().split("\f")[:-1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("record", [usual(), large(2000), empty(), nothing()], ids=lambda r: len(r.cells))
def test_a_report_has_one_to_three_pages_and_each_says_what_it_is_for_and_its_number(
    record: SlideRecord, language: str
) -> None:
    pages = pages_of(record, language)
    assert 1 <= len(pages) <= 3
    for number, page in enumerate(pages, start=1):
        assert Texts.load(language).get("page.research") in " ".join(page.split())
        assert f"{number} / {len(pages)}" in page


def test_no_caption_is_cut_however_long_its_names_are() -> None:
    record = long_names()
    text = "".join("".join(pages_of(record)).split())
    for cell in most_suspicious(record, 12):
        assert cell.object_id in text
        assert f"{cell.object_id}blast{cell.probability:.2f}105µm²" in text
    for name in (*record.key[:2], *record.models, *record.engines):
        assert name in text


def test_numbers_and_texts_of_the_histogram_are_in_the_pdf() -> None:
    text = " ".join(pages_of(usual()))
    assert "Probability of a blast" in text
    assert "0.2" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_gallery_breaks_between_its_rows_where_only_one_has_room(language: str) -> None:
    """As one block it left a third of the first page empty."""
    pages = pages_of(usual(refused=(), summaries=()), language, review=False)
    assert [len(re.findall(r"^r-s1-c\d+", page, re.MULTILINE)) for page in pages] == [6, 5]


@pytest.mark.parametrize("source", ["file:///etc/hostname", "http://127.0.0.1:9/x.png", "/etc/hostname", "x.png"])
def test_what_the_page_does_not_hold_is_not_fetched(source: str) -> None:
    made(f"<p>{source}")
    with pytest.raises(UsageError, match="names what it does not hold"):
        pdf_of(f'<img src="{source}">')


def test_without_weasyprint_the_text_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingError, match=r"weasyprint is not installed; pip install -c constraints.txt '.\[pdf\]'"):
        pdf_of("<p>")
