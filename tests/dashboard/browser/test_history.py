"""A person sets slides and models side by side, and an administrator looks after the system, in a real browser."""

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.dashboard.browser.conftest import Agent, Launch, OpenWindow, Server, Window, serious
from tests.smears import smear

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
SOON_MS = 20_000
MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture
def read_twice(launch: Launch, agent: Agent, tmp_path: Path) -> Server:
    """A folder of pictures that two models have judged as S-1, and one of them as S-2."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(smear(), start=1):
        cv2.imwrite(str(folder / f"frame{number}.png"), image)
    server = launch("history")
    plain = {"source.kind": "directory", "source.uri": folder, "source.um_per_pixel": 0.1, "pictures.keep": "true"}
    for bundle, slide in (("blast-2", "S-1"), ("blast-8", "S-1"), ("blast-8", "S-2")):
        reading = agent("history", **plain, **{"bundle": MODELS / bundle, "slide.id": slide, "source.fps": None})
        assert reading.wait(60) == 0
    return server


def test_two_slides_and_two_models_are_set_side_by_side(read_twice: Server, window: Window) -> None:
    page = window.page
    page.goto(f"{read_twice.address}slides")
    expect(page.get_by_role("link", name="S-2")).to_be_visible(timeout=SOON_MS)
    assert serious(page) == []
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("choose two of them")).to_be_visible()
    page.go_back()
    for name in ("S-1", "S-2"):
        page.get_by_label(f"Choose {name} to be compared").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text(re.compile(r"percentage points, the first less the second"))).to_be_visible()
    expect(page.locator(".sides svg.chart")).to_have_count(2)
    assert serious(page) == []
    page.get_by_role("link", name="Counts and models").click()
    expect(page.get_by_role("status").nth(1)).to_contain_text("were judged by both, in 8 pictures", timeout=SOON_MS)
    rows = page.get_by_role("region", name="Counts of this slide").locator("tbody tr")
    expect(rows).to_have_count(2)
    assert serious(page) == []
    window.forgive(status=400)


def sees(page: Any, text: str) -> None:
    """Load the page of the system until it says something: it does not change by itself."""
    for _ in range(80):
        page.reload()
        if page.get_by_text(text).count():
            return
        page.wait_for_timeout(500)
    raise AssertionError(page.locator("main").inner_text())


@pytest.mark.usefixtures("people")
def test_an_administrator_sees_who_did_what_and_that_an_audit_log_was_cut(
    launch: Launch, agent: Agent, open_window: OpenWindow, tmp_path: Path
) -> None:
    server = launch("system", **{"web.sign_in": "true"})
    seeing = agent("system")
    window = open_window().sign_in(server, "ada")
    page = window.page
    page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    page.get_by_label("Slide", exact=True).fill("B-17")
    page.get_by_role("button", name="Start this slide").click()
    expect(page.locator("#said")).to_contain_text("what follows is counted", timeout=SOON_MS)
    page.goto(f"{server.address}system")
    expect(page.get_by_text("Who did what")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    window.sign_in(server, "adam")
    page.get_by_role("link", name="System").click()
    row = page.get_by_role("row").filter(has_text="command slide/start B-17")
    expect(row).to_contain_text("ada")
    expect(row.get_by_role("cell", name="lab/scope-1")).to_be_visible()
    expect(row.get_by_role("cell", name="done")).to_be_visible()
    sees(page, "It only grows")
    assert serious(page) == []
    seeing.terminate()
    seeing.wait(30)
    shutil.rmtree(tmp_path / "scope-1" / "audit")
    agent("system")
    sees(page, "It went back")
    assert serious(page) == []
