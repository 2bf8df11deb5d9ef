"""The map of a slide: every cell where it lies, of bounded size, in words too, without a style or script of its own."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html import unescape
from urllib.parse import unquote

import numpy as np
import pytest

from contract.messages import BoxReport, FrameReport, Position, Quality
from dashboard.pages.map_drawing import MOST_BINS, MOST_MARKS
from dashboard.pages.map_layout import MOST_HEIGHT, WIDTH, Extent, sheet_of
from dashboard.pages.slide_map import MOST_ABOVE, MOST_DOTS, MOST_PARTS, SlideMap, slide_map
from dashboard.pages.slides import AT_ONCE, by_suspicion
from dashboard.records import SlideRecord
from dashboard.texts import Texts
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.dashboard.pages.test_compare import words
from tests.dashboard.test_records import record_of

SVG = "{http://www.w3.org/2000/svg}"
BASE = "/slides/lab/scope-1/slide-7"
ENGLISH = Texts.load("en")
CHANCES = (0.03, 0.5, 0.97, None)
MakeFrame = Callable[..., FrameReport]


@pytest.fixture
def frame(make_report: MakeReport, make_cell: MakeCell) -> MakeFrame:
    """A frame of 48 x 36 um: ``frame(number, part, x, y, *probabilities)``; its cells lie in it by chance."""
    rng = np.random.default_rng(7)

    def made(number: int, part: int, x: float, y: float, *chances: float | None) -> FrameReport:
        cells = []
        for place, chance in enumerate(chances):
            box = BoxReport(x=int(rng.integers(500)), y=int(rng.integers(340)), width=130, height=130)
            cells.append(make_cell(f"f{number}-{place}", f"r-s1-c{1000 * number + place}", chance, box=box))
        first = not (x or y)
        place_um = Position(part=part, x=x, y=y, confidence=0 if first else 0.9)
        return make_report(number, cells=cells, position_um=place_um)

    return made


@pytest.fixture
def record(keep: Keep) -> Callable[[list[FrameReport]], SlideRecord]:
    def read(reports: list[FrameReport]) -> SlideRecord:
        found = record_of(keep(reports))
        assert found
        return found

    return read


def drawn(record: SlideRecord, texts: Texts = ENGLISH) -> SlideMap:
    return slide_map(record, by_suspicion(record.cells), texts)


def tree(found: SlideMap) -> ET.Element:
    assert found.svg is not None
    return ET.fromstring(str(found.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 - ours


def marks(found: SlideMap) -> list[tuple[str, str]]:
    """Class and form of each dot, in the order in which they are drawn."""
    return [
        (a.get("class", ""), use.get("href", "")) for a in tree(found) for use in a.iter(f"{SVG}use") if a is not use
    ]


def test_form_tells_the_label_and_colour_the_probability(frame: MakeFrame, record: Callable[..., SlideRecord]) -> None:
    found = drawn(record([frame(1, 1, 0, 0, *CHANCES)]))
    assert [mark for mark in marks(found) if mark[0]] == [
        ("q-none", "#map-not_judged"),
        ("q0", "#map-normal"),
        ("q2", "#map-uncertain"),
        ("q4", "#map-blast"),
    ]
    forms = {group.get("id"): ET.tostring(group[0]) for group in tree(found).iter(f"{SVG}g")}
    assert len(set(forms.values())) == len(forms) == 6, "each is another form"


def test_a_dot_leads_to_its_cell_in_the_gallery(serve: Serve, keep: Keep, frame: MakeFrame) -> None:
    reports = [frame(k, 1, 0, 40.0 * (k - 1), *[0.9] * 50, 0.05) for k in range(1, 5)]
    client = serve("mapped", database=keep(reports))
    sign_in(client, "rita")
    page = client.get(BASE).text
    links = {unescape(one) for one in re.findall(r'<a href="(\?cell=[^"]*)"', page)}
    assert len(links) == 204
    for link in links:
        address, _, name = link.partition("#")
        assert unquote(address.removeprefix("?cell=")) == unquote(name)
    last = next(one for one in links if one.endswith("r-s1-c1050"))
    shown = client.get(BASE + last.partition("#")[0]).text
    assert 'id="r-s1-c1050"' in shown
    assert 'id="r-s1-c1050"' not in page, "the gallery's first part is of the most suspicious"
    assert f'start="{AT_ONCE + 1}"' in shown
    assert f'href="{BASE}#cells"' in shown


@pytest.mark.parametrize("asked", ["nobody", "", "%00", "%22%3E%3Cscript%3E", "a" * 5000])
def test_a_cell_that_is_not_there_is_looked_for_in_vain(serve: Serve, keep: Keep, frame: MakeFrame, asked: str) -> None:
    client = serve("mapped", database=keep([frame(1, 1, 0, 0, 0.5)]))
    sign_in(client, "rita")
    answer = client.get(f"{BASE}?cell={asked}")
    assert answer.status_code == (400 if asked == "%00" else 200)
    assert "<script>" not in answer.text


def test_the_map_has_a_scale_bar_of_a_round_length_that_is_drawn_as_long(
    frame: MakeFrame, record: Callable[..., SlideRecord]
) -> None:
    frames = [frame(k, 1, 40.0 * (k - 1), 0, 0.1) for k in range(1, 40)]
    root = tree(drawn(record(frames)))
    [bar] = [one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("class") == "scale"]
    [said] = [one.text for one in root.iter(f"{SVG}text")]
    left, right = re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", bar)[0]
    [outline] = [one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("class") == "frames"]
    starts = [float(x) for x in re.findall(r"M([\d.]+) ", outline)]
    um_per_unit = 40 * 38 / (max(starts) - min(starts))
    assert said == "200 µm"
    assert (float(right) - float(left)) * um_per_unit == pytest.approx(200, rel=0.01)


def test_long_slides_are_measured_in_millimetres(frame: MakeFrame, record: Callable[..., SlideRecord]) -> None:
    found = drawn(record([frame(1, 1, 0, 0, 0.1), frame(2, 1, 24_000, 0, 0.1)]), Texts.load("de"))
    assert "2 mm" in str(found.svg)
    assert [(row.frames, round(row.width_mm, 2)) for row in found.parts] == [(2, 24.05)]


def test_ten_thousand_cells_are_summed_up_and_the_page_says_so(
    frame: MakeFrame, record: Callable[..., SlideRecord]
) -> None:
    chances = [0.03] * 16 + [0.5] * 2 + [0.97] * 2
    frames = [frame(1 + 25 * j + i, 1, 40.0 * i, 30.0 * j, *chances) for j in range(20) for i in range(25)]
    found = drawn(record(frames))
    root = tree(found)
    squares = [one for one in root.iter(f"{SVG}a") if "square" in one.get("class", "")]
    assert 100 < len(squares) <= MOST_BINS
    assert len(list(root.iter(f"{SVG}a"))) == len(squares) + MOST_ABOVE
    told = [re.match(r"(\d+) cells? \(blasts: (\d+), uncertain: (\d+)\)", one[0].text or "") for one in squares]
    assert [sum(int(one[k]) for one in told if one) for k in (1, 2, 3)] == [10_000, 1000, 1000]
    assert len(found.svg or "") < 300_000
    assert found.binned
    assert "10,000 cells are too many for dots of their own" in found.words[0]


def test_as_many_cells_as_there_may_be_dots_have_dots(frame: MakeFrame, record: Callable[..., SlideRecord]) -> None:
    frames = [frame(k, 1, 0, 30.0 * (k - 1), *[0.1] * 50) for k in range(1, 1 + MOST_DOTS // 50)]
    found = drawn(record(frames))
    assert (len(list(tree(found).iter(f"{SVG}a"))), found.binned, found.words) == (MOST_DOTS, False, ())


def test_a_square_of_which_a_third_is_uncertain_has_a_line_of_its_own(
    frame: MakeFrame, record: Callable[..., SlideRecord]
) -> None:
    """It is told from others without its colour."""
    frames = [frame(k, k, 0, 0, *([0.5] * 20 if k == 1 else [0.1] * 20)) for k in range(1, 60)]
    classes = {one.get("class") for one in tree(drawn(record(frames))).iter(f"{SVG}a")}
    assert {"square q0", "square q-none doubt"} <= classes


def test_separate_parts_lie_beside_each_other_and_are_numbered(
    frame: MakeFrame, record: Callable[..., SlideRecord]
) -> None:
    frames = [frame(1, 1, 0, 0, 0.1), frame(2, 2, 0, 0, 0.9, 0.5), frame(3, 2, 20, 0), frame(4, 3, 0, 0)]
    found = drawn(record(frames))
    numbers = [one.text or "" for one in tree(found).iter(f"{SVG}text")][:-1]
    assert sorted(numbers) == ["1", "2", "3"]
    assert [(row.number, row.frames, row.counts.cells, row.counts.blast) for row in found.parts] == [
        (1, 1, 1, 0),
        (2, 2, 2, 1),
        (3, 1, 0, 0),
    ]
    assert "3 separate parts" in found.words[0]


def test_of_very_many_parts_those_with_most_cells_are_drawn(
    frame: MakeFrame, record: Callable[..., SlideRecord]
) -> None:
    frames = [frame(k, k, 0, 0, *[0.1] * (2 if k > 5 else 1)) for k in range(1, MOST_PARTS + 6)]
    found = drawn(record(frames))
    assert len(found.parts) == MOST_PARTS
    assert found.parts[0].number == 6
    assert any("5 small parts are not drawn, with 5 cells" in said for said in found.words)


def test_parts_never_overlap_and_stay_on_the_sheet() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 7, 40, MOST_PARTS):
        extents = [Extent(k, -5, 7, -5 + 10 ** rng.uniform(1, 5), 7 + 10 ** rng.uniform(1, 5)) for k in range(count)]
        sheet = sheet_of(extents, frame_width=60)
        boxes = []
        for panel in sheet.panels.values():
            left, top = panel.at(panel.extent.left, panel.extent.top)
            right, bottom = panel.at(panel.extent.right, panel.extent.bottom)
            assert 0 <= left <= right <= WIDTH
            assert 0 <= top <= bottom <= sheet.height <= MOST_HEIGHT
            boxes.append((left, top, right, bottom))
        for k, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[k + 1 :]:
                assert right < other[0] or other[2] < left or bottom < other[1] or other[3] < top


@pytest.mark.parametrize(
    ("count", "marked", "said"),
    [(2, 2, "2 frames were not judged and have no place"), (61, MOST_MARKS, "61 frames were not judged")],
)
def test_frames_that_were_not_judged_stand_apart(
    frame: MakeFrame, make_report: MakeReport, record: Callable[..., SlideRecord], count: int, marked: int, said: str
) -> None:
    no = Quality(accepted=False, reasons=["motion"])
    bad = [make_report(2 + k, cells=[], quality=no) for k in range(count)]
    found = drawn(record([frame(1, 1, 0, 0, 0.1), *bad]))
    assert len([one for one in tree(found) if one.get("class") == "refused"]) == marked
    assert any(one.startswith(said) for one in found.words)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"position_um": None}, "name no place of their frames"),
        ({"position_um": Position(part=1, x=1e300, y=-1e300, confidence=0)}, "can be none on a slide"),
        (
            {"quality": Quality(accepted=False, reasons=["motion"]), "position_um": None, "cells": []},
            "no frame was judged",
        ),
    ],
)
def test_where_there_is_no_map_the_page_says_why(
    serve: Serve, keep: Keep, make_report: MakeReport, changes: dict[str, object], why: str
) -> None:
    client = serve("unmapped", database=keep([make_report(1, **changes)]))
    sign_in(client, "rita")
    page = client.get(BASE).text
    assert why in words(page)
    assert 'class="map"' not in page


def test_a_cell_that_no_frame_on_the_map_has_is_counted(
    frame: MakeFrame, make_report: MakeReport, record: Callable[..., SlideRecord]
) -> None:
    far = frame(2, 1, 40, 0, 0.1)
    box = far.cells[0].model_copy(update={"box": BoxReport(x=2**31 - 1, y=-(2**31), width=2**31 - 1, height=0)})
    found = drawn(record([frame(1, 1, 0, 0, 0.1), far.model_copy(update={"cells": [box]}), make_report(3)]))
    assert "2 cells have no place on the map." in found.words


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_reader_of_the_screen_is_told_the_same_and_the_policy_holds(
    serve: Serve, keep: Keep, frame: MakeFrame, language: str
) -> None:
    client = serve("mapped", database=keep([frame(1, 1, 0, 0, *CHANCES), frame(2, 2, 0, 0, 0.1)]))
    sign_in(client, "rita")
    page = client.get(BASE, headers={"accept-language": language}).text
    section = page.partition('<section class="card" id="map">')[2].partition("</section>")[0]
    assert re.search(r'<svg class="map"[^>]* role="group" aria-label="[^"]{30,}"', section)
    assert '<th scope="row" class="number">2</th>' in section
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script", section)
    assert section.count("<title>") == section.count("<a ")


def test_no_name_becomes_markup(serve: Serve, keep: Keep, frame: MakeFrame) -> None:
    evil = frame(1, 1, 0, 0, 0.9)
    named = evil.cells[0].model_copy(update={"object_id": "\"><script>x</script>&'-c1"})
    client = serve("mapped", database=keep([evil.model_copy(update={"cells": [named]})]))
    sign_in(client, "rita")
    page = client.get(BASE).text
    assert "<script>x" not in page
    assert "?cell=%22%3E%3Cscript%3Ex%3C%2Fscript%3E%26%27-c1#" in page
