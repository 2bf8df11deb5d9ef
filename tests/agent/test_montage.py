"""The gallery: every cell of a slide once, in order of its score."""

import os
import re
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.__main__ import main
from agent.sources.synthetic import SyntheticSource
from agent.tools.montage import entries_of, read_reports
from common.errors import UsageError
from contract.labels import Label
from contract.messages import BoxReport, CellReport, FrameInfo, FrameReport, Join, ModelInfo, Quality, SlideSummary
from rendering.captions import words_of
from rendering.gallery import HEAD, TILE
from rendering.legend import COLOURS

MakeReport = Callable[..., FrameReport]


def label_for(probability: float, flags: tuple[str, ...]) -> Label:
    if "edge" in flags:
        return "not_judged"
    if flags:
        return "uncertain"
    return "blast" if probability > 0.5 else "normal"


def cell(name: str, probability: float, *flags: str, area: float = 100) -> CellReport:
    box = BoxReport(x=10, y=20, width=100, height=100)
    label = label_for(probability, flags)
    return CellReport(
        cell_id=f"{name}-{probability}", box=box, area_um2=area, label=label,
        probability=None if "edge" in flags else probability, flags=list(flags), object_id=name,
    )  # fmt: skip


def test_a_cell_stands_once_with_the_word_of_all_its_whole_views(make_report: MakeReport) -> None:
    views = [cell("a", 0.9), cell("a", 0.8), cell("a", 0.1), cell("a", 0.99, "edge")]
    (entry,) = entries_of(make_report(k, cells=[view]) for k, view in enumerate(views, start=1))
    assert entry.views == 4
    assert entry.probability == pytest.approx(0.614, abs=0.001), "odds of 9, 4 and 1/9"
    assert entry.cell.probability == 0.8, "the view that is most like all together"


def test_a_cell_bears_the_label_of_all_its_whole_views_not_that_of_the_one_that_is_shown(
    make_report: MakeReport,
) -> None:
    cells = [cell("a", 0.95), cell("a", 0.02), cell("b", 0.4), cell("c", 0.6)]
    entries = entries_of(make_report(k, cells=[view]) for k, view in enumerate(cells, start=1))
    found = next(entry for entry in entries if entry.views > 1)
    assert found.probability == pytest.approx(0.384, abs=0.001)
    assert (found.cell.label, found.label) == ("blast", "normal")


def test_a_cell_that_most_views_doubt_is_uncertain_and_views_in_doubt_do_not_count_else(
    make_report: MakeReport,
) -> None:
    """As the slide counts it; a sure cell of the same probability lends its label to neither."""
    doubted = [cell("a", 0.02, "other"), cell("a", 0.03, "unlike_training"), cell("a", 0.9)]
    surer = [cell("b", 0.04), cell("b", 0.06), cell("b", 0.99, "other")]
    views = [*doubted, *surer, cell("c", 0.02)]
    entries = entries_of(make_report(k, cells=[view]) for k, view in enumerate(views, start=1))
    found = {entry.cell.object_id: entry for entry in entries}
    assert (found["a"].label, found["b"].label, found["c"].label) == ("uncertain", "normal", "normal")
    assert found["b"].probability == pytest.approx(0.049, abs=0.001)


def test_cells_that_a_later_report_withdraws_are_not_shown_unless_they_come_again(make_report: MakeReport) -> None:
    cells = [[cell("r-s1-c9", 0.9), cell("r-s1-c10", 0.8), cell("r-s2-c12", 0.7)], [], [cell("r-s1-c11", 0.6)]]
    reports = [make_report(k, cells=seen) for k, seen in enumerate(cells, start=1)]
    reports[1] = reports[1].model_copy(update={"withdraws": "r-s1-c10"})
    assert [entry.cell.object_id for entry in entries_of(reports)] == ["r-s1-c9", "r-s2-c12", "r-s1-c11"]


def test_a_cell_that_bore_two_names_stands_once(make_report: MakeReport) -> None:
    cells = [[cell("r-s1-c1", 0.9)], [cell("r-s1-c2", 0.8)], [cell("r-s1-c1", 0.7)]]
    reports = [make_report(k, cells=seen) for k, seen in enumerate(cells, start=1)]
    reports[2] = reports[2].model_copy(update={"joined": Join(part=2, x=9, y=0, same={"r-s1-c2": "r-s1-c1"})})
    assert [entry.views for entry in entries_of(reports)] == [3]


