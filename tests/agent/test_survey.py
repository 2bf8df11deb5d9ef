"""`calibrate flatfield` and `calibrate site`: what is measured, compared, written and refused."""

import threading
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.__main__ import main
from agent.pipeline import Finding
from agent.site import SiteFile, open_site, read_site, write_site
from agent.sources.synthetic import SyntheticSource
from agent.tools.survey import compare, with_focus_limit
from agent.vision.limits import QualityLimits
from agent.vision.segmentation import find_cells
from contract.bundle import SHIPPED, open_bundle
from contract.messages import Quality
from contract.reference import Colour, Margins, Reference, Scores, Spread, StainProfile, Stains
from contract.types import Box, Cell, Frame, Prediction

UM = 0.15


@lru_cache
def smear() -> tuple[Frame, ...]:
    source = SyntheticSource(frames=24, seed=7, um_per_pixel=UM, width=400, height=300)
    with source.open(threading.Event()) as made:
        return tuple(made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The frames of a rendered smear, as files."""
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(smear()):
        cv2.imwrite(str(tmp_path / "frames" / f"{number:02d}.png"), frame.image)
    return tmp_path / "frames"


def a_look(*, red: float = 0.2, focus: float = 2.0) -> StainProfile:
    return StainProfile(
        images=8,
        on="rendered",
        um_per_pixel=UM,
        background=Spread(mean=0.8, std=0.05, low=0.7, high=0.9),
        bare=(0.75, 0.8, 0.85),
        focus=Spread(mean=focus, std=0.2, low=1.6, high=2.4),
        red_cells=Colour(mean=(0.1, 0.2, red), std=(0.05,) * 3, between=(0.02,) * 3),
        nuclei=Colour(mean=(0.1, 0.6, 0.4), std=(0.05,) * 3, between=(0.05,) * 3),
        stains=Stains(red=(0.6, 0.8, 0), blue=(0, 0.6, 0.8), strength=(0.4, 0.9)),
    )


def a_reference() -> Reference:
    margins = Margins(cells=90, every=(-4, -3, 0, 3, 4), normal=(-6, -5, -4, -3, -2))
    scores = Scores(levels=(0.05, 0.25, 0.5, 0.75, 0.95), on="rendered", fp32=margins, int8=margins)
    return Reference(**a_look().model_dump(), scores=scores)


def findings(probability: float, cells: int) -> list[Finding]:
    one = Prediction(Cell(Box(0, 0, 9, 9), (4.0, 4.0), 80.0), "normal", probability)
    return [Finding(Quality(accepted=True), (one,) * cells)]


def test_what_looks_like_the_training_is_alike_in_everything() -> None:
    rows = list(compare(a_look(), findings(0.018, 30), a_reference(), "int8"))
    assert {row.verdict for row in rows} == {"alike"}
    assert [row.figure for row in rows][-1] == "log odds of a blast, median (normal cells)"
    assert rows[-1].off == pytest.approx(0, abs=0.01)


def test_what_differs_is_told_in_units_of_the_trainings_spread() -> None:
    rows = {r.figure: r for r in compare(a_look(red=0.26, focus=1.0), findings(0.9, 30), a_reference(), "fp32")}
    assert rows["red cells, density in red"].off == pytest.approx(3)
    assert rows["red cells, density in red"].verdict == "differs"
    assert rows["focus (1/um)"].off == pytest.approx(-5)
    assert rows["focus (1/um)"].verdict == "far"
    assert rows["log odds of a blast, median (normal cells)"].verdict == "far"


def test_few_cells_and_no_reference_are_not_compared() -> None:
    assert not [r for r in compare(a_look(), findings(0.5, 5), a_reference(), "int8") if "log odds" in r.figure]
    assert list(compare(a_look(), findings(0.5, 50), None, "int8")) == []


def test_a_site_is_measured_and_used(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the frames of a moving smear: flat field, then site file, then replay with both."""
    flat, site = tmp_path / "flat.png", tmp_path / "made" / "site.json"
    assert main(["calibrate", "flatfield", str(folder), "--out", str(flat)]) == 0
    assert "24 frames of a moving smear" in capsys.readouterr().out
    assert main(["calibrate", "site", str(folder), "--out", str(site), "--flat", str(flat)]) == 0
    said = capsys.readouterr().out
    assert "white cells" in said
    if open_bundle(SHIPPED).manifest.reference is None:
        assert "does not say what its training looked like" in said
    made = open_site(site)
    assert made.file.um_per_pixel is not None
    assert made.file.um_per_pixel.low < UM < made.file.um_per_pixel.high
    assert made.leveller is not None
    assert made.file.look is not None
    reports = tmp_path / "r.jsonl"
    assert main(["replay", str(folder), "--site-file", str(site), "--out", str(reports)]) == 0
    assert len(reports.read_text().splitlines()) == len(smear())


def test_a_site_that_is_measured_again_keeps_its_bounds(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    write_site(SiteFile(limits=QualityLimits(max_noise=0.05)), site)
    assert main(["calibrate", "site", str(folder), "--out", str(site), "--um-per-pixel", str(UM), "--frames", "3"]) == 0
    again = read_site(site)
    assert again.limits.max_noise == 0.05
    assert again.um_per_pixel is not None
    assert again.um_per_pixel.value == UM


def of_sharpness(*focus: float) -> list[Finding]:
    return [Finding(Quality(accepted=True, focus=one)) for one in focus]


def test_a_site_s_file_holds_the_colours_of_its_cells_and_then_nothing_is_learned(folder: Path) -> None:
    site = folder.parent / "site.json"
    assert main(["calibrate", "site", str(folder), "--out", str(site), "--um-per-pixel", str(UM)]) == 0
    cells = read_site(site).cells
    assert cells is not None
    used = open_site(site).colours(open_bundle(SHIPPED).manifest.input)
    assert used is not None
    used.learn(smear()[0].image, find_cells(smear()[0].image, UM))
    assert used.now == cells
    assert not used.doubts


def test_a_site_refuses_what_is_far_less_sharp_than_its_own_frames_are() -> None:
    sharp = with_focus_limit(SiteFile(), of_sharpness(3.0, 3.2, 3.1, 2.9, 3.0))
    assert sharp.limits.min_focus_per_um == sharp.focus_limit == pytest.approx(0.75 * 3.0)
    uneven = with_focus_limit(SiteFile(), of_sharpness(3.0, 3.2, 3.1, 1.9, 3.0))
    assert uneven.limits.min_focus_per_um == pytest.approx(0.9 * 1.9), "none of its own frames is refused"
    soft = with_focus_limit(SiteFile(), of_sharpness(*[1.5] * 5))
    assert soft.limits.min_focus_per_um == QualityLimits().min_focus_per_um
    assert with_focus_limit(SiteFile(), of_sharpness(3, 3, 3, 3)).focus_limit is None


def test_a_bound_that_somebody_set_stays_and_a_measured_one_follows(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    for before, kept in (
        (SiteFile(limits=QualityLimits(min_focus_per_um=1.2), focus_limit=2.0), True),
        (SiteFile(limits=QualityLimits(min_focus_per_um=2.0), focus_limit=2.0), False),
    ):
        write_site(before, site)
        assert main(["calibrate", "site", str(folder), "--out", str(site), "--um-per-pixel", str(UM)]) == 0
        again = read_site(site)
        assert (again.limits.min_focus_per_um == 1.2) == kept
        assert (again.limits.min_focus_per_um == again.focus_limit) == (not kept)


def test_frames_without_red_cells_give_no_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "empty.png"), np.full((300, 400, 3), 220, np.uint8))
    assert main(["calibrate", "site", str(tmp_path / "frames"), "--out", str(tmp_path / "site.json")]) == 1
    assert "give --um-per-pixel" in capsys.readouterr().err


def test_frames_that_can_not_be_read_make_no_site(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "torn.png").write_bytes(b"\x89PNG")
    out = ["--out", str(tmp_path / "site.json"), "--um-per-pixel", "0.1"]
    assert main(["calibrate", "site", str(tmp_path / "frames"), *out]) == 1
    assert not (tmp_path / "site.json").exists()


def test_it_is_said_if_no_frame_could_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "empty.png"), np.full((300, 400, 3), 220, np.uint8))
    out = ["--out", str(tmp_path / "site.json"), "--um-per-pixel", "0.1"]
    assert main(["calibrate", "site", str(tmp_path / "frames"), *out]) == 0
    assert "no frame could be judged" in capsys.readouterr().out


def test_cells_that_the_border_cuts_have_no_say_in_the_scores() -> None:
    cut = Prediction(Cell(Box(0, 0, 9, 9), (4.0, 4.0), 80.0, flags=("edge",)), "not_judged", None)
    seen = [*findings(0.018, 30), Finding(Quality(accepted=True), (cut,) * 60)]
    assert list(compare(a_look(), seen, a_reference(), "int8"))[-1].verdict == "alike"


def test_files_that_are_none_are_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    assert main(["calibrate", "flatfield", str(folder), "--out", str(tmp_path / "flat.npz")]) == 2
    out, missing = str(tmp_path / "site.json"), str(tmp_path / "nowhere.png")
    assert main(["calibrate", "site", str(folder), "--out", out, "--flat", missing]) == 2


def test_replay_needs_a_scale(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(folder), "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "--site-file" in capsys.readouterr().err