def test_the_most_suspicious_come_first_and_what_is_not_judged_last(make_report: MakeReport) -> None:
    cells = [cell("low", 0.1), cell("cut", 0.99, "edge"), cell("high", 0.95), cell("middle", 0.5)]
    entries = entries_of([make_report(1, cells=cells)])
    assert [entry.cell.object_id for entry in entries] == ["high", "middle", "low", "cut"]
    assert words_of(entries[-1].whole).endswith("not judged")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a slide of eight frames, its reports, its crops and its summary."""
    place = tmp_path_factory.mktemp("gallery")
    (place / "frames").mkdir()
    with SyntheticSource(frames=8, overlap=0.6).open(threading.Event()) as frames:
        for number, frame in enumerate(frames, start=1):
            cv2.imwrite(str(place / f"frames/{number}.png"), frame.image)
    options = [
        "--out",
        f"{place}/r.jsonl",
        "--crops",
        f"{place}/crops",
        "--summary",
        f"{place}/s.json",
        "--slide",
        "s7",
    ]
    assert main(["replay", f"{place}/frames", "--um-per-pixel", "0.1", *options]) == 0
    return place


def montage(place: Path, out: str, *more: str) -> int:
    return main(["montage", f"{place}/r.jsonl", "--out", f"{place}/{out}", *more])


def test_replay_writes_the_summary_of_the_slide_that_it_was_told(replayed: Path) -> None:
    summary = SlideSummary.model_validate_json((replayed / "s.json").read_bytes())
    reports = read_reports(replayed / "r.jsonl")
    assert (summary.slide_id, summary.state, summary.frames) == ("s7", "closed", 8)
    assert {report.slide_id for report in reports} == {"s7"}
    names = {cell.object_id for report in reports for cell in report.cells}
    assert summary.cells == len(names) < sum(len(report.cells) for report in reports)


@pytest.mark.parametrize("source", ["frames", "crops"])
def test_the_picture_shows_each_cell_above_the_colour_of_its_label(source: str, replayed: Path) -> None:
    assert montage(replayed, "m.png", f"--{source}", f"{replayed}/{source}") == 0
    drawn = cv2.imread(str(replayed / "m.png"))
    assert drawn is not None
    entries = entries_of(read_reports(replayed / "r.jsonl"))
    counted = sum(int((drawn == colour).all(axis=2).sum()) for colour in COLOURS.values())
    assert counted == pytest.approx(len(entries) * TILE * 4, rel=0.02)
    first = drawn[HEAD : HEAD + TILE, 10 : 10 + TILE]
    assert np.ptp(first[TILE // 2 - 20 : TILE // 2 + 20, TILE // 2 - 20 : TILE // 2 + 20]) > 20


def test_the_page_needs_no_other_file_and_names_every_cell(replayed: Path) -> None:
    assert montage(replayed, "m.html", "--frames", f"{replayed}/frames") == 0
    text = (replayed / "m.html").read_text()
    entries = entries_of(read_reports(replayed / "r.jsonl"))
    assert re.findall(r"<figcaption[^>]*>(\S+) ", text) == [e.cell.object_id.rpartition("-")[2] for e in entries]
    assert text.count("data:image/jpeg;base64,") == len(entries)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)


@pytest.mark.parametrize("out", ["private.png", "private.jpg", "private.html"])
def test_what_shows_cells_is_for_this_user_alone_whatever_the_umask(replayed: Path, out: str) -> None:
    before = os.umask(0)
    try:
        assert montage(replayed, out, "--crops", str(replayed / "crops")) == 0
    finally:
        os.umask(before)
    assert (replayed / out).stat().st_mode & 0o777 == 0o600


def written(reports: list[FrameReport], folder: Path) -> list[str]:
    (folder / "r.jsonl").write_text("".join(f"{report.model_dump_json()}\n" for report in reports))
    (folder / "normal").mkdir()
    cv2.imwrite(str(folder / "normal" / f"{reports[0].frame.source}-0.2.png"), np.zeros((8, 8, 3), np.uint8))
    return ["montage", f"{folder}/r.jsonl", "--crops", str(folder), "--out"]


def test_a_slide_of_which_nothing_was_judged_says_so_in_the_colour_of_warnings(
    make_report: MakeReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Quality(accepted=False, reasons=["wrong_scale"])
    command = written([make_report(k, quality=wrong, cells=[]) for k in (1, 2, 3)], tmp_path)
    told = "3 of 3 frames refused (wrong_scale): nothing was judged"
    assert [main([*command, f"{tmp_path}/{name}"]) for name in ("m.html", "m.png")] == [0, 0]
    assert f'<p class="warning">{told}</p>' in (tmp_path / "m.html").read_text()
    assert told in capsys.readouterr().err
    drawn = cv2.imread(str(tmp_path / "m.png"))
    assert drawn is not None
    assert ((drawn[..., 2] > 150) & (drawn[..., :2] < 80).all(axis=2)).sum() > 10, "letters in red"


def test_frames_refused_and_cells_taken_back_are_told_beside_those_that_are_shown(
    make_report: MakeReport, tmp_path: Path
) -> None:
    wrong = Quality(accepted=False, reasons=["wrong_scale"])
    reports = [make_report(1, cells=[cell("r-s1-c1", 0.2), cell("r-s1-c2", 0.9)]), make_report(2, cells=[])]
    reports[1] = reports[1].model_copy(update={"quality": wrong, "withdraws": "r-s1-c2"})
    assert main([*written(reports, tmp_path), f"{tmp_path}/m.html"]) == 0
    told = "1 of 2 frames refused (wrong_scale); 1 view of a cell taken back, judged at a wrong scale</p>"
    assert told in (tmp_path / "m.html").read_text()


def test_a_slide_of_good_frames_bears_no_warning(replayed: Path) -> None:
    assert montage(replayed, "m.html", "--frames", f"{replayed}/frames") == 0
    assert 'class="warning"' not in (replayed / "m.html").read_text()


def test_names_from_outside_are_never_markup(tmp_path: Path) -> None:
    frame = FrameInfo(
        id="f",
        source="<script>x",
        captured_at=datetime(2026, 1, 31, tzinfo=timezone.utc),
        width=640,
        height=480,
        um_per_pixel=0.1,
    )
    report = FrameReport(
        device="d", site="s", epoch="e", seq=1, slide_id="<b>", frame=frame, quality=Quality(accepted=True),
        cells=[cell("<i>-<u>", 0.9)], model=ModelInfo(id="m", sha256="", engine="none"),
    )  # fmt: skip
    (tmp_path / "r.jsonl").write_text(report.model_dump_json() + "\n")
    (tmp_path / "blast").mkdir()
    cv2.imwrite(str(tmp_path / "blast/<script>x-0.9.png"), np.zeros((8, 8, 3), np.uint8))
    assert main(["montage", f"{tmp_path}/r.jsonl", "--crops", f"{tmp_path}", "--out", f"{tmp_path}/m.html"]) == 0
    text = (tmp_path / "m.html").read_text()
    assert not re.search(r"<(script|b|i|u)>", text)


@pytest.mark.parametrize(
    ("reports", "out", "message"),
    [("none.jsonl", "m.png", "can not be read"), ("frames/1.png", "m.png", "holds no reports"),
     ("r.jsonl", "m.gif", ".html, .png or .jpg"), ("r.jsonl", "r.jsonl/m.png", "can not be written")],
)  # fmt: skip
def test_what_can_not_be_done_is_said_with_cause_and_remedy(
    reports: str, out: str, message: str, replayed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(replayed)
    assert main(["montage", f"{place}/{reports}", "--crops", f"{place}/crops", "--out", f"{place}/{out}"]) == 2
    assert message in capsys.readouterr().err


def test_no_more_cells_are_shown_than_asked_for(replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert montage(replayed, "m.html", "--frames", f"{replayed}/frames", "--most", "3") == 0
    assert (replayed / "m.html").read_text().count("<figure>") == 3
    assert "3 of " in capsys.readouterr().err


def test_a_picture_too_tall_for_its_format_is_refused(make_report: MakeReport, tmp_path: Path) -> None:
    cells = [cell(f"c{number}", 0.5) for number in range(8 * 360 + 1)]
    (tmp_path / "r.jsonl").write_text(make_report(1, cells=cells).model_dump_json() + "\n")
    crop = tmp_path / cells[0].label / f"{make_report(1).frame.source}-0.5.png"
    crop.parent.mkdir()
    cv2.imwrite(str(crop), np.zeros((8, 8, 3), np.uint8))
    more = ["--crops", str(tmp_path), "--most", "9999"]
    assert montage(tmp_path, "m.jpg", *more) == 2
    assert montage(tmp_path, "m.html", *more) == 0


def test_pictures_of_other_cells_are_refused(replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert montage(replayed, "m.png", "--crops", f"{replayed}/frames") == 2
    assert "holds no picture of these cells" in capsys.readouterr().err


def test_reports_with_a_cut_last_line_or_a_mark_before_them_are_read_as_far_as_they_go(
    make_report: MakeReport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = [make_report(k, slide_id="a\u2028\x85b").model_dump_json().encode() for k in (1, 2, 3)]
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(whole) + b"\n")
    assert [report.seq for report in read_reports(path)] == [1, 2, 3]
    assert not caplog.messages
    path.write_bytes(whole[0] + b"\n" + whole[1] + b"\n" + whole[2][:-20] + b"\xc5")
    assert [report.seq for report in read_reports(path)] == [1, 2]
    assert "line 3 is cut or no report; before it stand 2 reports" in caplog.text
    path.write_bytes(whole[0] + b"\n\0\0\0\n" + whole[2] + b"\n")
    assert [report.seq for report in read_reports(path)] == [1]
    assert "the 2 after it are left out" in caplog.text


def test_what_holds_no_report_at_its_beginning_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="holds no reports"):
        read_reports(tmp_path / "r.jsonl")
